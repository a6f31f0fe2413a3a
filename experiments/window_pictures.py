"""Pictures of any net with windowed layers: first filters, feature maps, receptive fields.

For inputs of one axis (sequences, drawn as bars) or two (images). `filters_<layer>`: kernels of the
first convolution. `input_<row>_class_<label>`: a test example. `maps_<layer>`: beside it, what a
layer passes on (`nets.maps.feature_maps`). `field_<layer>`: what the layer's central units see,
framed on the example in theory, and beside it the effective field.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from experiments.engine import drawing
from experiments.engine.drawing import Pixels
from experiments.engine.pictures import Picture
from nets.effective import effective_receptive_fields
from nets.layers import Layer, layers, totals
from nets.maps import central_kernel, feature_maps

MOST_TILES = 64
"""Filters or maps on one sheet: the first so many."""
MOST_CHANNELS = 16
"""Channels of a filter that are drawn apart: the first so many."""
MOST_LAYERS = 12
"""Layers with a sheet of maps and a field; of more, as many convolutions, evenly chosen."""
FIELD_INPUTS, FIELD_FILTERS, FEWEST_FILTERS = 4, 8, 2
"""Test examples that an effective field is a mean over; its filters at most, and at least."""
MOST_WORK = 3e10
"""Multiply-adds spent on effective fields: in larger nets fewer filters, then fewer layers."""
TILE = 64  # pixels of the shorter side of a tile, at least
PANEL = 224  # the same of the example beside maps, and of a field
BARS = (40, 4)  # pixels of a tile of bars: height, and width of a bar
TALL_BARS = (96, 12)


def window_pictures(
    net: nn.Module,
    variables: Mapping[str, Any],
    examples: np.ndarray,
    inputs: jax.Array,
    label: int,
) -> dict[str, Picture]:
    """Pictures by name; none for a net without windows or with windows of three axes or more.

    Args:
        net: called as `net(inputs)`, with `train=False` if it knows that option.
        variables: parameters and statistics of the net.
        examples: `[rows, *axes]` or `[rows, *axes, channels]`, the first of the test split.
        inputs: the same as the net takes them.
        label: class of the first example.
    """
    found = [layer for layer in layers(net, variables, inputs[:1]) if not layer.shortcut]
    windowed = [layer for layer in found if layer.windows and len(layer.outputs) > 1]
    axes = len(windowed[0].windows) if windowed else 0
    space = windowed[0].inputs[:-1] if windowed else ()
    if axes not in (1, 2) or inputs.shape[1 : 1 + axes] != space:
        return {}
    example = examples[0].reshape(*space, -1)
    shown = chosen_layers(windowed)
    maps = feature_maps(net, variables, inputs[:1], [layer.path for layer in shown])
    pictures = filter_picture(windowed, variables["params"])
    pictures[f"input_0_class_{label}"] = Picture(examples[0], example_pixels(example))
    for layer in shown:
        values = np.asarray(maps[layer.path][0], np.float32)
        pictures[f"maps_{name_of(layer)}"] = map_picture(example, values)
    return pictures | field_pictures(net, variables, inputs, found, example)


def name_of(layer: Layer) -> str:
    """What files call a layer: `block_1_conv_2`."""
    return "_".join(layer.path) or layer.kind


def chosen_layers(windowed: Sequence[Layer], most: int = MOST_LAYERS) -> list[Layer]:
    """All windowed layers if they are few, else the first and last convolution and some between."""
    if len(windowed) <= most:
        return list(windowed)
    weighted = [layer for layer in windowed if layer.kernel] or list(windowed)
    places = np.linspace(0, len(weighted) - 1, min(most, len(weighted))).round().astype(int)
    return [weighted[place] for place in places]


def filter_picture(windowed: Sequence[Layer], params: Mapping[str, Any]) -> dict[str, Picture]:
    """The kernels of the first layer that has some, on one scale: mid-grey is zero.

    Filters of three channels are colours. Otherwise each channel stands apart, those of a filter in
    one row. Bars for one axis.
    """
    for layer in windowed:
        kernel = central_kernel(layer, params)
        if kernel is not None:
            kernel = np.asarray(kernel, np.float32)
            return {f"filters_{name_of(layer)}": Picture(kernel, filter_pixels(kernel))}
    return {}


def filter_pixels(kernel: np.ndarray) -> Pixels:
    """A sheet of the filters of a kernel `[*window, channels, filters]`."""
    drawn = np.moveaxis(kernel[..., :MOST_TILES], -1, 0)
    limit = drawing.largest(drawn)
    channels = min(drawn.shape[-1], MOST_CHANNELS)
    if drawn.ndim == 4 and drawn.shape[-1] == 3:
        tiles = [drawing.around_grey(each, limit) for each in drawn]
        return drawing.sheet(_at_least(tiles, TILE))
    apart = [each[..., channel] for each in drawn for channel in range(channels)]
    columns = channels if channels > 1 else None
    if drawn.ndim == 3:
        height, width = BARS
        wide = max(width, -(-TILE // drawn.shape[1]))
        bars = [drawing.bars(each, -limit, limit, (height, wide)) for each in apart]
        return drawing.sheet([drawing.edged(each) for each in bars], columns)
    tiles = [drawing.around_grey(each, limit) for each in apart]
    return drawing.sheet(_at_least(tiles, TILE), columns)


def _at_least(tiles: list[Pixels], side: int) -> list[Pixels]:
    factor = drawing.factor_to(side, tiles[0].shape[:2])
    return [drawing.magnified(tile, factor) for tile in tiles]


def example_pixels(example: np.ndarray, *, magnified: bool = True) -> Pixels:
    """An example `[*axes, channels]` as it is in the data set: bars, grey or colour.

    uint8 is shown as it is, other numbers from the smallest to the largest.
    """
    if example.ndim == 2:
        values = example.mean(axis=-1)
        return drawing.edged(drawing.bars(values, *_range(values), TALL_BARS))
    if example.dtype != np.uint8:
        values = drawing.finite(example)
        span = max(float(np.ptp(values)), 1e-30)
        example = np.round(255 * (values - values.min()) / span).astype(np.uint8)
    grey = example.shape[-1] != 3
    pixels = np.repeat(example.mean(-1, keepdims=True).astype(np.uint8), 3, -1) if grey else example
    return _at_least([pixels], PANEL)[0] if magnified else pixels


def _range(values: np.ndarray) -> tuple[float, float]:
    """From the smallest value or zero to the largest or zero."""
    values = drawing.finite(values)
    return min(float(values.min()), 0.0), max(float(values.max()), 0.0)


def map_picture(example: np.ndarray, maps: np.ndarray) -> Picture:
    """An example `[*axes, channels]` and the maps `[*positions, filters]` that a layer makes of it.

    All maps of a layer are on one scale: black is zero and white the largest value, or grey is zero
    where there are negative values. Bars for one axis, likewise on one scale.
    """
    drawn = np.moveaxis(maps[..., :MOST_TILES], -1, 0)
    if drawn.ndim == 2:
        low, high = _range(drawn)
        height, width = BARS
        wide = max(width, -(-example.shape[0] * width // drawn.shape[1]))
        bars = [drawing.bars(each, low, high, (height, wide)) for each in drawn]
        return Picture(maps, _beside(example, [drawing.edged(each) for each in bars]))
    limit = drawing.largest(drawn)
    scale = drawing.from_black if drawing.finite(drawn).min() >= 0 else drawing.around_grey
    tiles = [scale(each, limit) for each in drawn]
    return Picture(maps, _beside(example, _at_least(tiles, TILE)))


def _beside(example: np.ndarray, tiles: list[Pixels]) -> Pixels:
    parts = [example_pixels(example), drawing.sheet(tiles)]
    return drawing.joined(parts, axis=0 if example.ndim == 2 else 1)


def field_pictures(
    net: nn.Module,
    variables: Mapping[str, Any],
    inputs: jax.Array,
    found: Sequence[Layer],
    example: np.ndarray,
) -> dict[str, Picture]:
    """The fields of the central units of layers, in theory and effectively; by name.

    Args:
        inputs: as the net takes them; the first `FIELD_INPUTS` are used.
        found: the layers of the net.
        example: `[*axes, channels]`, what the field is drawn on.
    """
    followed = [layer for layer in found if layer.windows and layer.fields and layer.outputs[:-1]]
    passes = int(MOST_WORK // (FIELD_INPUTS * max(totals(found).multiply_adds, 1)))
    shown = chosen_layers(followed, min(MOST_LAYERS, passes // FEWEST_FILTERS))
    if not shown:
        return {}
    seen, paths = inputs[:FIELD_INPUTS], [layer.path for layer in shown]
    filters = min(FIELD_FILTERS, passes // len(shown))
    fields = effective_receptive_fields(net, variables, seen, paths, filters=filters)
    return {
        f"field_{name_of(layer)}": field_picture(
            example, np.asarray(fields[layer.path], np.float32), central_field(layer)
        )
        for layer in shown
    }


def central_field(layer: Layer) -> list[tuple[int, int]]:
    """First input that a layer's central unit sees and the one after the last, of each axis."""
    starts = [
        field.start + size // 2 * field.jump
        for field, size in zip(layer.fields or (), layer.outputs, strict=False)
    ]
    sizes = [field.size for field in layer.fields or ()]
    return [(start, start + size) for start, size in zip(starts, sizes, strict=True)]


def field_picture(
    example: np.ndarray, effective: np.ndarray, box: Sequence[tuple[int, int]]
) -> Picture:
    """An example and an effective field, each with the frame of the theoretical one.

    Padding that the theoretical field reaches is drawn in grey, up to a quarter of the input on
    each side; a frame further out is not seen. White is the largest gradient, black none.
    """
    axes, sizes = effective.ndim, effective.shape
    reach = max(max(-first, last - size) for (first, last), size in zip(box, sizes, strict=True))
    margin = min(max(reach, 0), max(sizes) // 4)
    shifted = [(first + margin, last + margin) for first, last in box]
    if axes == 1:
        panels = [_strip(example.mean(axis=-1), margin), _strip(effective, margin)]
        height, width = panels[0].shape[0], TALL_BARS[1]
        places = [(0, height), (1 + shifted[0][0] * width, 1 + shifted[0][1] * width)]
        return Picture(effective, drawing.joined([drawing.framed(p, places) for p in panels], 0))
    panels = [example_pixels(example, magnified=False), drawing.from_black(effective)]
    factor = drawing.factor_to(PANEL, sizes)
    padded = [_in_grey(panel, margin) for panel in panels]
    places = [(first * factor, last * factor) for first, last in shifted]
    large = [drawing.framed(drawing.magnified(panel, factor), places) for panel in padded]
    return Picture(effective, drawing.joined(large, axis=1))


def _strip(values: np.ndarray, margin: int) -> Pixels:
    pixels = drawing.bars(values, *_range(values), TALL_BARS)
    room = ((0, 0), (margin * TALL_BARS[1],) * 2, (0, 0))
    return drawing.edged(np.pad(pixels, room, constant_values=drawing.PADDING))


def _in_grey(pixels: Pixels, margin: int) -> Pixels:
    room = ((margin, margin), (margin, margin), (0, 0))
    return np.pad(pixels, room, constant_values=drawing.PADDING)
