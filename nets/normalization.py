"""Normalisations that a net can put before its activations."""

import math
from typing import Literal

import flax.linen as nn
import jax
from jax.typing import DTypeLike

from nets.batch_norm import BatchNorm
from nets.conv import LocalResponseNorm

UnitNorm = Literal["none", "batch", "layer", "group"]
"""Those that units without an order can have."""
Norm = Literal[UnitNorm, "local_response"]
GROUPS = 32
"""Groups of group normalisation (Wu & He 2018, arXiv 1803.08494, table 3)."""
GROUP_CHANNELS = 2
"""Channels that a group has at least: of 32 groups, that is those of the narrowest layers of a
ResNet-50, of 64 channels."""
GROUP_VALUES = 8
"""Channels times positions that a group has at least. Of two values nothing is left but which is
larger: dense layers in groups of two units hardly train."""


def groups_of(channels: int, positions: int) -> int:
    """Groups of group normalisation: the most that divide the channels, up to 32, of 2 channels and
    8 values at least.

    64 channels and their multiples have 32, as published, where there are 4 positions or more. A
    single channel in each would be another norm: instance norm (Ulyanov et al. 2016).

    Args:
        positions: of a channel; 1 of the units of a dense layer.
    """
    fewest = max(GROUP_CHANNELS, -(-GROUP_VALUES // positions))
    most = max(1, min(GROUPS, channels // fewest))
    return max(n for n in range(1, most + 1) if channels % n == 0)


def normalise(
    x: jax.Array,
    norm: Norm,
    name: str,
    *,
    train: bool,
    scale: bool = True,
    momentum: float = 0.9,
    epsilon: float = 1e-5,
    dtype: DTypeLike | None = None,
) -> jax.Array:
    """Normalises `[batch, *space, channels]`, then scales and shifts each channel, inside a module.

    Means and variances are of float32 or wider, whatever `dtype`.

    Every norm but `local_response` has its own shift; only `batch` takes away a constant added to a
    channel, and with it the bias of the layer before.

    `batch`: over batch and space, with running statistics for evaluation (Ioffe & Szegedy 2015).
    `layer`: over space and channels of each example (Ba et al. 2016). `group`: likewise, channels
    in groups (`groups_of`; Wu & He 2018). `local_response`: by neighbouring channels, without scale
    and shift (Krizhevsky et al. 2012, who put it after the activation).

    Args:
        name: of the submodule.
        scale: whether each channel has a factor of its own that is trained.
        momentum: share of the old value that running statistics keep at each step.
        epsilon: added to variances.
    """
    shared = {
        "epsilon": epsilon, "dtype": dtype, "use_scale": scale, "use_fast_variance": False,
        "name": name,
    }  # fmt: skip
    match norm:
        case "none":
            return x
        case "local_response":
            return LocalResponseNorm(name=name)(x)
        case "batch":
            return BatchNorm(scale, momentum, epsilon, dtype, name=name)(x, train=train)
        case "layer":
            axes = tuple(range(1, x.ndim))
            return nn.LayerNorm(reduction_axes=axes, feature_axes=-1, **shared)(x)
        case "group":
            groups = groups_of(x.shape[-1], math.prod(x.shape[1:-1]))
            return nn.GroupNorm(num_groups=groups, **shared)(x)
