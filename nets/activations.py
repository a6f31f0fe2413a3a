"""Activation functions, and the module that applies one, learns its parameters and measures it.

An activation is called `function(x, *parameters, *learned)`: `parameters` are the fixed numbers a
command line can spell, `learned` holds one trained value per unit of the last axis. At a kink the
gradient is the slope of one side (0 for ReLU at 0; maxout shares it), and a NaN stays a NaN.
"""

import dataclasses
import inspect
import math
from collections.abc import Callable
from types import MappingProxyType

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from nets.options import Option, parse_option
from nets.spread import spread

SATURATED_SLOPE = 0.05
DEAD_SLOPE = 1e-6


def identity(x: jax.Array) -> jax.Array:
    """x: a net of these is linear, whatever its depth."""
    return x


def hard_tanh(x: jax.Array) -> jax.Array:
    """min(1, max(-1, x))."""
    return jnp.where(jnp.abs(x) < 1, x, jnp.sign(x))


def leaky_relu(x: jax.Array, slope: float | jax.Array) -> jax.Array:
    """x where positive, slope * x elsewhere (Maas et al. 2013, section 2).

    With a learned slope per unit this is PReLU (He et al. 2015, arXiv 1502.01852, equation 1).
    """
    return jnp.where(x > 0, x, jnp.asarray(slope, x.dtype) * x)


def elu(x: jax.Array, alpha: float | jax.Array) -> jax.Array:
    """x where positive, alpha (exp(x) - 1) elsewhere (Clevert et al. 2015, arXiv 1511.07289)."""
    return jax.nn.elu(x, jnp.asarray(alpha, x.dtype))


def celu(x: jax.Array, alpha: float | jax.Array) -> jax.Array:
    """x where positive, alpha (exp(x / alpha) - 1) elsewhere (Barron 2017, arXiv 1704.07483)."""
    return jax.nn.celu(x, jnp.asarray(alpha, x.dtype))


def gelu(x: jax.Array) -> jax.Array:
    """x Phi(x) with the exact normal distribution (Hendrycks & Gimpel 2016, section 2)."""
    return jax.nn.gelu(x, approximate=False)


def gelu_tanh(x: jax.Array) -> jax.Array:
    """x (1 + tanh(u)) / 2 with u = sqrt(2 / pi) (x + 0.044715 x^3), close to `gelu`.

    Hendrycks & Gimpel 2016, section 2; written x sigmoid(2 u), in which no digits cancel.
    """
    return x * jax.nn.sigmoid(math.sqrt(8 / math.pi) * (x + 0.044715 * x**3))


def swish(x: jax.Array, beta: float | jax.Array) -> jax.Array:
    """x sigmoid(beta x) (Ramachandran et al. 2017, section 3); beta = 1 is SiLU."""
    return x * jax.nn.sigmoid(jnp.asarray(beta, x.dtype) * x)


@jax.custom_jvp
def softsign(x: jax.Array) -> jax.Array:
    """x / (1 + |x|); its gradient 1 / (1 + |x|)^2 is written out, so no digits cancel."""
    return x / (1 + jnp.abs(x))


@softsign.defjvp
def _softsign_jvp(primals, tangents):
    (x,), (x_dot,) = primals, tangents
    return softsign(x), x_dot / jnp.square(1 + jnp.abs(x))


def maxout(x: jax.Array, pieces: float) -> jax.Array:
    """The largest of `pieces` linear pieces (Goodfellow et al. 2013, section 3).

    Args:
        x: `[..., pieces * features]`, piece by piece.
        pieces: how many; a whole number, never a tracer, because it decides shapes.

    Returns:
        `[..., features]`.

    Raises:
        ValueError: the last axis does not divide into that many pieces.
    """
    count = int(pieces)
    if x.shape[-1] % count:
        raise ValueError(f"maxout: {x.shape[-1]} inputs do not divide into {count} pieces")
    return x.reshape(*x.shape[:-1], count, x.shape[-1] // count).max(axis=-2)


@dataclasses.dataclass(frozen=True)
class Activation(Option):
    """A nonlinearity; `learned` holds the initial values of its per-unit trained parameters."""

    learned: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        """Raises `ValueError` for numbers that the function cannot take: pieces of maxout that are
        not a whole number of at least 1, an alpha of celu that it would divide by, or with which it
        grows without bound."""
        if self.function is celu and not self.parameters[0] > 0:
            raise ValueError(f"celu takes a positive number, not {self.parameters[0]:g}")
        if self.function is maxout:
            (pieces,) = self.parameters
            if not (pieces >= 1 and float(pieces).is_integer()):
                raise ValueError(
                    f"maxout takes a whole number of pieces, at least 1, not {pieces:g}"
                )

    @property
    def pieces(self) -> int:
        """How many inputs each output needs: the pieces of maxout, 1 for everything else."""
        return int(self.parameters[0]) if self.function is maxout else 1

    @property
    def learned_names(self) -> tuple[str, ...]:
        """The names of the learned parameters: those of the function's last arguments."""
        arguments = tuple(inspect.signature(self.function).parameters)
        first = 1 + len(self.parameters)
        return arguments[first : first + len(self.learned)]


ActivationLike = Activation | Callable[[jax.Array], jax.Array]

ACTIVATIONS: MappingProxyType[str, Activation] = MappingProxyType(
    {
        activation.name: activation
        for activation in (
            Activation("identity", identity),
            Activation("sigmoid", jax.nn.sigmoid),
            Activation("tanh", jnp.tanh),
            Activation("hard_tanh", hard_tanh),
            Activation("relu", jax.nn.relu),
            Activation("relu6", jax.nn.relu6),
            Activation("leaky_relu", leaky_relu, (0.01,)),
            Activation("prelu", leaky_relu, learned=(0.25,)),
            Activation("elu", elu, (1.0,)),
            Activation("celu", celu, (1.0,)),
            Activation("selu", jax.nn.selu),
            Activation("gelu", gelu),
            Activation("gelu_tanh", gelu_tanh),
            Activation("silu", jax.nn.silu),
            Activation("swish", swish, learned=(1.0,)),
            Activation("mish", jax.nn.mish),
            Activation("softplus", jax.nn.softplus),
            Activation("softsign", softsign),
            Activation("maxout", maxout, (2.0,)),
        )
    }
)


def as_activation(value: ActivationLike | str) -> Activation:
    """Reads a spelling (`leaky_relu:0.2`), an `Activation` or any function of one array.

    Raises:
        ValueError: a spelling that `parse_option` refuses.
    """
    if isinstance(value, Activation):
        return value
    if isinstance(value, str):
        return parse_option(value, ACTIVATIONS)
    return Activation(getattr(value, "__name__", type(value).__name__), value)


def fan_out(activation: ActivationLike, features: int) -> int:
    """How many outputs a layer must have to feed `features` units of this activation."""
    return as_activation(activation).pieces * features


class Nonlinearity(nn.Module):
    """Applies an activation; its learned parameters are one per unit of the last axis.

    When the collection "diagnostics" is mutable, four float32 scalars are written there, replacing
    those of the call before: `mean` and `sd` of the outputs, `saturated` (the share of outputs
    with a slope below 0.05 in size) and `dead` (the share of units whose slope is below 1e-6
    for every example). Otherwise none of this is computed.
    """

    activation: ActivationLike

    @nn.compact
    def __call__(self, x: Float[Array, "... inputs"]) -> Float[Array, "... features"]:
        """Maps `[..., pieces * features]` to `[..., features]`; pieces is 1 but for maxout."""
        activation = as_activation(self.activation)
        learned = [
            self.param(name, nn.initializers.constant(value), x.shape[-1:])
            for name, value in zip(activation.learned_names, activation.learned, strict=True)
        ]
        rows = [spread(values, x) for values in learned]

        def function(inputs: jax.Array) -> jax.Array:
            return activation.function(inputs, *activation.parameters, *rows)

        if self.is_initializing() or not self.is_mutable_collection("diagnostics"):
            return function(x)
        outputs, slopes = jax.jvp(function, (x,), (jnp.ones_like(x),))
        for name, value in diagnose(outputs, slopes).items():
            self.put_variable("diagnostics", name, value)
        return outputs


def diagnose(
    outputs: Float[Array, "*shape features"],
    slopes: Float[Array, "*shape features"],
    mask: Bool[Array, "*shape"] | None = None,
) -> dict[str, Float[Array, ""]]:
    """Mean and sd of the outputs, share of saturated outputs, share of dead units.

    Args:
        outputs: what the units gave, one unit per place of the last axis.
        slopes: d output / d input of each.
        mask: False where there is none. None: True.

    Returns:
        Float32 scalars that carry no gradient: `mean`, `sd`, `saturated`, `dead`.
    """
    outputs, slopes = jax.lax.stop_gradient((outputs, slopes))
    outputs, slopes = outputs.astype(jnp.float32), jnp.abs(slopes.astype(jnp.float32))
    seen = None if mask is None else jnp.broadcast_to(mask[..., None], outputs.shape)
    dead = slopes < DEAD_SLOPE if seen is None else (slopes < DEAD_SLOPE) | ~seen
    dead_units = jnp.all(dead, axis=range(slopes.ndim - 1))
    return {
        "mean": jnp.mean(outputs, where=seen),
        "sd": jnp.std(outputs, where=seen),
        "saturated": jnp.mean(slopes < SATURATED_SLOPE, dtype=jnp.float32, where=seen),
        "dead": jnp.mean(dead_units, dtype=jnp.float32),
    }
