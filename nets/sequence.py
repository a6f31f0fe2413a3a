"""Nets that read sequences: a stack of recurrent layers and a linear layer over what it gives."""

import math
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from nets.classifier import Classifier
from nets.dense import Dense
from nets.initializers import INITIALIZERS, BiasInit, InitFunction
from nets.recurrent import RecurrentStack

Reading = Literal["last", "mean", "all", "each"]


class SequenceNet(Classifier):
    """Recurrent layers, then a linear layer.

    Parameters are `stack` and `output`.

    Attributes:
        stack: the recurrent layers.
        outputs: scores, or numbers.
        reading: what the linear layer sees of what the stack gives, dropout included: the state
            after the last element (of both directions, where there are two), the mean of all
            states, all states side by side, or the state at each element, for outputs at each.
        time_axes: how many of the inputs' axes after the batch count the elements of a sequence;
            the rest are the numbers of an element. 2 reads images pixel by pixel.
        kernel_init, bias_init: of the linear layer.
    """

    stack: RecurrentStack
    outputs: int
    reading: Reading = "last"
    time_axes: int = 1
    kernel_init: InitFunction = INITIALIZERS["glorot_uniform"]
    bias_init: BiasInit = "zeros"

    @nn.compact
    def features_and_scores(
        self, inputs: Float[Array, "batch *elements"], *, train: bool
    ) -> tuple[Float[Array, "batch *width"], Float[Array, "batch *outputs"]]:
        """What the linear layer sees, and what it gives.

        Args:
            inputs: [batch, time, features], or [batch, time] of numbers; images, by rows.
        """
        length = math.prod(inputs.shape[1 : 1 + self.time_axes])
        sequences = inputs.reshape(len(inputs), length, -1)
        seen = self._read(self.stack(sequences, train=train)[0])
        options = self.kernel_init, self.bias_init, self.stack.dtype
        return seen, Dense(self.outputs, True, *options, name="output")(seen)

    def _read(self, states: jax.Array) -> jax.Array:
        match self.reading:
            case "last" if self.stack.bidirectional:
                forward, back = jnp.split(states, 2, axis=-1)
                return jnp.concatenate([forward[:, -1], back[:, 0]], axis=-1)
            case "last":
                return states[:, -1]
            case "mean":
                return jnp.mean(states, axis=1)
            case "all":
                return states.reshape(len(states), -1)
            case "each":
                return states
