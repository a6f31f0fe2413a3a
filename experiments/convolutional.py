"""What classifiers with convolutions share: augmented batches, and checks of nets and data."""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax

from experiments import classification
from experiments.data.augment import alternating_flips, augment, check_augmentation, mix_up
from experiments.data.dataset import Spec
from experiments.engine.config import split
from experiments.engine.errors import UsageError
from experiments.engine.experiment import Data


def check(config: Any, spec: Spec, make_net: Callable[[Any, Spec], nn.Module]) -> None:
    """Refuses values that cannot train.

    Raises:
        UsageError: names the flag.
        ValueError: windows that do not fit the inputs, or another net that cannot be.
    """
    check_augmented(config, spec)
    if config.data.preprocess in ("pca", "principal"):
        raise UsageError(
            f"--preprocess {config.data.preprocess}: principal components have no positions to "
            "slide over; use zca"
        )
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


def check_augmented(config: Any, spec: Spec) -> None:
    """Refuses values that cannot train, of a config with `Augmentation` as its `augmentation`.

    Raises:
        UsageError: names the flag.
    """
    classification.check(config, spec)
    check_augmentation(config.augmentation, spec)
    chosen = config.augmentation
    moved = chosen.translate or chosen.cutout or chosen.flip != "none"
    if moved and config.data.preprocess in ("pca", "principal"):
        raise UsageError(
            f"--preprocess {config.data.preprocess}: principal components have no positions to "
            "translate, flip or cut out; use zca, or no such augmentation"
        )


def augmented_epoch_inputs(
    config: Any, data: Data, key: jax.Array, epoch: jax.Array
) -> dict[str, jax.Array]:
    """{"rows": as without augmentation}, and "flip", bool [steps, batch], where flips alternate."""
    rows = classification.epoch_inputs(config, data, key, epoch)
    if config.augmentation.flip != "alternating":
        return {"rows": rows}
    flips = alternating_flips(key, epoch, data.own["train_rows"].shape[0])
    return {"rows": rows, "flip": flips[rows]}


def augmented_batch(
    config: Any, data: Data, x: dict[str, jax.Array], key: jax.Array
) -> dict[str, jax.Array]:
    """A batch, augmented; with mixup also "y_other" [B] and "weight", the share of "y"."""
    batch = classification.make_batch(config, data, x["rows"], key)
    batch |= {"x": augment(config.augmentation, batch["x"], key, x.get("flip"))}
    mixup = config.augmentation.mixup
    return batch if mixup is None else mix_up(mixup, batch, key)


classifier = functools.partial(
    classification.classifier,
    epoch_inputs=augmented_epoch_inputs,
    make_batch=augmented_batch,
)
"""`classification.classifier` with augmentation."""
