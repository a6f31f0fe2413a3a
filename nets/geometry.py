"""Arithmetic of windows that slide over an input: sizes, receptive fields, visits, weights.

Nothing here knows a net; `nets.layers` reads these numbers off one. Dumoulin & Visin 2016
(arXiv 1603.07285) derive the output sizes, Araujo et al. 2019 (Distill, "Computing receptive
fields of convolutional neural networks") the receptive fields.
"""

import dataclasses
import functools
from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

Sizes = int | tuple[int, ...]
Padding = Literal["same", "valid"] | int | tuple[int, ...] | tuple[tuple[int, int], ...]


@dataclasses.dataclass(frozen=True)
class Window:
    """One axis of a convolution or pooling window.

    Attributes:
        size: inputs that it covers.
        stride: step from one output to the next.
        padding: places added before and after the input.
        dilation: step from one covered input to the next.
    """

    size: int
    stride: int = 1
    padding: tuple[int, int] = (0, 0)
    dilation: int = 1

    @property
    def reach(self) -> int:
        """Inputs from the first covered one to the last, both counted."""
        return self.dilation * (self.size - 1) + 1

    def output_size(self, inputs: int) -> int:
        """How many positions the window has on that many inputs."""
        return (inputs + sum(self.padding) - self.reach) // self.stride + 1


@dataclasses.dataclass(frozen=True)
class Field:
    """What the units of a feature map see of the input, along one axis.

    Attributes:
        size: inputs from the first to the last that a unit sees, both counted.
        jump: inputs from the field of a unit to that of its neighbour.
        start: the first input that unit 0 sees; negative ones lie in the padding.
    """

    size: int = 1
    jump: int = 1
    start: int = 0

    def through(self, window: Window) -> "Field":
        """The field of a unit that looks at these units through a window."""
        return Field(
            self.size + (window.reach - 1) * self.jump,
            self.jump * window.stride,
            self.start - window.padding[0] * self.jump,
        )


def receptive_field(stack: Iterable[Window]) -> Field:
    """The field of one unit after all windows of one axis, the first of them on the input."""
    return functools.reduce(Field.through, stack, Field())


def windows(
    shape: tuple[int, ...],
    size: Sizes,
    stride: Sizes = 1,
    padding: Padding = "same",
    dilation: Sizes = 1,
) -> tuple[Window, ...]:
    """One window per axis of `shape`.

    Args:
        shape: of the input, without batch and channels.
        size: covered inputs of every axis, or of each.
        stride: of every axis, or of each.
        padding: `same` as XLA pads it (ceil(inputs / stride) outputs, an odd place goes after),
            `valid` for none, a number for both sides of every axis, one for each axis, or pairs
            (before, after) for each axis.
        dilation: of every axis, or of each.

    Raises:
        ValueError: a number out of range, a tuple of the wrong length, or a window that does not
            fit into the padded input.
    """
    sizes = _per_axis("kernel", size, len(shape))
    strides = _per_axis("stride", stride, len(shape))
    dilations = _per_axis("dilation", dilation, len(shape))
    bare = [Window(k, s, (0, 0), d) for k, s, d in zip(sizes, strides, dilations, strict=True)]
    same = padding == "same"
    pads = list(map(_same, shape, bare)) if same else _pads(padding, len(shape))
    padded = tuple(map(_padded, bare, pads))
    for inputs, window in zip(shape, padded, strict=True):
        _check_fit(inputs, window)
    return padded


def _padded(window: Window, padding: tuple[int, int]) -> Window:
    return dataclasses.replace(window, padding=padding)


def _per_axis(name: str, value: Sizes, axes: int) -> tuple[int, ...]:
    values = (value,) * axes if isinstance(value, int) else tuple(value)
    _check_length(name, values, axes)
    for number in values:
        if number < 1:
            raise ValueError(f"{name} {number}: must be at least 1")
    return values


def _same(inputs: int, window: Window) -> tuple[int, int]:
    outputs = -(-inputs // window.stride)
    places = max((outputs - 1) * window.stride + window.reach - inputs, 0)
    return places // 2, places - places // 2


def _pads(padding: Padding, axes: int) -> list[tuple[int, int]]:
    if padding == "valid":
        padding = 0
    if isinstance(padding, str):
        raise ValueError(f"padding {padding!r}: give 'same', 'valid', numbers or pairs of numbers")
    each = (padding,) * axes if isinstance(padding, int) else tuple(padding)
    _check_length("padding", each, axes)
    pads = []
    for value in each:
        pair = (value, value) if isinstance(value, int) else tuple(value)
        if len(pair) != 2:
            raise ValueError(f"padding {pair}: give a number or a pair (before, after)")
        if min(pair) < 0:
            raise ValueError(f"padding {min(pair)}: must not be negative")
        pads.append(pair)
    return pads


def _check_length(name: str, values: tuple, axes: int) -> None:
    if len(values) != axes:
        plural = "axis" if axes == 1 else "axes"
        raise ValueError(f"{name} {values}: {len(values)} values for {axes} {plural}")


def _check_fit(inputs: int, window: Window) -> None:
    padded = inputs + sum(window.padding)
    if window.reach > padded:
        spread = f" with dilation {window.dilation} reaches {window.reach} and"
        kernel = f"{window.size}{spread if window.dilation > 1 else ''}"
        raise ValueError(f"kernel {kernel} is larger than the padded input of {padded}")


def visits(shape: tuple[int, ...], windows: tuple[Window, ...]) -> Int[np.ndarray, "*shape"]:
    """How many positions of the window cover each input: fewer at an edge, unless it is padded.

    Args:
        shape: of the input, without batch and channels.
        windows: one for each axis.
    """
    return paths(shape, [windows]).astype(np.int64)


def paths(
    shape: tuple[int, ...], stack: Sequence[tuple[Window, ...]]
) -> Float[np.ndarray, "*shape"]:
    """From each input, the number of ways through all windows to any unit of the last map.

    It is the gradient of the sum of convolutions with kernels of ones, the product of one count
    per axis; exact below 2^53.

    Args:
        shape: of the input, without batch and channels.
        stack: windows of each layer, one for each axis, the first on the input.
    """
    counts = [
        _axis_paths(inputs, [windows[axis] for windows in stack])
        for axis, inputs in enumerate(shape)
    ]
    return functools.reduce(np.multiply.outer, counts, np.ones(()))


def _axis_paths(inputs: int, stack: Sequence[Window]) -> np.ndarray:
    sizes = [inputs]
    for window in stack:
        sizes.append(window.output_size(sizes[-1]))
    counts = np.ones(sizes[-1])
    for window, size in zip(reversed(stack), reversed(sizes[:-1]), strict=True):
        counts = _covered(counts, window, size)
    return counts


def _covered(counts: np.ndarray, window: Window, inputs: int) -> np.ndarray:
    """Adds what each output counts to every input that its window covers."""
    before, after = window.padding
    padded = np.zeros(before + inputs + after)
    span = (len(counts) - 1) * window.stride + 1
    for offset in range(0, window.reach, window.dilation):
        padded[offset : offset + span : window.stride] += counts
    return padded[before : before + inputs]


@dataclasses.dataclass(frozen=True)
class Sharing:
    """Parameters of one layer of windows, by how much its positions share.

    Attributes:
        shared: one filter everywhere, as in a convolution.
        bias_per_filter: weights of every position's own, one bias for each filter.
        bias_per_position: weights and biases of every position's own.
    """

    shared: int
    bias_per_filter: int
    bias_per_position: int


def shared_against_unshared(
    weights: int, positions: int, filters: int, *, bias: bool = True
) -> Sharing:
    """What sharing weights saves.

    Args:
        weights: of one filter, 75 for 5x5 on three channels.
        positions: of the window on the input, 1,024 for 32x32.
        filters: channels of the output.
        bias: whether there are biases.
    """
    once, everywhere = weights * filters, weights * positions * filters
    return Sharing(
        once + filters * bias, everywhere + filters * bias, everywhere + positions * filters * bias
    )
