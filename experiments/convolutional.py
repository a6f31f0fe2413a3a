"""What classifiers with convolutions share: augmented batches, and checks of nets and data."""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax

from experiments import classification
from experiments.data.dataset import Spec
from experiments.engine.errors import UsageError
from experiments.engine.selection import check_selection


def check(config: Any, spec: Spec, make_net: Callable[[Any, Spec], nn.Module]) -> None:
    """Refuses values that cannot train.

    Raises:
        UsageError: names the flag, or what does not fit in the net.
    """
    classification.check_augmented(config, spec)
    check_selection(config.selection)
    if config.data.components is not None:
        raise UsageError("--components: what is left of an image has no positions to slide over")
    if config.dropout is not None and not 0 <= config.dropout < 1:
        raise UsageError(f"--dropout {config.dropout}: must be at least 0 and below 1")
    if not 0 <= config.init_scale < float("inf"):
        raise UsageError(f"--init-scale {config.init_scale}: must not be negative")
    net, sample = make_net(config, spec), classification.sample_input(config, spec)
    jax.eval_shape(lambda key: net.init(key, sample, train=False), jax.random.key(0))


classifier = functools.partial(
    classification.classifier,
    epoch_inputs=classification.augmented_epoch_inputs,
    make_batch=classification.augmented_batch,
)
"""`classification.classifier` with augmentation."""
