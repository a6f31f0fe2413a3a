"""How often the windows of a net visit each place of its input, as text: why one pads."""

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np

from experiments.engine.text import wrap
from nets.geometry import Window, paths, visits
from nets.layers import Layer, chain

Windows = tuple[Window, ...]
CELL = 6  # columns of a number in a map
MAP_CELLS = 8  # rows and columns of a map at most


def visit_lines(layers: Sequence[Layer], width: int = 100) -> list[str]:
    """Visits by the first windows and paths through all of them, in words and as maps.

    Nothing for a net without windows; no maps for inputs of three axes or more.

    Args:
        layers: of the net.
        width: columns that no line exceeds.
    """
    followed = chain(layers)
    if not followed:
        return []
    shape = followed[0].inputs[:-1]
    stack = [layer.windows for layer in followed]
    names = ["/".join(layer.path) or layer.kind for layer in followed]
    lines = wrap(_visits_text(shape, stack[0], names[0]), width)
    maps = {f"visits by {names[0]}": visits(shape, stack[0])}
    if len(stack) > 1:
        lines += wrap(_paths_text(shape, stack, names), width)
        ways = paths(shape, stack)
        maps[f"paths to {names[-1]}, % of the most"] = 100 * ways / ways.max()
    return [*lines, *_maps(maps, width)] if len(shape) <= 2 else lines


def _visits_text(shape: tuple[int, ...], windows: Windows, name: str) -> str:
    counts = visits(shape, windows)
    times = "once" if counts.min() == counts.max() == 1 else f"{_range(counts)} times"
    text = f"{name} visits each {_place(shape)} {times}"
    bare = _unpadded(windows)
    if bare == windows:
        return text
    without = _range(visits(shape, bare)) if _fits(shape, [bare]) is None else "0"
    return f"{text}, without its padding {without}"


def _paths_text(shape: tuple[int, ...], stack: list[Windows], names: list[str]) -> str:
    first = "top left corner" if len(shape) == 2 else "first place"
    share, place = _share(paths(shape, stack)), _place(shape)
    text = f"paths to {names[-1]}: the {first} has {share} of those of the {place} with most"
    bare = [_unpadded(windows) for windows in stack]
    if bare == stack:
        return text
    lost = _fits(shape, bare)
    if lost is not None:
        return f"{text}; without padding nothing would be left for {names[lost]}"
    return f"{text}, without padding {_share(paths(shape, bare))}"


def _place(shape: tuple[int, ...]) -> str:
    return "pixel" if len(shape) == 2 else "place"


def _range(counts: np.ndarray) -> str:
    low, high = counts.min(), counts.max()
    if low == high:
        return f"{low}"
    corner = " (corner)" if counts.ndim > 1 else " (end)"
    return f"{low}{corner if counts.flat[0] == low else ''} to {high}"


def _share(ways: np.ndarray) -> str:
    share = 100 * ways.flat[0] / ways.max()
    return f"{share:.0f} %" if share >= 10 else f"{share:.2g} %"


def _unpadded(windows: Windows) -> Windows:
    return tuple(dataclasses.replace(window, padding=(0, 0)) for window in windows)


def _fits(shape: tuple[int, ...], stack: Sequence[Windows]) -> int | None:
    """The first layer whose windows do not fit what is left of the input; None: all fit."""
    for number, windows in enumerate(stack):
        shape = tuple(window.output_size(n) for window, n in zip(windows, shape, strict=True))
        if min(shape) < 1:
            return number
    return None


def _maps(maps: dict[str, np.ndarray], width: int) -> list[str]:
    """Maps side by side, their titles above them."""
    half = width // 2 - 1
    blocks = [[title[:half], *_grid(values, half)] for title, values in maps.items()]
    note = "the outermost by themselves, means of blocks between"
    coarse = any(max(values.shape) > _cells(half) for values in maps.values())
    rows = itertools.zip_longest(*blocks, fillvalue="")
    lines = ["  ".join(f"{part:<{half}}" for part in row).rstrip() for row in rows]
    return ["", *([f"maps, {note}:"] if coarse else []), *lines]


def _cells(columns: int) -> int:
    return min(MAP_CELLS, columns // CELL)


def _grid(values: np.ndarray, columns: int) -> list[str]:
    grid = values.reshape(-1, values.shape[-1]).astype(float)
    for axis, size in enumerate(grid.shape):
        starts = _starts(size, _cells(columns))
        sums = np.add.reduceat(grid, starts, axis)
        lengths = np.diff([*starts, size])
        grid = sums / (lengths if axis else lengths[:, None])
    return ["".join(f"{_number(value):>{CELL}}" for value in row) for row in grid]


def _starts(size: int, cells: int) -> np.ndarray:
    """Where blocks begin: the first and last place are blocks of their own."""
    if size <= cells:
        return np.arange(size)
    return np.array([0, *np.linspace(1, size - 1, cells - 1).round().astype(int)])


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
