"""The layers of a net as text: a table, totals, and what weight sharing saves."""

from collections.abc import Mapping, Sequence
from typing import Any

from experiments.engine.text import wrap
from nets.geometry import Sharing, Window
from nets.layers import Layer, Path, sharing, totals

RIGHT = ("parameters", "multiply-adds")


def layer_table(
    layers: Sequence[Layer], own: Mapping[Path, Mapping[str, Any]], width: int = 100
) -> list[str]:
    """One row per module in the order of calls; the net itself, where parameters are its own.

    A net with windows has columns for multiply-adds, windows and receptive fields; any other has
    the shapes of its parameters.

    Args:
        layers: of the net.
        own: parameters of each module by name, as arrays or shapes.
        width: columns that no line exceeds.
    """
    windowed = any(layer.windows for layer in layers)
    last = ["multiply-adds", "window", "sees"] if windowed else [""]
    table = [["layer", "kind", "output", "parameters", *last]]
    for layer in layers:
        if layer.path or layer.parameters:
            shapes = sorted(own.get(layer.path, {}).items(), key=lambda item: -len(item[1].shape))
            spelled = ", ".join(f"{name} {by(leaf.shape)}" for name, leaf in shapes)
            table.append(_columns(layer) + (_window_columns(layer) if windowed else [spelled]))
    sizes = [max(map(len, column)) for column in zip(*table, strict=True)]
    signs = [">" if name in RIGHT else "<" for name in table[0]]
    cells = [
        [f"{text:{sign}{size}}" for text, sign, size in zip(row, signs, sizes, strict=True)]
        for row in table
    ]
    return ["  ".join(row)[:width].rstrip() for row in cells]


def _columns(layer: Layer) -> list[str]:
    name = "  " * (len(layer.path) - 1) + layer.path[-1] if layer.path else "the net"
    return [name, layer.kind, by(layer.outputs), f"{layer.parameters:,}" * (layer.parameters > 0)]


def _window_columns(layer: Layer) -> list[str]:
    cost = "?" if layer.multiply_adds is None else f"{layer.multiply_adds:,}"
    sees = "?" if layer.fields is None else by([field.size for field in layer.fields])
    shown = layer.windows and not layer.shortcut
    return [cost if layer.kernel else "", window_text(layer.windows), sees if shown else ""]


def by(shape: Sequence[float]) -> str:
    """A shape: 28x28x3, or 1 without axes."""
    return "x".join(map(str, shape)) or "1"


def window_text(windows: Sequence[Window]) -> str:
    """A window in words, `3x3 stride 2 pad 0+1`: what is as usual goes without saying."""
    sides = [window.padding for window in windows]
    pads = [str(before) if before == after else f"{before}+{after}" for before, after in sides]
    said = {
        "stride": ([str(window.stride) for window in windows], "1"),
        "pad": (pads, "0"),
        "dilation": ([str(window.dilation) for window in windows], "1"),
    }
    parts = [by([window.size for window in windows])] if windows else []
    for name, (values, usual) in said.items():
        if set(values) - {usual}:
            parts.append(f"{name} {','.join(values if len(set(values)) > 1 else values[:1])}")
    return " ".join(parts)


def total_lines(layers: Sequence[Layer], width: int = 100) -> list[str]:
    """Multiply-adds, depth, and parameters of all convolutions with and without sharing."""
    sums = totals(layers)
    cost = f"{sums.multiply_adds:,}"
    if sums.uncounted:
        cost = f"at least {cost} (not known of {sums.uncounted} of the layers)"
    layer = "layer" if sums.depth == 1 else "layers"
    lines = [f"multiply-adds, one example: {cost}", f"depth: {sums.depth} weight {layer}"]
    each = [sharing(layer) for layer in layers if layer.windows and layer.kernel]
    if not each:
        return lines
    shared = sum(one.shared for one in each)
    text = f"convolutions: {shared:,} parameters; with unshared weights {_unshared(each)}"
    return lines + wrap(text, width)


def _unshared(each: Sequence[Sharing]) -> str:
    by_filter = sum(one.bias_per_filter for one in each)
    by_position = sum(one.bias_per_position for one in each)
    if by_filter == by_position:
        return f"{by_filter:,}"
    return f"{by_filter:,} with a bias per filter, {by_position:,} with one per position"
