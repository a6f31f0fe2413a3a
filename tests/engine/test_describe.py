"""What `describe` prints of nets with windows."""

import dataclasses
import re
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from experiments import convnet, memory, mlp
from experiments.engine.config import replace
from experiments.engine.describe import describe_net, effective_lines
from experiments.engine.layer_text import layer_table, total_lines, window_text
from experiments.engine.visit_text import visit_lines
from nets.cells import LSTM
from nets.convnet import ConvNet
from nets.geometry import Window
from nets.language import LanguageModel
from nets.layers import Layer, layers, totals
from nets.normalization import Norm
from nets.recurrent import RecurrentStack
from nets.specs import parse_blocks


class Stack(nn.Module):
    """Convolutions in a row, and a dense layer."""

    size: int = 3
    depth: int = 3
    padding: Any = "SAME"
    axes: int = 2
    stride: int = 1

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        x = x[..., None] if x.ndim == self.axes + 1 else x
        for number in range(1, self.depth + 1):
            sizes = (self.size,) * self.axes
            conv = nn.Conv(4, sizes, self.stride, self.padding, name=f"conv_{number}")
            x = nn.relu(conv(x))
        return nn.Dense(10, name="output")(x.reshape(len(x), -1))


def read(net: nn.Module, shape: tuple[int, ...]) -> list[Layer]:
    sample = jnp.ones((1, *shape))
    variables = jax.eval_shape(lambda: net.init(jax.random.key(0), sample, train=False))
    return layers(net, variables, sample)


@pytest.mark.slow
def test_describe_of_a_net_with_windows():
    experiment = dataclasses.replace(mlp.EXPERIMENT, make_net=lambda config, spec: Stack())
    config = replace(mlp.EXPERIMENT.config, {"dataset": "digits"})
    text = describe_net(experiment, config, None)
    lines = text.splitlines()
    rows = {line.split()[0]: line.split() for line in lines[: lines.index("")]}
    assert rows["conv_1"] == ["conv_1", "Conv", "8x8x4", "40", "2,304", "3x3", "pad", "1", "3x3"]
    assert rows["conv_3"][-1] == "7x7"
    assert rows["output"] == ["output", "Dense", "10", "2,570", "2,560"]
    parameters = 40 + 2 * (36 * 4 + 4)
    assert f"parameters: {parameters + 2570:,}" in lines
    assert f"multiply-adds, one example: {64 * 36 + 2 * 64 * 144 + 2560:,}" in lines
    assert "depth: 4 weight layers" in lines
    assert f"convolutions: {parameters} parameters; with unshared weights" in text
    assert "conv_3 sees 7x7 in theory, effectively" in text
    assert "conv_1 visits each pixel 4 (corner) to 9 times, without its padding 1 (corner)" in text
    assert max(map(len, lines)) <= 100


class Notes(nn.Module):
    """One layer."""

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        return nn.Conv(10, (5, 5))(x)


class Everywhere(nn.Module):
    """A pool whose one window leaves no axes."""

    def windows(self, shape: tuple[int, ...]) -> tuple[Window, ...]:
        return tuple(Window(n, n) for n in shape)

    def __call__(self, x: jax.Array) -> jax.Array:
        return x.mean(axis=(1, 2))


class Pooled(nn.Module):
    """A convolution, and the mean of its map."""

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        x = Everywhere(name="pool")(nn.Conv(3, (3, 3), name="conv")(x))
        return nn.Dense(2, name="output")(x)


def flops(text: str) -> tuple[float, float]:
    """Of a forward pass and of an update, as `describe` prints them."""
    found = re.findall(r"compiled: ([\d.,]+) ?([kMG]?)FLOP", text)
    forward, update = (
        float(number.replace(",", "")) * {"": 1, "k": 1e3, "M": 1e6, "G": 1e9}[unit]
        for number, unit in found
    )
    return forward, update


@pytest.mark.slow
def test_every_turn_of_a_loop_counts():
    """Of the loop over time, and of that over pieces of a batch of images."""
    values = {"width": (8,), "batch_size": 10}
    short, long = (
        flops(described(memory.EXPERIMENT, {**values, "length": length})) for length in (10, 40)
    )
    assert long[0] >= 2 * 40 * 4 * 8 * (8 + 2)  # four gates, units, what they read
    assert 3.5 < long[0] / short[0] < 4.5
    assert 3.5 < long[1] / short[1] < 4.5
    values = {"dataset": "digits", "layers": "32k3 32k3"}
    small, large = (
        flops(described(convnet.EXPERIMENT, {**values, "batch_size": size})) for size in (50, 400)
    )
    assert large[0] == small[0]
    assert 7 < large[1] / small[1] < 9


def test_tied_weights_and_the_nets_own_parameters_are_listed():
    net = LanguageModel(RecurrentStack(LSTM(), (6,)), vocabulary=9, embedding=6, tied=True)
    tokens = jnp.zeros((1, 5), jnp.int32)
    variables = jax.eval_shape(lambda: net.init(jax.random.key(0), tokens, train=False))
    found = layers(net, variables, tokens)
    assert totals(found).multiply_adds == 5 * (4 * 6 * 12 + 6 * 9)
    assert totals(found).depth == 2
    rows = layer_table(found, {(): {"bias": jnp.zeros(9)}})
    assert rows[1].split() == ["the", "net", "LanguageModel", "5x9", "9", "bias", "9"]
    assert rows[-1].split() == ["embedding.attend", "TiedWeights", "5x9"]


def described(experiment, values) -> str:
    return describe_net(experiment, replace(experiment.config, values), None)


def test_the_numbers_of_the_lecture_notes():
    (line,) = total_lines(read(Notes(), (32, 32, 3)), 120)[2:]
    assert line == (
        "convolutions: 760 parameters; with unshared weights 768,010 with a bias per filter, "
        "778,240 with one per position"
    )


def test_windows_in_words():
    assert window_text([Window(3, 1, (1, 1)), Window(3, 1, (1, 1))]) == "3x3 pad 1"
    assert window_text([Window(3, 2, (0, 1)), Window(5, 1, (2, 2), 2)]) == (
        "3x5 stride 2,1 pad 0+1,2 dilation 1,2"
    )
    assert window_text([Window(7)]) == "7"
    assert window_text([]) == ""


def test_a_shortcut_has_its_cost_but_no_field():
    class Block(nn.Module):
        @nn.compact
        def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
            y = nn.Conv(2, (3, 3), 2, name="conv")(x)
            up = nn.ConvTranspose(2, (3, 3), name="up")(y)
            return up + nn.Conv(2, (1, 1), 2, name="shortcut")(x)

    found = read(Block(), (8, 8, 1))
    rows = [line.split() for line in layer_table(found, {})[1:]]
    assert rows == [
        ["conv", "Conv", "4x4x2", "20", "288", "3x3", "stride", "2", "pad", "0+1", "3x3"],
        ["up", "ConvTranspose", "4x4x2", "38", "?"],
        ["shortcut", "Conv", "4x4x2", "4", "32", "1x1", "stride", "2"],
    ]
    text = " ".join(total_lines(found))
    assert "at least 320 (not known of 1 of the layers) depth: 2 weight layers" in text


def test_visits_in_words_and_maps():
    """Along each of five places: 2, 3, 3, 3, 2 visits and 5, 8, 9, 8, 5 paths, at most 81."""
    lines = visit_lines(read(Stack(depth=2), (5, 5)))
    assert lines[:3] == [
        "conv_1 visits each pixel 4 (corner) to 9 times, without its padding 1 (corner) to 9",
        "paths to conv_2: the top left corner has 31 % of those of the pixel with most, without "
        "padding 11 %",
        "",
    ]
    assert lines[3].split("  ")[0] == "visits by conv_1"
    assert lines[3].endswith("  paths to conv_2, % of the most")
    numbers = [line.split() for line in lines[4:]]
    assert numbers[0] == numbers[4] == [*"46664", "30.9", "49.4", "55.6", "49.4", "30.9"]
    assert numbers[1] == numbers[3] == [*"69996", "49.4", "79", "88.9", "79", "49.4"]
    assert numbers[2] == [*"69996", "55.6", "88.9", "100", "88.9", "55.6"]


@pytest.mark.parametrize("width", [60, 100])
def test_maps_of_large_inputs_keep_the_border_and_fit(width):
    lines = visit_lines(read(Stack(), (32, 48)), width)
    assert max(map(len, lines)) <= width
    grid = [line[: width // 2 - 1].split() for line in lines[lines.index("") :] if line]
    first = next(place for place, row in enumerate(grid) if row[:2] == ["visits", "by"]) + 1
    assert grid[first] == ["4", *["6"] * (len(grid[first]) - 2), "4"]
    assert len(grid) - first == len(grid[first]) == min(8, (width // 2 - 1) // 6)


def test_visits_of_a_row_and_of_a_volume():
    row = visit_lines(read(Stack(axes=1, size=5, stride=2, padding=0, depth=2), (40,)))
    assert row[0] == "conv_1 visits each place 0 to 3 times"
    assert "paths to conv_2: the first place has" in row[1]
    assert len(row) == 6
    volume = visit_lines(read(Stack(axes=3, depth=1), (4, 4, 4)))
    assert volume == [
        "conv_1 visits each place 8 (corner) to 27 times, without its padding 1 (corner) to 8"
    ]
    assert visit_lines(read(mlp.MLP((3,), 2), (4,))) == []


def test_padding_that_a_net_needs_is_told():
    text = " ".join(visit_lines(read(Stack(depth=5), (8, 8))))
    assert "without padding nothing would be left for conv_4" in text
    even = visit_lines(read(Stack(size=2, stride=2, depth=1), (8, 8)))
    assert even[0] == "conv_1 visits each pixel once"
    apart = " ".join(visit_lines(read(Stack(size=2, stride=2, depth=2), (8, 8))))
    assert "paths to conv_2: the top left corner has 100 % of those of the pixel with" in apart


def test_a_pool_over_everything_sees_everything():
    found, sample = read(Pooled(), (6, 5, 2)), jnp.zeros((1, 6, 5, 2))
    row = layer_table(found, {})[2].split()
    assert row == ["pool", "Everywhere", "3", "6x5", "stride", "6,5", "8x7"]
    assert "paths to pool" in visit_lines(found)[1]
    line = effective_lines(Pooled(), sample, found)[0]
    assert line.startswith("conv sees 3x3 in theory, effectively 3.0x3.0 of 6x5 at initialisation")


def test_what_looks_beyond_the_windows_is_told():
    """A norm over positions ties each to all of the map."""
    shape = (1, 24, 1)
    norms: list[tuple[Norm, bool]] = [("batch", False), ("group", True)]
    for norm, beyond in norms:
        net = ConvNet(parse_blocks("8k3 8k3"), 2, norm=norm)
        line = " ".join(effective_lines(net, jnp.zeros(shape), read(net, shape[1:])))
        assert line.startswith("conv_2 sees 5 in theory")
        assert line.endswith("as a norm over positions looks") == beyond


def test_nothing_is_measured_where_it_takes_too_long(monkeypatch):
    found, sample = read(Pooled(), (6, 5, 2)), jnp.zeros((1, 6, 5, 2))
    monkeypatch.setattr("experiments.engine.describe.MOST_WORK", 1e5)
    assert effective_lines(Pooled(), sample, found) == []
    assert effective_lines(mlp.MLP((3,), 2), sample, read(mlp.MLP((3,), 2), (4,))) == []
