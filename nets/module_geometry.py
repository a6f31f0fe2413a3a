"""What one Flax module does to the axes of its input: its windows and its multiply-adds.

A module that slides windows says so by a method `windows(spatial_shape) -> tuple[Window, ...]`;
Flax's own convolutions are understood too. A module with a method `multiply_adds(input_shape)`
counts its own. Otherwise a module whose parameter `kernel` has two axes is a dense layer.
"""

import inspect
import math
from typing import Any

import flax.linen as nn
from flax.linen.linear import canonicalize_padding

from nets.geometry import Window, windows


def windows_of(module: nn.Module, shape: tuple[int, ...]) -> tuple[Window, ...]:
    """The windows that a module slides over an input, one for each axis; none if it slides none.

    Flax's convolutions with wrapped or reflected edges, or holes in the input, count as none.

    Args:
        shape: of the input, without the batch; the last axis holds channels.
    """
    if isinstance(module, nn.Conv | nn.ConvLocal):
        return _flax_windows(module, shape)
    own = getattr(module, "windows", None)
    return tuple(own(shape[:-1])) if inspect.ismethod(own) else ()


def _flax_windows(module: Any, shape: tuple[int, ...]) -> tuple[Window, ...]:
    sizes = _numbers(module.kernel_size, 1)
    stride, dilation, holes = (
        _numbers(value, len(sizes))
        for value in (module.strides, module.kernel_dilation, module.input_dilation)
    )
    spatial = shape[-1 - len(sizes) : -1]
    padding: Any = canonicalize_padding(module.padding, len(sizes))
    if padding == "CAUSAL":
        reaches = [Window(k, dilation=d).reach for k, d in zip(sizes, dilation, strict=True)]
        padding = [(reach - 1, 0) for reach in reaches]
    lower: Any = {"SAME": "same", "VALID": "valid"}
    spelled = lower.get(padding) if isinstance(padding, str) else tuple(padding)
    if spelled is None or set(holes) != {1}:
        return ()
    return windows(spatial, sizes, stride, spelled, dilation)


def _numbers(value: Any, axes: int) -> tuple[int, ...]:
    """Flax's spelling of one number per axis: None is 1, and one number is for all."""
    if value is None:
        return (1,) * axes
    return (value,) * axes if isinstance(value, int) else tuple(value)


def own_count(module: nn.Module, shape: tuple[int, ...]) -> int | None:
    """The multiply-adds of one example that a module counts itself; None if it does not.

    Args:
        shape: of its input, without the batch.
    """
    count = getattr(module, "multiply_adds", None)
    return count(shape) if inspect.ismethod(count) else None


def turns_of(module: nn.Module, shape: tuple[int, ...]) -> int:
    """How often what is called inside a module runs: the steps of `nn.RNN`, whose cell is traced
    once.

    Args:
        shape: of its input, with the batch.
    """
    if not isinstance(module, nn.RNN):
        return 1
    return shape[0 if module.time_major else -1 - module.cell.num_feature_axes]


def multiply_adds(
    kernel: tuple[int, ...] | None,
    inputs: tuple[int, ...],
    outputs: tuple[int, ...],
    windows: tuple[Window, ...],
) -> int | None:
    """Multiplications by weights for one example, those with padding included.

    Args:
        kernel: shape of the weights: `[inputs, outputs]` of a dense layer, `[*window, channels,
            filters]` of a convolution, of any other order if each position has its own; None: no
            weights.
        inputs: shape of the input, without the batch.
        outputs: shape of the output, without the batch.
        windows: what the layer slides over its input, if it does.

    Returns:
        None for weights of more than two axes without windows: what they meet is not known.
    """
    if kernel is None:
        return 0
    weights, positions = math.prod(kernel), math.prod(outputs[:-1])
    if len(kernel) == 2:
        return positions * weights
    if not windows:
        return None
    # Flax's unshared kernel, [*positions, window * channels, filters], may have as many positions.
    same_axes = kernel[:-2] == tuple(window.size for window in windows)
    shared = same_axes and inputs[-1] % kernel[-2] == 0
    return positions * weights if shared else weights
