"""Recurrent layers: one cell over time, stacked, in both directions, three kinds of dropout."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from nets.activations import diagnose
from nets.cell import Cell
from nets.initializers import INITIALIZERS, BiasInit, InitFunction, bias_initializer
from nets.lookup import Rows, look_up
from nets.over_time import opening_numbers
from nets.recurrence import Carry, Recurrence, project, recur, steps_of
from nets.regularizers import Dropout
from nets.spread import spread

DropoutForm = Literal["steps", "sequence"]


class Kernel(nn.Module):
    """The parameter `kernel` [inputs, parts * features], each part drawn by itself.

    Attributes:
        parts: how many.
        features: of each.
        kernel_init: of one part.
    """

    parts: int
    features: int
    kernel_init: InitFunction

    @nn.compact
    def __call__(self, inputs: int) -> Float[Array, "inputs reads"]:
        """The kernel for so many inputs."""

        def draw(key: jax.Array) -> jax.Array:
            shape = (inputs, self.features)
            keys = jax.random.split(key, self.parts)
            each = [self.kernel_init(k, shape, jnp.float32) for k in keys]
            return jnp.concatenate(each, axis=-1)

        kernel: jax.Array = self.param("kernel", draw)
        return kernel


class Recurrent(nn.Module):
    """One cell over time, in one direction.

    Parameters are `inputs/kernel`, `bias`, `state/kernel` and the cell's own values. Float fields
    may be tracers. Training with dropout needs the random stream "dropout".

    Attributes:
        cell: what a step does.
        features: units.
        reverse: from the last element to the first.
        kernel_init: of each part of the inputs' kernel.
        recurrent_init: of each part of the state's kernel; orthogonal as in Saxe et al. 2014,
            identity as in Le et al. 2015.
        bias_init: of the biases; fan_in_uniform by the number of units, as in PyTorch.
        state_dropout: rate on the state where it meets its kernel, one mask for the whole sequence
            (Gal & Ghahramani 2016, arXiv 1512.05287).
        weight_dropout: rate on the state's kernel, one mask for all (Merity et al. 2018, arXiv
            1708.02182).
        dtype: of the computation; the parameters stay float32.
        unroll: steps of one pass of the compiled loop.
    """

    cell: Cell
    features: int
    reverse: bool = False
    kernel_init: InitFunction = INITIALIZERS["glorot_uniform"]
    recurrent_init: InitFunction = INITIALIZERS["orthogonal"]
    bias_init: BiasInit = "zeros"
    state_dropout: float | None = None
    weight_dropout: float | None = None
    dtype: DTypeLike | None = None
    unroll: int = 1

    def multiply_adds(self, shape: tuple[int, ...]) -> int:
        """By the two kernels, over all elements of one sequence `[time, inputs]`.

        Of one whose elements are rows of a table, `[time]`, by the state's kernel alone: the table
        meets the other once, for all sequences.
        """
        length, *inputs = shape
        return length * (sum(inputs) + self.features) * len(self.cell.parts) * self.features

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "batch time inputs"] | Rows,
        *,
        carry: Carry | None = None,
        mask: Bool[Array, "batch time"] | None = None,
        train: bool,
    ) -> tuple[Float[Array, "batch time features"], Carry]:
        """The state after each element, and the last carry.

        Args:
            x: sequences, or the rows of a table that they are.
            carry: before the first element; None: the cell's zeros.
            mask: False where a sequence has no element: the carry stays, and the state given there
                is 0. None: True.
            train: whether to drop.
        """
        cell, parts = self.cell, len(self.cell.parts)
        source = x.table if isinstance(x, Rows) else x
        batch = len(x.tokens) if isinstance(x, Rows) else len(x)
        dtype = self.dtype or jnp.promote_types(source.dtype, jnp.float32)
        values = {
            name: self.param(name, self._first_value(name, start))
            for name, start in cell.values(self.features).items()
        }
        if mask is not None and not isinstance(x, Rows):
            source = jnp.where(mask[..., None], source, 0)  # no element, whatever stands there
        read = self._read(x, source.astype(dtype), values)
        recurrent = Kernel(parts, self.features, self.recurrent_init, name="state")(self.features)
        if self.weight_dropout is not None:
            recurrent = Dropout(self.weight_dropout, name="weight_dropout")(recurrent, train=train)
        keep = None
        if self.state_dropout is not None and train:
            ones = jnp.ones((batch, self.features), dtype)
            keep = Dropout(self.state_dropout, name="state_dropout")(ones, train=True)
        inputs = Recurrence(
            read,
            recurrent.astype(dtype),
            values,
            cell.carry(batch, self.features, dtype) if carry is None else carry,
            keep,
            None if mask is None else jnp.swapaxes(mask, 0, 1),
            self._nudge(dtype),
        )
        self._note_steps(inputs)
        states, last = recur(
            cell.step, cell.adds, inputs,
            pull=cell.pull, reverse=self.reverse, unroll=self.unroll,
        )  # fmt: skip
        states = jnp.swapaxes(states, 0, 1)
        return states if mask is None else jnp.where(mask[..., None], states, 0), last

    def _read(
        self, x: jax.Array | Rows, source: jax.Array, values: dict[str, jax.Array]
    ) -> Float[Array, "time batch reads"]:
        """The projected inputs of all steps, biases added."""
        parts, inputs = len(self.cell.parts), source.shape[-1]
        kernel = Kernel(parts, self.features, self.kernel_init, name="inputs")(inputs)
        bias = self.param("bias", self._first_bias)
        kernel = kernel.astype(source.dtype)
        if isinstance(x, Rows):
            projected = project(source[None], kernel)[0]
            table = self.cell.inputs(values, projected)
            return look_up(table + spread(bias, table), x.tokens.T, 1)
        projected = project(jnp.swapaxes(source, 0, 1), kernel)
        read = self.cell.inputs(values, projected)
        return read + spread(bias, read)

    def _first_value(self, name: str, start: jax.Array) -> Callable[[jax.Array], jax.Array]:
        """The initialiser of a cell's own value: biases are drawn as the others are."""
        if name.startswith("bias"):
            init = bias_initializer(self.bias_init, self.features)
            return lambda key: init(key, start.shape, jnp.float32)
        return lambda key: start

    def _first_bias(self, key: jax.Array) -> jax.Array:
        parts = self.cell.parts
        init = bias_initializer(self.bias_init, self.features)
        drawn = init(key, (len(parts), self.features), jnp.float32)
        more = self.cell.biases()
        added = jnp.stack([jnp.asarray(more.get(part, 0.0), jnp.float32) for part in parts])
        return (drawn + added[:, None]).reshape(-1)

    def _nudge(self, dtype: DTypeLike) -> Carry | None:
        """Zeros that diagnostics differentiate by, in the collection "nudges"."""
        if not self.has_variable("nudges", "carries"):
            return None
        nudge: Carry = self.get_variable("nudges", "carries")
        return tuple(each.astype(dtype) for each in nudge)

    def _note_steps(self, inputs: Recurrence) -> None:
        """How far each gate is open, and what new content is like, where somebody asks for it.

        The collection "gates", if mutable, gets all openings, [time, batch, features] by the gate's
        name; "diagnostics" gets four numbers of each (`nets.over_time.opening_numbers`), and of new
        content, as "activation", those of `nets.activations.diagnose`.
        """
        asked = [name for name in ("gates", "diagnostics") if self.is_mutable_collection(name)]
        if self.is_initializing() or not asked:
            return
        before, reads = steps_of(self.cell.step, self.cell.adds, inputs, reverse=self.reverse)
        opened = jax.vmap(functools.partial(self.cell.gates, inputs.values))(reads, before)
        for name, opening in jax.lax.stop_gradient(opened).items():
            found = {"gates": opening, "diagnostics": opening_numbers(opening, inputs.mask)}
            for collection in asked:
                self.put_variable(collection, name, found[collection])
        if "diagnostics" in asked:
            content = jax.vmap(functools.partial(self.cell.content, inputs.values))(reads, before)
            if content is not None:
                outputs, slopes = content
                numbers = diagnose(outputs, slopes, inputs.mask)
                self.put_variable("diagnostics", "activation", numbers)


class RecurrentStack(nn.Module):
    """Recurrent layers one above the other, each in one direction or in both.

    Layer i is `layer_i`, its other direction `layer_i_back`; the states of both lie side by side.

    Attributes:
        cell: of every layer.
        widths: units of each layer, of each direction.
        bidirectional: each layer also runs from the last element to the first (Schuster & Paliwal
            1997).
        dropout: rate on what each layer gives (None: no dropout in the program).
        dropout_form: a new mask for every element (Zaremba et al. 2014, arXiv 1409.2329), or one
            for the whole sequence (Gal & Ghahramani 2016).
        kernel_init, recurrent_init, bias_init, state_dropout, weight_dropout, dtype, unroll: of
            every layer (`Recurrent`).
    """

    cell: Cell
    widths: Sequence[int]
    bidirectional: bool = False
    dropout: float | None = None
    dropout_form: DropoutForm = "steps"
    kernel_init: InitFunction = INITIALIZERS["glorot_uniform"]
    recurrent_init: InitFunction = INITIALIZERS["orthogonal"]
    bias_init: BiasInit = "zeros"
    state_dropout: float | None = None
    weight_dropout: float | None = None
    dtype: DTypeLike | None = None
    unroll: int = 1

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "batch time inputs"] | Rows,
        *,
        carries: Sequence[Carry] | None = None,
        mask: Bool[Array, "batch time"] | None = None,
        train: bool,
    ) -> tuple[Float[Array, "batch time outputs"], tuple[Carry, ...]]:
        """What the last layer gives at each element, and the last carry of each layer.

        In both directions, a layer's carries follow each other: forward, then back.

        Args:
            x: sequences, or the rows of a table that they are.
            carries: before the first element; None: zeros.
            mask: False where a sequence has no element.
            train: whether to drop.

        Raises:
            ValueError: carries in both directions: the other one begins at the last element.
        """
        if self.bidirectional and carries is not None:
            raise ValueError("carries: a net of both directions begins every sequence anew")
        directions = (False, True) if self.bidirectional else (False,)
        hidden: Any = x
        last: list[Carry] = []
        for number, width in enumerate(self.widths, start=1):
            given = []
            for reverse in directions:
                layer = self._layer(width, f"layer_{number}{'_back' * reverse}", reverse)
                carry = None if carries is None else carries[number - 1]
                states, after = layer(hidden, carry=carry, mask=mask, train=train)
                given.append(states)
                last.append(after)
            hidden = given[0] if len(given) == 1 else jnp.concatenate(given, axis=-1)
            hidden = self._drop(hidden, f"dropout_{number}", train=train)
        return hidden, tuple(last)

    def _layer(self, width: int, name: str, reverse: bool) -> Recurrent:
        return Recurrent(
            self.cell, width, reverse, self.kernel_init, self.recurrent_init, self.bias_init,
            self.state_dropout, self.weight_dropout, self.dtype, self.unroll, name=name,
        )  # fmt: skip

    def _drop(self, x: jax.Array, name: str, *, train: bool) -> jax.Array:
        if self.dropout is None:
            return x
        drop = Dropout(self.dropout, name=name)
        if self.dropout_form == "steps" or not train:
            return drop(x, train=train)
        return x * drop(jnp.ones_like(x[:, :1]), train=True)
