"""Pictures of nets with windows: pixels are the numbers they stand for, fields those of theory."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.engine import drawing
from experiments.engine.pictures import check
from experiments.window_pictures import (
    MOST_TILES,
    central_field,
    chosen_layers,
    example_pixels,
    field_picture,
    filter_pixels,
    map_picture,
    window_pictures,
)
from nets.convnet import ConvNet
from nets.geometry import receptive_field
from nets.layers import layers
from nets.specs import parse_blocks

RNG = np.random.default_rng(0)
EDGE = drawing.GAP


def drawn(leaf: jax.ShapeDtypeStruct) -> np.ndarray:
    """Positive, so that no unit is off and every input within its field counts."""
    return RNG.uniform(0.1, 1, leaf.shape).astype(np.float32)


def pictured(spec: str, examples: np.ndarray, **options):
    """The pictures of a small net with positive weights, its layers and its variables."""
    channels = examples.ndim == 4
    net = ConvNet(parse_blocks(spec), 3, channel_axis=channels, **options)
    inputs = jnp.asarray(examples, jnp.float32) / 255
    shapes = jax.eval_shape(lambda x: net.init(jax.random.key(0), x, train=False), inputs)
    variables = jax.tree.map(drawn, shapes)
    found = window_pictures(net, variables, examples, inputs, 7)
    for picture in found.values():
        check(picture)
        assert picture.values.dtype in (np.float32, np.uint8)
    return found, layers(net, variables, inputs[:1]), variables


@pytest.fixture(scope="module")
def images():
    """In colour, with batch norm and dropout; a layer without shared weights comes second."""
    examples = RNG.integers(0, 256, (4, 16, 12, 3), dtype=np.uint8)
    options = {"norm": "batch", "dropout": 0.5}
    return *pictured("4k3 max2 5k3s2u d6", examples, **options), examples


def test_names_say_what_they_are(images):
    found, *_ = images
    layered = {f"{kind}_{name}" for kind in ("maps", "field") for name in ("conv_1", "pool_2")}
    layered |= {"maps_conv_2", "field_conv_2"}
    assert set(found) == {"filters_conv_1", "input_0_class_7"} | layered


def test_values_are_those_of_the_net(images):
    found, _, variables, examples = images
    kernel = variables["params"]["conv_1"]["kernel"]
    np.testing.assert_array_equal(found["filters_conv_1"].values, kernel)
    np.testing.assert_array_equal(found["input_0_class_7"].values, examples[0])
    assert found["maps_conv_1"].values.shape == (16, 12, 4)
    assert found["maps_conv_2"].values.shape == (4, 3, 5)
    assert found["field_conv_2"].values.shape == (16, 12)


def test_fields_are_framed_by_theory_and_fill_it_in_effect(images):
    found, read, *_ = images
    windowed = [layer for layer in read if layer.windows]
    for number, layer in enumerate(windowed, start=1):
        stack = [each.windows for each in windowed[:number]]
        field = found[f"field_{'_'.join(layer.path)}"].values
        for axis, (first, last) in enumerate(central_field(layer)):
            theory = receptive_field(windows[axis] for windows in stack)
            assert last - first == theory.size
            assert first == theory.start + layer.outputs[axis] // 2 * theory.jump
            (seen,) = np.nonzero(field.max(axis=1 - axis))
            inside = max(first, 0), min(last, field.shape[axis])
            assert (seen.min(), seen.max() + 1) == inside


def test_a_filter_of_three_channels_is_a_colour_on_the_scale_of_the_sheet():
    kernel = np.zeros((2, 2, 3, 2), np.float32)
    kernel[0, 1, :, 0] = 2, -1, 0
    kernel[1, 0, :, 1] = 1, 0, -2
    sheet = filter_pixels(kernel)
    side = sheet.shape[0] // 2
    assert sheet.shape == (2 * side, 4 * side + EDGE, 3) and side >= 32
    grey = [128, 128, 128]
    first, second = sheet[::side, : 2 * side : side], sheet[::side, 2 * side + EDGE :: side]
    assert first.tolist() == [[grey, [255, 64, 128]], [grey, grey]]
    assert second.tolist() == [[grey, grey], [[191, 128, 0], grey]]


def test_filters_of_other_channels_stand_in_rows_and_sheets_are_limited():
    kernel = RNG.normal(size=(3, 3, 2, 70)).astype(np.float32)
    sheet = filter_pixels(kernel)
    side = sheet.shape[1] // 2 // 3
    step = 3 * side + EDGE
    assert sheet.shape[0] == MOST_TILES * step - EDGE
    limit = np.abs(kernel[..., :MOST_TILES]).max()
    for number, channel in ((0, 1), (63, 0)):
        tile = sheet[number * step :, channel * step :][: 3 * side : side, : 3 * side : side, 0]
        expected = 127.5 * (1 + kernel[:, :, channel, number] / limit)
        assert np.abs(tile - expected).max() <= 0.51
    assert filter_pixels(kernel[:, :, :1]).shape[0] == 8 * step - EDGE


def test_maps_are_on_one_scale_beside_the_example():
    example = RNG.integers(0, 256, (5, 5, 1), dtype=np.uint8)
    maps = np.zeros((4, 4, 2), np.float32)
    maps[1, 2], maps[3, 0] = (4, 1), (2, 3)
    pixels = map_picture(example, maps).pixels
    left = example_pixels(example)
    np.testing.assert_array_equal(pixels[: len(left), : len(left)], left)
    np.testing.assert_array_equal(left[:: len(left) // 5, :: len(left) // 5], example.repeat(3, -1))
    sheet = pixels[:, len(left) + 3 * EDGE :]
    side = (sheet.shape[1] - EDGE) // 8
    for number in range(2):
        tile = sheet[: 4 * side : side, number * (4 * side + EDGE) :][:, : 4 * side : side, 0]
        np.testing.assert_array_equal(tile, np.round(255 * maps[..., number] / 4))
    signed = map_picture(example, -maps).pixels[:, len(left) + 3 * EDGE :]
    assert signed[0, 0, 0] == 128 and signed[:, :, 0].min() == 0


def test_a_frame_reaches_into_the_padding():
    """6 places of 0 to 8 of 8 rows, -2 to 4 of 8 columns: two columns of grey stand for padding."""
    example, effective = np.zeros((8, 8, 1), np.uint8), np.zeros((8, 8), np.float32)
    effective[3, 1] = 2
    pixels = field_picture(example, effective, [(0, 6), (-2, 4)]).pixels
    side = pixels.shape[0] // 12
    middle = pixels[side // 2 :: side, side // 2 :: side]
    assert (middle[:2] == drawing.PADDING).all() and (middle[2:10, 2:10] == 0).all()
    assert (pixels[2 * side, : 6 * side] == drawing.YELLOW).all()
    assert (pixels[2 * side : 8 * side, 0] == drawing.YELLOW).all()
    right = pixels[:, 12 * side + 3 * EDGE :]
    assert (right[5 * side + side // 2, 3 * side + side // 2] == 255).all()


def test_sequences_are_drawn_as_bars():
    """Computed in bfloat16, kept in float32."""
    examples = RNG.integers(0, 256, (4, 20), dtype=np.uint8)
    found, read, _ = pictured("3k5 2k3s2", examples, dtype=jnp.dtype("bfloat16"))
    np.testing.assert_array_equal(
        found["input_0_class_7"].pixels, example_pixels(examples[0, :, None])
    )
    assert {"filters_conv_1", "maps_conv_2", "field_conv_2"} <= set(found)
    assert found["filters_conv_1"].values.shape == (5, 1, 3)
    assert found["maps_conv_2"].values.shape == (10, 2)
    (seen,) = np.nonzero(found["field_conv_2"].values)
    assert [(seen.min(), seen.max() + 1)] == central_field(read[-2])


def test_layers_are_chosen_evenly():
    net = ConvNet(parse_blocks("2k3 max2 " + "2k3 " * 20), 2)
    shape = jax.ShapeDtypeStruct((1, 8, 8, 1), jnp.float32)
    variables = jax.eval_shape(lambda x: net.init(jax.random.key(0), x, train=False), shape)
    windowed = [layer for layer in layers(net, variables, shape) if layer.windows]
    names = [layer.path[0] for layer in chosen_layers(windowed, 5)]
    assert names == ["conv_1", "conv_6", "conv_11", "conv_16", "conv_21"]
    assert chosen_layers(windowed[:3], 3) == windowed[:3]
    assert chosen_layers(windowed, 0) == []
