"""Nets that read sequences: a stack of recurrent layers and a linear layer over what it gives."""

from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from nets.classifier import Classifier, dense
from nets.initializers import INITIALIZERS, BiasInit, InitFunction
from nets.recurrent import RecurrentStack, last_state

Reading = Literal["last", "mean", "all", "each"]


class SequenceNet(Classifier):
    """Recurrent layers, then a linear layer.

    Parameters are `stack` and `output`.

    Attributes:
        stack: the recurrent layers.
        outputs: scores, or numbers.
        reading: what the linear layer sees: the state after the last element (of both directions,
            where there are two), the mean of all states, all states side by side, or the state at
            each element, for outputs at each.
        kernel_init, bias_init: of the linear layer.
    """

    stack: RecurrentStack
    outputs: int
    reading: Reading = "last"
    kernel_init: InitFunction = INITIALIZERS["glorot_uniform"]
    bias_init: BiasInit = "zeros"

    @nn.compact
    def features_and_scores(
        self, inputs: Float[Array, "batch time *features"], *, train: bool
    ) -> tuple[Float[Array, "batch *width"], Float[Array, "batch *outputs"]]:
        """What the linear layer sees, and what it gives.

        Args:
            inputs: [batch, time, features], or [batch, time] of numbers.
        """
        sequences = inputs.reshape(*inputs.shape[:2], -1)
        states, carries = self.stack(sequences, train=train)
        seen = self._read(states, carries)
        scores = dense(
            seen, self.outputs, "output",
            use_bias=True, kernel_init=self.kernel_init, bias_init=self.bias_init,
            dtype=self.stack.dtype,
        )  # fmt: skip
        return seen, scores

    def _read(self, states: jax.Array, carries: Any) -> jax.Array:
        match self.reading:
            case "last":
                return last_state(carries, bidirectional=self.stack.bidirectional)
            case "mean":
                return jnp.mean(states, axis=1)
            case "all":
                return states.reshape(len(states), -1)
            case "each":
                return states
