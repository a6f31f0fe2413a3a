"""Recurrent cells as values: what one step does, what is learned beside kernels, how it starts."""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp

from nets.activations import ACTIVATIONS, ActivationLike
from nets.cell import Cell, Values, activate, learned_values, standardise, with_slopes
from nets.cell_gradients import apart, pull_lstm
from nets.recurrence import Carry, Pull
from nets.spread import spread

Gate = Literal["none", "input", "forget", "output"]


@dataclasses.dataclass(frozen=True)
class RNN(Cell):
    """h' = activation(W x + U h + b) (Elman 1990).

    With ReLU and an identity as the first U it is the IRNN of Le et al. 2015 (arXiv 1504.00941).
    """

    activation: ActivationLike = ACTIVATIONS["tanh"]

    @property
    def parts(self) -> tuple[str, ...]:
        """The state alone."""
        return ("state",)

    def values(self, features: int) -> dict[str, jax.Array]:
        """The activation's own."""
        return learned_values(self.activation, "activation", features)

    def step(self, values: Values, read: Any, carry: Carry) -> Carry:
        """One step."""
        del carry
        return (activate(self.activation, "activation", values, read),)

    def content(self, values: Values, read: Any, carry: Carry) -> tuple[jax.Array, jax.Array]:
        """The state itself."""
        del carry
        return with_slopes(self.activation, values, read)


@dataclasses.dataclass(frozen=True)
class LSTM(Cell):
    """Long short-term memory (Hochreiter & Schmidhuber 1997, Gers et al. 2000).

    i, f, o = gate(W x + U h + b), g = activation(W x + U h + b), c' = f c + i g,
    h' = o activation(c').

    Attributes:
        activation: of g and of the state.
        gate: activation of the gates.
        forget_bias: added to the forget gate's first bias (Jozefowicz et al. 2015); may be a
            tracer.
        peepholes: i and f see c, o sees c', unit by unit (Gers & Schmidhuber 2000).
        layer_norm: of the projected inputs, of the projected state, each over all parts, and of c'
            where h' is made of it (Ba et al. 2016, arXiv 1607.06450, equations 20 to 22; their
            shifts of the first two are the biases).
        without: a gate that is left out, always open (Greff et al. 2017, arXiv 1503.04069).
        coupled: the input gate is 1 - f (Greff et al. 2017, CIFG).
    """

    activation: ActivationLike = ACTIVATIONS["tanh"]
    gate: ActivationLike = ACTIVATIONS["sigmoid"]
    forget_bias: float = 1.0
    peepholes: bool = False
    layer_norm: bool = False
    without: Gate = "none"
    coupled: bool = False

    @property
    def parts(self) -> tuple[str, ...]:
        """The gates there are, and the new content."""
        gone = {self.without, "input" if self.coupled else "none"}
        return tuple(part for part in ("input", "forget", "output", "cell") if part not in gone)

    @property
    def adds(self) -> bool:
        """Unless they are normalised apart."""
        return not self.layer_norm

    def values(self, features: int) -> dict[str, jax.Array]:
        """Peepholes, scales and shifts, the activations' own."""
        found = learned_values(self.activation, "activation", features)
        found |= learned_values(self.gate, "gate", features)
        gates = [part for part in self.parts if part != "cell"]
        if self.peepholes:
            found |= {f"peephole_{gate}": jnp.zeros(features) for gate in gates}
        if self.layer_norm:
            wide = len(self.parts) * features
            found |= {"scale_inputs": jnp.ones(wide), "scale_state": jnp.ones(wide)}
            found |= {"scale_cell": jnp.ones(features), "shift_cell": jnp.zeros(features)}
        return found

    def biases(self) -> dict[str, float]:
        """The forget gate's."""
        return {} if self.without == "forget" else {"forget": self.forget_bias}

    def carry(self, batch: int, features: int, dtype: Any) -> Carry:
        """The state h and the cell c."""
        zeros = jnp.zeros((batch, features), dtype)
        return zeros, zeros

    def inputs(self, values: Values, projected: jax.Array) -> jax.Array:
        """Normalises them, if asked for."""
        if not self.layer_norm:
            return projected
        return spread(values["scale_inputs"], projected) * standardise(projected)

    def step(self, values: Values, read: Any, carry: Carry) -> Carry:
        """One step."""
        _, c = carry
        read, width = self._sum(values, read), c.shape[-1]
        content = apart(activate(self.activation, "activation", values, read[:, -width:]))
        gates = self._gates(values, read[:, :-width], c)
        forget = gates("forget", c)
        c = forget * c + (1 - forget if self.coupled else gates("input", c)) * content
        shown = c
        if self.layer_norm:
            scale, shift = (spread(values[name], c) for name in ("scale_cell", "shift_cell"))
            shown = scale * standardise(c) + shift
        return gates("output", c) * activate(self.activation, "activation", values, shown), c

    def gates(self, values: Values, read: Any, carry: Carry) -> dict[str, jax.Array]:
        """Those there are; the input gate is not one by itself where it is coupled."""
        (_, before), (_, after) = carry, self.step(values, read, carry)
        opened = self._gates(values, self._sum(values, read)[:, : -before.shape[-1]], before)
        seen = {"output": after}
        return {name: opened(name, seen.get(name, before)) for name in self.parts[:-1]}

    def content(self, values: Values, read: Any, carry: Carry) -> tuple[jax.Array, jax.Array]:
        """What is added to the cell as far as the input gate is open."""
        width = carry[0].shape[-1]
        return with_slopes(self.activation, values, self._sum(values, read)[:, -width:])

    @property
    def pull(self) -> Pull | None:
        """Of the usual LSTM."""
        usual = dataclasses.replace(self, forget_bias=LSTM.forget_bias) == LSTM()
        return _pull_lstm if usual else None

    def _sum(self, values: Values, read: Any) -> jax.Array:
        """What is projected of inputs and state, together."""
        if not self.layer_norm:
            return read
        x, z = read
        return x + spread(values["scale_state"], z) * standardise(z)

    def _gates(
        self, values: Values, read: jax.Array, c: jax.Array
    ) -> Callable[[str, jax.Array], jax.Array]:
        """(name, c) -> how far a gate is open that may see this c."""
        names = self.parts[:-1]

        def split(x: jax.Array) -> dict[str, jax.Array]:
            return dict(zip(names, jnp.split(x, len(names), axis=-1), strict=True)) if names else {}

        if not self.peepholes:
            opened = split(apart(activate(self.gate, "gate", values, read)))
            return lambda name, c: opened.get(name, jnp.ones_like(c))
        reads = split(read)

        def see(name: str, c: jax.Array) -> jax.Array:
            if name not in reads:
                return jnp.ones_like(c)
            peep = spread(values[f"peephole_{name}"], c) * c
            return activate(self.gate, "gate", values, reads[name] + peep)

        return see


@dataclasses.dataclass(frozen=True)
class GRU(Cell):
    """Gated recurrent unit (Cho et al. 2014), in the form that cuDNN and PyTorch compute.

    r, u = gate(W x + U h + b), n = activation(W x + b + r (U h + a)), h' = (1 - u) n + u h: the
    reset gate acts on the projected state.

    Attributes:
        activation: of the new content n.
        gate: activation of the gates.
    """

    activation: ActivationLike = ACTIVATIONS["tanh"]
    gate: ActivationLike = ACTIVATIONS["sigmoid"]

    @property
    def parts(self) -> tuple[str, ...]:
        """Two gates and the new content."""
        return ("reset", "update", "new")

    @property
    def adds(self) -> bool:
        """Not in the new content."""
        return False

    def values(self, features: int) -> dict[str, jax.Array]:
        """The bias a, the activations' own."""
        found = learned_values(self.activation, "activation", features)
        return (
            found | learned_values(self.gate, "gate", features) | {"bias_new": jnp.zeros(features)}
        )

    def step(self, values: Values, read: Any, carry: Carry) -> Carry:
        """One step."""
        (h,) = carry
        reset, update = self.gates(values, read, carry).values()
        new = activate(self.activation, "activation", values, self._heard(values, read, reset))
        return ((1 - update) * new + update * h,)

    def content(self, values: Values, read: Any, carry: Carry) -> tuple[jax.Array, jax.Array]:
        """What moves the state as far as the update gate is closed."""
        reset = self.gates(values, read, carry)["reset"]
        return with_slopes(self.activation, values, self._heard(values, read, reset))

    def _heard(self, values: Values, read: Any, reset: jax.Array) -> jax.Array:
        """What new content is made of."""
        (x, z), split = read, 2 * reset.shape[-1]
        state = z[:, split:]
        heard = reset * (state + spread(values["bias_new"], state))
        return x[:, split:] + heard

    def gates(self, values: Values, read: Any, carry: Carry) -> dict[str, jax.Array]:
        """Both."""
        (h,), (x, z) = carry, read
        split = 2 * h.shape[-1]
        opened = apart(activate(self.gate, "gate", values, x[:, :split] + z[:, :split]))
        return dict(zip(self.parts[:-1], jnp.split(opened, 2, axis=-1), strict=True))


def _pull_lstm(values: Values, read: Any, carry: Carry, by_after: Carry) -> tuple[Any, Any, Carry]:
    return values, *pull_lstm(read, carry, by_after)  # no values: none have a gradient
