"""What classifiers with convolutions share: augmented batches, and checks of nets and data."""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax

from experiments import classification
from experiments.data.dataset import Spec
from experiments.engine.config import split
from experiments.engine.errors import UsageError
from experiments.engine.selection import check_selection


def check(config: Any, spec: Spec, make_net: Callable[[Any, Spec], nn.Module]) -> None:
    """Refuses values that cannot train.

    Raises:
        UsageError: names the flag.
        ValueError: windows that do not fit the inputs, or another net that cannot be.
    """
    classification.check_augmented(config, spec)
    check_selection(config.selection)
    if config.data.components is not None:
        raise UsageError("--components: what is left of an image has no positions to slide over")
    if config.dropout is not None and not 0 <= config.dropout < 1:
        raise UsageError(f"--dropout {config.dropout}: must be at least 0 and below 1")
    if not 0 <= config.init_scale < float("inf"):
        raise UsageError(f"--init-scale {config.init_scale}: must not be negative")
    _trace(make_net, split(config)[0], spec)


@functools.lru_cache(maxsize=128)
def _trace(make_net: Callable[[Any, Spec], nn.Module], static: Any, spec: Spec) -> None:
    """Traces the net, once for all cells of a program. Raises `ValueError` where it cannot be."""
    net, sample = make_net(static, spec), classification.sample_input(static, spec)
    jax.eval_shape(lambda key: net.init(key, sample, train=False), jax.random.key(0))


classifier = functools.partial(
    classification.classifier,
    epoch_inputs=classification.augmented_epoch_inputs,
    make_batch=classification.augmented_batch,
)
"""`classification.classifier` with augmentation."""
