"""Replica-steps per second of an MLP: Ablax, PyTorch and a plain Flax loop, one beside the other.

`make bench`, or `python -m experiments.benchmarks.mlp --help`. All sides train MLP 784-H-H-10 with
ReLU and Adam on batches of 128 rows of random uint8 data: gather, standardise, forward, backward,
update. Nothing is evaluated. The sides take turns in each round, each in a process of its own.
"""

import argparse
import contextlib
import os
import statistics
import sys
from collections import Counter
from collections.abc import Sequence

from experiments.benchmarks import grid, machine
from experiments.benchmarks.problem import Problem
from experiments.benchmarks.report import begin, count, end, has_torch, rates, spread
from experiments.benchmarks.worker import Worker

GRID_ROUNDS = 3


def main(argv: Sequence[str] | None = None) -> int:
    """Measures and prints Markdown; returns the exit code."""
    options = _options(argv)
    if not has_torch("mlp"):
        return 2
    begin("MLP benchmark", "experiments.benchmarks.mlp")
    with contextlib.ExitStack() as stack:
        workers = {name: stack.enter_context(worker) for name, worker in _workers().items()}
        for width in options.widths:
            _compare(workers, Problem(width, options.replicas), options.rounds)
        if options.study:
            _compare_grid(workers["PyTorch eager"], min(options.rounds, GRID_ROUNDS))
    end()
    return 0


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.benchmarks.mlp",
        description="Speed of Ablax against PyTorch eager and a plain Flax loop, on the CPU.",
    )
    counts = {"type": count, "metavar": "N"}
    parser.add_argument(
        "--widths", nargs="+", default=[32, 128, 512], help="units of both layers", **counts
    )
    parser.add_argument("--replicas", default=32, help="nets trained (default 32)", **counts)
    parser.add_argument("--rounds", default=5, help="turns of each side (default 5)", **counts)
    parser.add_argument(
        "--no-study", dest="study", action="store_false",
        help="leave out the comparison over the whole default study (minutes)",
    )  # fmt: skip
    return parser.parse_args(argv)


def _workers() -> dict[str, Worker]:
    from experiments.benchmarks import ablax, flax_loop, pytorch

    return {
        "Ablax": Worker(ablax.prepare),
        "PyTorch eager": Worker(pytorch.prepare),
        "Flax loop": Worker(flax_loop.prepare),
    }


def _compare(workers: dict[str, Worker], problem: Problem, rounds: int) -> None:
    """One table: all sides on one problem, in turns."""
    prepared = {name: worker.prepare(problem) for name, worker in workers.items()}
    seconds: dict[str, list[float]] = {name: [] for name in workers}
    peaks: list[float] = []
    for _ in range(rounds):
        for name, worker in workers.items():
            seconds[name].append(worker.epoch())
        peaks.append(workers["PyTorch eager"].call(machine.torch_peak))
        peaks.append(workers["Ablax"].call(machine.jax_peak))
    peak, work = max(peaks), problem.replicas * problem.steps
    print(
        f"\n## {problem.inputs}-{problem.width}-{problem.width}-{problem.classes}, batch "
        f"{problem.batch}, {problem.replicas} replicas, {problem.steps} steps each\n\n"
        f"{rounds} rounds; matrix-product peak {peak / 1e9:,.0f} GFLOP/s; "
        f"{problem.flops_per_step / 1e6:,.1f} MFLOP a step in matrix products\n\n"
        "| side | compile s | replica-steps/s | min .. max | Ablax's ratio | min .. max "
        "| share of peak | how |\n|---|---|---|---|---|---|---|---|"
    )
    for name, cells in rates(work, seconds, "Ablax").items():
        compiling, note = prepared[name]
        used = work / statistics.median(seconds[name]) * problem.flops_per_step / peak
        row = [name, f"{compiling:.1f}", *cells, f"{used:.0%}", note]
        print(f"| {' | '.join(row)} |", flush=True)


def _compare_grid(torch_worker: Worker, rounds: int) -> None:
    """One table: the default study from a cold start against the same runs in PyTorch."""
    threads = sorted({1, os.cpu_count() or 1})
    ours, theirs, counted = [], {used: [] for used in threads}, Counter()
    for _ in range(rounds):
        seconds, counted = grid.ablax_run()
        ours.append(seconds)
        for used in threads:
            sample = {kind: torch_worker.call(grid.torch_seconds, kind, used) for kind in counted}
            theirs[used].append(sum(sample[kind] * number for kind, number in counted.items()))
    best = min(threads, key=lambda count: statistics.median(theirs[count]))
    print(
        f"\n## `launch.py study {grid.NAME}`: {counted.total()} runs\n\n{rounds} rounds. Ablax: "
        "the whole command with a cold compile cache, from the interpreter's start to the answer. "
        f"PyTorch: one run of each of {len(counted)} kinds (cell; tuning or reporting) is timed "
        "and counted as often as the study has it; its imports are left out.\n\n"
        "| side | seconds | min .. max | Ablax's ratio | min .. max |\n|---|---|---|---|---|"
    )
    for name, values in (("Ablax", ours), (f"PyTorch eager, {_threads(best)}", theirs[best])):
        found = spread(values)
        ratio = spread([each / mine for each, mine in zip(values, ours, strict=True)])
        print(
            f"| {name} | {found.median:.1f} | {found.low:.1f} .. {found.high:.1f} "
            f"| {ratio.median:.2f} | {ratio.low:.2f} .. {ratio.high:.2f} |",
            flush=True,
        )


def _threads(count: int) -> str:
    return f"{count} thread{'s' * (count > 1)}"


if __name__ == "__main__":
    sys.exit(main())
