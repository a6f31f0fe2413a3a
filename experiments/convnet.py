"""Convolutional nets on images and sequences: from one filter to AlexNet and VGG."""

import dataclasses
import functools
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import optax

from experiments import classification, convolutional, views, whitening
from experiments.data.augment import Augmentation
from experiments.data.dataset import Dataset, Spec
from experiments.data.split import Data
from experiments.engine.config import Static
from experiments.engine.errors import UsageError
from experiments.engine.keys import Streams
from experiments.engine.selection import Selection
from experiments.engine.values import Choices
from experiments.objectives import Objective
from experiments.optimizers import Optimizer
from experiments.transformations import stop_after
from experiments.whitening import Whitening
from nets.activations import ACTIVATIONS, Activation, as_activation
from nets.convnet import DROPPED, ConvNet
from nets.initializers import INITIALIZERS, Initializer
from nets.normalization import Norm
from nets.specs import Block, parse_blocks

SEQUENCES = "25k5s2p1 25k3s2p1 25k3s2p1"
IMAGES = "32k3 32k3 max2 64k3 64k3 max2 d128"


@dataclasses.dataclass(frozen=True)
class Norms:
    """What normalisation is like, whichever it is.

    Attributes:
        norm_scale: a trained factor for each channel.
        norm_momentum: share of the old value that running batch statistics keep at each step.
        norm_epsilon: added to the variances.
    """

    norm_scale: bool = True
    norm_momentum: Static[float] = 0.9
    norm_epsilon: Static[float] = 1e-5


@dataclasses.dataclass(frozen=True)
class Scores:
    """How class scores are made of the last hidden layer, and of an input to be evaluated.

    Attributes:
        output_bias: a bias for each class.
        output_scale: factor on the scores; none: 1.
        test_views: an evaluation averages the scores of an input alone (one), of it and its mirror
            image (mirror), or of both in place and moved to and fro by a position (shift).
    """

    output_bias: bool = True
    output_scale: float | None = None
    test_views: views.Kind = "one"


@dataclasses.dataclass(frozen=True)
class Config:
    """A convolutional net and how it is trained.

    Attributes:
        data: the data set and its preprocessing.
        augmentation: how training inputs are changed.
        optimizer: the optimizer and its schedule.
        objective: the loss and the penalties.
        selection: which parameters are evaluated.
        layers: "32k3 32k3 max2 d128", or linear (none), lenet5, alexnet, alexnet_one_tower,
            alexnet_cifar, airbench94, vgg11, vgg13, vgg16, vgg19, or one of these four with batch
            norm, vgg11_bn; auto: three convolutions for sequences, four and a dense layer for
            images.
        activation: after every convolution and dense layer, `relu` or `leaky_relu:0.2`.
        norm: normalisation before each activation; local_response after it, of convolutions alone;
            group: 32 groups, or as many as have two channels and eight values at least.
        norms: its details.
        whitening: details of a whitening layer.
        scores: details of the output, and of its evaluation.
        bias_rate_on: what has the rate of biases (bias_rate): every parameter but kernels, or those
            of normalisation alone.
        dropout: rate.
        dropout_at: after which layers: every convolution and dense layer, or those of one kind.
        bias_per_position: convolutions without weight sharing have a bias for each position.
        init: initialiser of every kernel, `he_normal` or `normal:0.01`.
        init_scale: factor on all initial kernels.
        bias_init: initialiser of every bias.
        compute_dtype: of products and activations; parameters and loss stay float32.
    """

    data: Data = Data()
    augmentation: Augmentation = Augmentation()
    optimizer: Optimizer = Optimizer(epochs=10)
    objective: Objective = Objective()
    selection: Selection = Selection()
    layers: str = "auto"
    activation: Annotated[Activation, Choices(ACTIVATIONS, as_activation)] = ACTIVATIONS["relu"]
    norm: Norm = "none"
    norms: Norms = Norms()
    whitening: Whitening = Whitening()
    scores: Scores = Scores()
    bias_rate_on: Literal["every", "norm"] = "every"
    dropout: float | None = None
    dropout_at: Literal["every", "conv", "pool", "dense"] = "every"
    bias_per_position: bool = False
    init: Annotated[Initializer, Choices(INITIALIZERS)] = INITIALIZERS["he_normal"]
    init_scale: float = 1.0
    bias_init: Literal["zeros", "fan_in_uniform"] = "zeros"
    compute_dtype: Literal["float32", "bfloat16"] = "float32"


def check(config: Any, spec: Spec) -> None:
    """Refuses values that cannot train. Raises `UsageError`."""
    try:
        blocks = _blocks(config, spec)
        convolutional.check(config, spec, make_net)
    except ValueError as error:
        raise UsageError(f"--layers {config.layers!r}: {error}") from None
    if config.objective.max_norm is not None and not all(block.shared for block in blocks):
        raise UsageError("--max-norm: not with layers without weight sharing (u)")
    if config.dropout is not None and not {b.kind for b in blocks} & {*DROPPED[config.dropout_at]}:
        raise UsageError(f"--dropout-at {config.dropout_at}: --layers has no such layer")
    if any(b.kind == "dense" and (b.batch_norm or config.norm == "batch") for b in blocks):
        classification.refuse_batch_of_one(config)
    if config.bias_rate_on == "norm" and not any(_normalised(config.norm, b) for b in blocks):
        raise UsageError("--bias-rate-on norm: nothing is normalised; give --norm batch, or every")
    _check_numbers(config.norms, config.scores)
    whitening.check(config.whitening, blocks)


def _normalised(norm: Norm, block: Block) -> bool:
    """Whether a layer is followed by a normalisation that has parameters."""
    by_all = norm not in ("none", "local_response") and block.kind in DROPPED["every"]
    return block.batch_norm or by_all


def _check_numbers(norms: Norms, scores: Scores) -> None:
    if not 0 <= norms.norm_momentum < 1:
        raise UsageError(f"--norm-momentum {norms.norm_momentum:g}: at least 0 and below 1")
    if not 0 < norms.norm_epsilon < 1:
        raise UsageError(f"--norm-epsilon {norms.norm_epsilon:g}: above 0 and below 1")
    scale = scores.output_scale
    if scale is not None and not 0 < scale < float("inf"):
        raise UsageError(f"--output-scale {scale:g}: must be positive; none: 1")


def _blocks(config: Any, spec: Spec) -> tuple[Block, ...]:
    automatic = SEQUENCES if len(spec.shape) == 1 else IMAGES
    return parse_blocks(automatic if config.layers == "auto" else config.layers)


def prepare(config: Any, dataset: Dataset, streams: Streams) -> dict[str, Any]:
    """A replica's own arrays; of a net that whitens, also the "filters" of its training rows."""
    return whitening.prepare(config, _blocks(config, dataset.spec), dataset, streams)


def optimizer(config: Any, total_steps: int) -> optax.GradientTransformation:
    """The config's optimizer; the biases of whitening stop when they should."""
    epochs, parts = config.whitening.patch_bias_epochs, {}
    if config.bias_rate_on == "norm":
        parts["faster"] = functools.partial(_in_layer, "norm_")
    if epochs is not None:
        steps = epochs * (total_steps // config.optimizer.epochs)
        parts["of_step"] = [stop_after(steps, functools.partial(_in_layer, "whitening"))]
    return classification.optimizer(config, total_steps, **parts)


def _in_layer(start: str, path: tuple[Any, ...], leaf: Any) -> bool:
    """Chooses the parameters of the layers whose names begin so."""
    del leaf
    return jax.tree_util.keystr(path[:1], simple=True).startswith(start)


def evaluate(
    config: Any, net: Any, params: Any, model_state: Any, data: Any, split: str
) -> tuple[dict[str, jax.Array], jax.Array | None]:
    """`classification.evaluate`, with the scores averaged over the views of each input."""
    mean = functools.partial(views.mean_scores, config.scores.test_views)
    return classification.evaluate(config, net, params, model_state, data, split, mean)


def make_net(config: Any, spec: Spec) -> ConvNet:
    """The net of a config; float fields may be tracers.

    Raises:
        ValueError: a word of `layers` is no layer.
    """
    return ConvNet(
        blocks=_blocks(config, spec),
        classes=spec.classes,
        channel_axis=len(spec.shape) > 2,
        activation=config.activation,
        norm=config.norm,
        norm_scale=config.norms.norm_scale,
        norm_momentum=config.norms.norm_momentum,
        norm_epsilon=config.norms.norm_epsilon,
        output_bias=config.scores.output_bias,
        output_scale=config.scores.output_scale,
        dropout=config.dropout,
        dropout_at=config.dropout_at,
        bias_per_position=config.bias_per_position,
        kernel_init=config.init,
        init_scale=config.init_scale,
        bias_init=config.bias_init,
        dtype=jnp.dtype(config.compute_dtype),
    )


EXPERIMENT = convolutional.classifier(
    name="convnet",
    summary="convolutional nets from a short spec, on images and sequences",
    config=Config(),
    check=check,
    make_net=make_net,
    prepare=prepare,
    adapt=whitening.adapt,
    make_optimizer=optimizer,
    evaluate=evaluate,
)
