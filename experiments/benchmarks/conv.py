"""Training images per second of convolutional nets: Ablax and PyTorch, one beside the other.

`make bench`, or `python -m experiments.benchmarks.conv --help`. Batches of 128 random images of
32x32x3: gather, standardise, forward, backward, update by SGD with momentum. PyTorch trains
channels-last, eager and by `torch.compile`, one replica after another. Nothing is evaluated. The
sides take turns in each round, each in a process of its own.
"""

import argparse
import contextlib
import dataclasses
import sys
from collections.abc import Sequence

from experiments.benchmarks import report
from experiments.benchmarks.images import PLAIN, RESIDUAL, SEEDS, ImageProblem
from experiments.benchmarks.worker import Worker

PROBLEMS = {"plain": PLAIN, "resnet": RESIDUAL, "seeds": SEEDS}
ABLAX, APART = "Ablax", "Ablax, single runs"
NO_COMPILER = "torch.compile failed here"


def main(argv: Sequence[str] | None = None) -> int:
    """Measures and prints Markdown; returns the exit code."""
    options = _options(argv)
    if not report.has_torch("conv"):
        return 2
    report.begin("Convolution benchmark", "experiments.benchmarks.conv")
    with contextlib.ExitStack() as stack:
        workers = {name: stack.enter_context(worker) for name, worker in _workers().items()}
        for name in options.problems:
            _compare(workers, PROBLEMS[name], options.rounds)
    report.end()
    return 0


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.benchmarks.conv",
        description="Speed of Ablax's convolutional nets against PyTorch, on the CPU.",
    )
    parser.add_argument(
        "--problems", nargs="+", default=list(PROBLEMS), choices=PROBLEMS, help="what is trained"
    )
    parser.add_argument(
        "--rounds", default=5, type=report.count, metavar="N", help="turns of each side (default 5)"
    )
    return parser.parse_args(argv)


def _workers() -> dict[str, Worker]:
    from experiments.benchmarks import ablax_images, torch_images

    return {
        ABLAX: Worker(ablax_images.prepare),
        APART: Worker(ablax_images.prepare),
        "PyTorch eager": Worker(torch_images.prepare_eager),
        "PyTorch compiled": Worker(torch_images.prepare_compiled),
    }


def _compare(workers: dict[str, Worker], problem: ImageProblem, rounds: int) -> None:
    """One table: all sides on one problem, in turns."""
    prepared: dict[str, tuple[float, str]] = {}
    for name, worker in workers.items():
        if name == APART and problem.replicas == 1:
            continue
        try:
            apart = dataclasses.replace(problem, apart=name == APART)
            prepared[name] = worker.prepare(apart)
        except RuntimeError as error:
            if name != "PyTorch compiled":
                raise
            print(f"\n{NO_COMPILER}: {str(error).strip().splitlines()[-1]}")
    seconds = report.take_turns({name: workers[name] for name in prepared}, rounds)
    print(
        f"\n## {problem.title}, batch {problem.batch}\n\n{rounds} rounds of {problem.images:,} "
        "images\n\n| side | compile s | images/s | min .. max | Ablax's ratio | min .. max | how |"
        "\n|---|---|---|---|---|---|---|"
    )
    for name, cells in report.rates(problem.images, seconds, ABLAX).items():
        compiling, note = prepared[name]
        print(f"| {name} | {compiling:.1f} | {' | '.join(cells)} | {note} |", flush=True)


if __name__ == "__main__":
    sys.exit(main())
