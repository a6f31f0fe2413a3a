"""Tokens per second of an LSTM language model: Ablax, PyTorch and plain Flax, side by side.

`make bench`, or `python -m experiments.benchmarks.recurrent --help`. Embedding, 2 LSTM layers and
a linear layer over the vocabulary; batches of 32 sequences of 64 random tokens: gather, forward,
backward, update by Adam. Nothing is evaluated. The sides take turns in each round, each in a
process of its own.
"""

import argparse
import contextlib
import sys
from collections.abc import Sequence

from experiments.benchmarks import report
from experiments.benchmarks.text import TextProblem
from experiments.benchmarks.worker import Worker


def main(argv: Sequence[str] | None = None) -> int:
    """Measures and prints Markdown; returns the exit code."""
    options = _options(argv)
    if not report.has_torch("recurrent"):
        return 2
    report.begin("Recurrent benchmark", "experiments.benchmarks.recurrent")
    with contextlib.ExitStack() as stack:
        workers = {name: stack.enter_context(worker) for name, worker in _workers().items()}
        for width in options.widths:
            _compare(workers, TextProblem(width, vocabulary=options.vocabulary), options.rounds)
    report.end()
    return 0


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.benchmarks.recurrent",
        description="Speed of Ablax's LSTM against PyTorch's and Flax's, on the CPU.",
    )
    counts = {"type": report.count, "metavar": "N"}
    parser.add_argument(
        "--widths", nargs="+", default=[128, 256, 512], help="units of each layer", **counts
    )
    parser.add_argument("--vocabulary", default=64, help="distinct tokens (default 64)", **counts)
    parser.add_argument("--rounds", default=5, help="turns of each side (default 5)", **counts)
    return parser.parse_args(argv)


def _workers() -> dict[str, Worker]:
    from experiments.benchmarks import ablax_text, flax_text, torch_text

    return {
        "Ablax": Worker(ablax_text.prepare),
        "PyTorch eager": Worker(torch_text.prepare),
        "Flax nn.RNN": Worker(flax_text.prepare),
    }


def _compare(workers: dict[str, Worker], problem: TextProblem, rounds: int) -> None:
    """One table: all sides on one problem, in turns."""
    prepared = {name: worker.prepare(problem) for name, worker in workers.items()}
    seconds = report.take_turns(workers, rounds)
    print(
        f"\n## {problem.layers} LSTM layers of {problem.width}, {problem.length} steps, batch "
        f"{problem.batch}, vocabulary {problem.vocabulary}\n\n"
        f"{rounds} rounds of {problem.tokens:,} tokens\n\n"
        "| side | compile s | tokens/s | min .. max | Ablax's ratio | min .. max | how |\n"
        "|---|---|---|---|---|---|---|"
    )
    for name, cells in report.rates(problem.tokens, seconds, "Ablax").items():
        compiling, note = prepared[name]
        print(f"| {name} | {compiling:.1f} | {' | '.join(cells)} | {note} |", flush=True)


if __name__ == "__main__":
    sys.exit(main())
