"""Multilayer perceptron, from the linear classifier up, with every choice a field."""

import flax.linen as nn
import jax
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from nets.activations import ACTIVATIONS, ActivationLike, Nonlinearity, fan_out
from nets.classifier import Classifier
from nets.dense import Dense
from nets.initializers import INITIALIZERS, BiasInit, InitFunction, scaled
from nets.normalization import UnitNorm, normalise
from nets.regularizers import Dropout, GaussianNoise


class MLP(Classifier):
    """Hidden layers `dropout(activation(norm(W h + b)))`, then a linear layer of class scores.

    Layer i has the parameters `layer_i`, `norm_i` and `activation_i`; the last is `output`. Float
    fields may be tracers. Training with noise or dropout needs the random stream "dropout".

    Attributes:
        widths: units of each hidden layer; none make a linear classifier.
        classes: number of scores.
        activation: of every hidden layer, or a tuple with one for each.
        norm: normalisation before each activation. Batch norm takes the place of the bias.
        dropout: rate after each activation (None: no dropout in the program).
        input_dropout: rate on the input.
        input_noise: standard deviation of Gaussian noise added to the input, before its dropout.
        input_noise_steps: training steps over which it falls linearly to zero (None: constant).
        skip: each hidden layer that is as wide as its input adds that input to its output
            (He et al. 2015, arXiv 1512.03385, equation 1).
        kernel_init: of every layer.
        init_scale: factor on all initial kernels, not on biases.
        bias_init: of every layer.
        norm_momentum: share of the old value that running batch statistics keep at each step.
        norm_epsilon: added to variances.
        dtype: of the computation; the parameters stay float32, and so do the scores.
    """

    widths: tuple[int, ...]
    classes: int
    activation: ActivationLike | tuple[ActivationLike, ...] = ACTIVATIONS["relu"]
    norm: UnitNorm = "none"
    dropout: float | None = None
    input_dropout: float | None = None
    input_noise: float | None = None
    input_noise_steps: int | None = None
    skip: bool = False
    kernel_init: InitFunction = INITIALIZERS["he_normal"]
    init_scale: float = 1.0
    bias_init: BiasInit = "zeros"
    norm_momentum: float = 0.9
    norm_epsilon: float = 1e-5
    dtype: DTypeLike | None = None

    @nn.compact
    def features_and_scores(
        self, inputs: Float[Array, "batch *features"], *, train: bool
    ) -> tuple[Float[Array, "batch width"], Float[Array, "batch classes"]]:
        """The last hidden layer and the class scores; all axes but the first are flattened.

        Raises:
            ValueError: as many activations as hidden layers were not given.
        """
        hidden = inputs.reshape(inputs.shape[0], -1)
        if self.dtype is not None:
            hidden = hidden.astype(self.dtype)
        if self.input_noise is not None:
            noise = GaussianNoise(self.input_noise, self.input_noise_steps, name="input_noise")
            hidden = noise(hidden, train=train)
        if self.input_dropout is not None:
            hidden = Dropout(self.input_dropout, name="input_dropout")(hidden, train=train)
        for number, activation in enumerate(self._activations(), start=1):
            outputs = self._layer(number, activation, hidden, train=train)
            hidden = hidden + outputs if self.skip and hidden.shape == outputs.shape else outputs
        return hidden, self._dense(self.classes, hidden, "output", use_bias=True)

    def _activations(self) -> tuple[ActivationLike, ...]:
        if not isinstance(self.activation, tuple):
            return (self.activation,) * len(self.widths)
        if len(self.activation) != len(self.widths):
            counts = f"{len(self.activation)} activations for {len(self.widths)} hidden layers"
            raise ValueError(f"{counts}: give one, or one for each layer")
        return self.activation

    def _layer(
        self, number: int, activation: ActivationLike, hidden: jax.Array, *, train: bool
    ) -> jax.Array:
        width = fan_out(activation, self.widths[number - 1])
        has_bias = self.norm != "batch"
        hidden = self._dense(width, hidden, f"layer_{number}", use_bias=has_bias)
        hidden = normalise(
            hidden, self.norm, f"norm_{number}",
            train=train, momentum=self.norm_momentum, epsilon=self.norm_epsilon, dtype=self.dtype,
        )  # fmt: skip
        hidden = Nonlinearity(activation, name=f"activation_{number}")(hidden)
        if self.dropout is None:
            return hidden
        return Dropout(self.dropout, name=f"dropout_{number}")(hidden, train=train)

    def _dense(self, width: int, hidden: jax.Array, name: str, *, use_bias: bool) -> jax.Array:
        init = scaled(self.kernel_init, self.init_scale)
        return Dense(width, use_bias, init, self.bias_init, self.dtype, name=name)(hidden)
