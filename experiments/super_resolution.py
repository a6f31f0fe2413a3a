"""How much of a small image's lost detail can a net give back? Super-resolution by a factor."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from experiments import classification, image_pairs
from experiments import images as image_sets
from experiments.data import split
from experiments.data.dataset import Dataset, Spec
from experiments.engine.errors import UsageError
from experiments.engine.experiment import Data, Experiment, Tree
from experiments.engine.keys import Streams
from experiments.engine.pictures import Picture
from experiments.engine.selection import Selection, check_selection
from experiments.engine.statistics import Metric
from experiments.engine.values import Choices
from experiments.optimizers import Optimizer, check_optimizer, make_optimizer
from experiments.rows import by_chunks, rows_of, shuffled
from experiments.upscaling_pictures import upscaling_picture
from nets.activations import ACTIVATIONS, Activation, as_activation
from nets.initializers import INITIALIZERS, Initializer
from nets.specs import Block, parse_blocks
from nets.upscaling import Place, Upscaler, bicubic

EVALUATION_ROWS = 500
SHOWN = 6
"""Test images in the picture."""


@dataclasses.dataclass(frozen=True)
class Net:
    """The net that upscales.

    Attributes:
        layers: its hidden layers, convolutions that keep the size: 64k5 32k3 as in ESPCN, 64k9 32k1
            as in SRCNN.
        upscale: at the end, by a shuffle of maps (ESPCN), or at the start, by bicubic
            interpolation (SRCNN).
        last_kernel: size of the last convolution: 3 in ESPCN, 5 in SRCNN.
        skip: the net gives what is missing from the bicubic interpolation, not the whole image.
        activation: after every hidden convolution, `relu` or `leaky_relu:0.2`.
        init: initialiser of every kernel, `he_normal` or `normal:0.001`.
        init_scale: factor on all initial kernels.
        bias_init: initialiser of every bias.
        compute_dtype: of products and activations; parameters and loss stay float32.
    """

    layers: str = "64k5 32k3"
    upscale: Place = "end"
    last_kernel: int = 3
    skip: bool = False
    activation: Annotated[Activation, Choices(ACTIVATIONS, as_activation)] = ACTIVATIONS["relu"]
    init: Annotated[Initializer, Choices(INITIALIZERS)] = INITIALIZERS["he_normal"]
    init_scale: float = 1.0
    bias_init: Literal["zeros", "fan_in_uniform"] = "zeros"
    compute_dtype: Literal["float32", "bfloat16"] = "float32"


@dataclasses.dataclass(frozen=True)
class Config:
    """A net that upscales and how it is trained.

    Attributes:
        data: the images.
        net: the net.
        optimizer: the optimizer and its schedule.
        selection: which parameters are evaluated.
    """

    data: image_pairs.Images = image_pairs.Images()
    net: Net = Net()
    optimizer: Optimizer = Optimizer(batch_size=16, epochs=20)
    selection: Selection = Selection()


def metrics(config: Any, spec: Spec) -> tuple[Metric, ...]:
    """The peak signal-to-noise ratio (primary), dB, and the mean squared error."""
    del config, spec
    return Metric("psnr", unit="dB"), Metric("loss", higher_is_better=False)


def check(config: Any, spec: Spec) -> None:
    """Refuses values that cannot train. Raises `UsageError`."""
    images, net = config.data, config.net
    image_pairs.check(images, spec)
    check_optimizer(config.optimizer, split.training_size(image_sets.rows(images), spec.train_rows))
    check_selection(config.selection)
    if not 0 <= net.init_scale < float("inf"):
        raise UsageError(f"--init-scale {net.init_scale}: must not be negative")
    if net.last_kernel < 1 or not net.last_kernel % 2:
        raise UsageError(f"--last-kernel {net.last_kernel}: an odd number, e.g. 3")
    try:
        _traced(_blocks(net), images.factor, net.upscale, image_pairs.small_size(images, spec))
    except ValueError as error:
        raise UsageError(f"--layers {net.layers!r}: {error}") from None


@functools.lru_cache(maxsize=128)
def _traced(blocks: tuple[Block, ...], factor: int, place: Place, size: tuple[int, int]) -> None:
    """Traces a net. Raises `ValueError` where it cannot be."""
    net, sample = Upscaler(blocks, factor, place), jnp.zeros((1, *size, 1))
    jax.eval_shape(lambda key: net.init(key, sample), jax.random.key(0))


def _blocks(net: Any) -> tuple[Block, ...]:
    """The hidden layers. Raises `ValueError` where one is something else than a convolution."""
    blocks = parse_blocks(net.layers)
    if any(b.kind != "conv" or not b.shared or b.batch_norm or b.pool > 1 for b in blocks):
        raise ValueError("only convolutions, such as 64k5, without norm, pooling and u")
    return blocks


def prepare(config: Any, dataset: Dataset, streams: Streams) -> dict[str, Any]:
    """A replica's training and validation rows."""
    return classification.prepare_rows(image_sets.rows(config.data), dataset, streams)


def make_net(config: Any, spec: Spec) -> Upscaler:
    """The net of a config; float fields may be tracers."""
    del spec
    net = config.net
    return Upscaler(
        _blocks(net),
        config.data.factor,
        net.upscale,
        net.last_kernel,
        net.skip,
        net.activation,
        net.init,
        net.init_scale,
        net.bias_init,
        jnp.dtype(net.compute_dtype),
    )


def sample_input(config: Any, spec: Spec) -> jax.Array:
    """Zeros [1, height, width, 1] of a small image."""
    return jnp.zeros((1, *image_pairs.small_size(config.data, spec), 1))


def epoch_inputs(config: Any, data: Data, key: jax.Array, epoch: jax.Array) -> jax.Array:
    """Shuffled positions among the replica's training rows, int32 [steps, batch]."""
    rows = data.own["train_rows"].shape[0]
    return shuffled(key, epoch, rows, config.optimizer.batch_size)


def make_batch(config: Any, data: Data, x: jax.Array, key: jax.Array) -> dict[str, jax.Array]:
    """One batch (`image_pairs.pairs`)."""
    del key
    images = data.splits["train"]["x"][data.own["train_rows"][x]]
    return image_pairs.pairs(config.data, data.own["stats"], images)


def loss_fn(
    config: Any, net: Any, params: Tree, model_state: Tree, batch: Tree, key: jax.Array
) -> tuple[jax.Array, tuple[Tree, dict[str, jax.Array]]]:
    """Mean squared error of a batch."""
    del key
    found, model_state = net.apply(
        {"params": params, **model_state}, batch["x"], train=True, mutable=list(model_state)
    )
    measured = jax.tree.map(jnp.mean, image_pairs.scores(config.data, found, batch["y"]))
    return measured["loss"], (model_state, measured)


def evaluate(
    config: Any, net: Any, params: Tree, model_state: Tree, data: Data, split: str
) -> tuple[dict[str, jax.Array], None]:
    """Exact mean PSNR and squared error over the images of a split; nothing of one without."""
    upscale = functools.partial(net.apply, {"params": params, **model_state})
    return _evaluated(config, upscale, data, split), None


def _evaluated(config: Any, upscale: Any, data: Data, split: str) -> dict[str, jax.Array]:
    arrays, rows = rows_of(data, split)
    if not rows.shape[0]:
        return {}

    def measured(rows: jax.Array) -> dict[str, jax.Array]:
        batch = image_pairs.pairs(config.data, data.own["stats"], arrays["x"][rows])
        return image_pairs.scores(config.data, upscale(batch["x"]), batch["y"])

    return jax.tree.map(jnp.mean, by_chunks(measured, (rows,), EVALUATION_ROWS))


def measure(
    config: Any, net: Any, params: Tree, model_state: Tree, data: Data
) -> dict[str, jax.Array]:
    """`bicubic`: the PSNR of bicubic interpolation on the test images; `gain`: how far the net is
    above it, dB; `parameters`: how many."""
    factor = config.data.factor

    def interpolate(x: jax.Array) -> jax.Array:
        return bicubic(x, x.shape[1] * factor, x.shape[2] * factor)

    plain = _evaluated(config, interpolate, data, "test")["psnr"]
    found, _ = evaluate(config, net, params, model_state, data, "test")
    count = sum(leaf.size for leaf in jax.tree.leaves(params))
    return {"bicubic": plain, "gain": found["psnr"] - plain, "parameters": jnp.int32(count)}


def remark(config: Any, means: Mapping[str, float]) -> str:
    """How far above or below bicubic interpolation the net is."""
    del config
    side = "above" if means["gain"] >= 0 else "below"
    return f"{abs(means['gain']):.2f} dB {side} bicubic interpolation ({means['bicubic']:.2f} dB)"


def pictures(
    config: Any, net: Any, params: Tree, model_state: Tree, data: Data
) -> dict[str, Picture]:
    """`upscaled`: the first test images small, by bicubic interpolation, by the net, and whole."""
    batch = image_pairs.pairs(
        config.data, data.own["stats"], jnp.asarray(data.splits["test"]["x"][:SHOWN])
    )
    found = jax.jit(net.apply)({"params": params, **model_state}, batch["x"])
    smooth = bicubic(batch["x"], *batch["y"].shape[1:3])
    columns = [np.asarray(each) for each in (batch["x"], smooth, found, batch["y"])]
    return {"upscaled": upscaling_picture(columns)}


EXPERIMENT = Experiment(
    name="super_resolution",
    summary="nets that make small images large, against bicubic interpolation",
    config=Config(),
    metrics=metrics,
    load=lambda config, manual_dir: image_sets.load(config.data, manual_dir),
    check=check,
    prepare=prepare,
    make_net=make_net,
    sample_input=sample_input,
    make_optimizer=lambda config, steps: make_optimizer(config.optimizer, steps),
    epoch_inputs=epoch_inputs,
    make_batch=make_batch,
    loss_fn=loss_fn,
    evaluate=evaluate,
    selection=lambda config: config.selection,
    measure=measure,
    remark=remark,
    pictures=pictures,
)
