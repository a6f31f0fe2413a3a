"""Arithmetic of windows that slide over an input: sizes, receptive fields, visits, weights.

Nothing here knows a net; `nets.layers` reads these numbers off one. Dumoulin & Visin 2016
(arXiv 1603.07285) derive the output sizes.
"""

import dataclasses
from typing import Literal

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
            (before, after) for each window.
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
        dilated = f" with dilation {window.dilation} reaches {window.reach} and" * (
            window.dilation > 1
        )
        raise ValueError(
            f"kernel {window.size}{dilated} is larger than the padded input of {padded}"
        )
