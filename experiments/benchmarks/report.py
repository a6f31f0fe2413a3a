"""What the benchmarks ask, measure and print alike."""

import argparse
import os
import shlex
import statistics
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from experiments.benchmarks import machine
from experiments.benchmarks.worker import Worker

TORCH_MISSING = "PyTorch is not installed: `make bench` installs it, or `pip install torch`"


class Spread(NamedTuple):
    """What repeated measurements of one number gave."""

    median: float
    low: float
    high: float


def spread(values: Sequence[float]) -> Spread:
    """Median and range."""
    return Spread(statistics.median(values), min(values), max(values))


def count(text: str) -> int:
    """A whole number above 0, for `argparse`."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def has_torch(name: str) -> bool:
    """Whether PyTorch is there; says how to get it where it is not."""
    try:
        import torch  # noqa: F401  # pyright: ignore[reportMissingImports]
    except ModuleNotFoundError:
        print(f"{name} benchmark: {TORCH_MISSING}", file=sys.stderr)
        return False
    return True


def begin(title: str, module: str) -> None:
    """Keeps JAX to the CPU and its compile times true, and prints what is measured on."""
    os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "false"  # so that compile times are those
    command = shlex.join(["python", "-m", module, *sys.argv[1:]])
    print(f"# {title}\n\n- {machine.hardware()}\n- {machine.versions()}\n- `{command}`")
    print(f"- load average at the start: {machine.load_average():.1f}", flush=True)


def end() -> None:
    """Prints how busy the machine was."""
    print(f"\nload average at the end: {machine.load_average():.1f}")


def take_turns(workers: Mapping[str, Worker], rounds: int) -> dict[str, list[float]]:
    """Seconds of an epoch of each side in each round."""
    seconds: dict[str, list[float]] = {name: [] for name in workers}
    for _ in range(rounds):
        for name, worker in workers.items():
            seconds[name].append(worker.epoch())
    return seconds


def rates(
    work: float, seconds: Mapping[str, Sequence[float]], ours: str, digits: int = 0
) -> dict[str, tuple[str, ...]]:
    """Cells of a table by side: work per second, its range, the ratio of `ours` to it, its range.

    Ratios are formed inside each round.
    """
    cells: dict[str, tuple[str, ...]] = {}
    for name, times in seconds.items():
        rate: Any = spread([work / each for each in times])
        ratio = spread([side / mine for side, mine in zip(times, seconds[ours], strict=True)])
        cells[name] = (
            f"{rate.median:,.{digits}f}", f"{rate.low:,.{digits}f} .. {rate.high:,.{digits}f}",
            f"{ratio.median:.2f}", f"{ratio.low:.2f} .. {ratio.high:.2f}",
        )  # fmt: skip
    return cells
