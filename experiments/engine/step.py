"""The state of one replica, the one update step and the loop over it, all pure."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import optax

from experiments.data.dataset import Spec
from experiments.engine.config import join
from experiments.engine.errors import UsageError
from experiments.engine.experiment import Data, Experiment, Tree
from experiments.engine.keys import key_of
from experiments.engine.rows import apply_updates, look_up
from experiments.engine.selection import (
    RUNNING,
    Best,
    averaged,
    note_best,
    start_average,
    start_best,
    step_average,
)
from experiments.engine.statistics import Metric
from nets.parallel import split_batch


class Replica(NamedTuple):
    """What tells the replicas of one program apart: traced config fields and the seed.

    Arrays, or what stands for them, as in `State`.
    """

    floats: dict[str, Tree]
    seed: Tree


@flax.struct.dataclass
class State:
    """Everything one replica carries from step to step; arrays only.

    As a tree it may also hold what stands for an array (its shape, its place), hence the types.

    Attributes:
        step: int32 scalar, updates done.
        params: the net's trained parameters.
        opt_state: the optimizer's state.
        model_state: the net's other collections (batch statistics, recurrent carry).
        diverged: int32 scalar, the step whose loss or gradient was not finite; -1 while there is
            none. From then on the parameters stay as they were before that step.
        average: of the parameters (see `selection`); () where none is kept.
        best: of the evaluations (see `selection`); () where the last parameters are kept.
    """

    step: Tree
    params: Tree
    opt_state: Tree
    model_state: Tree
    diverged: Tree
    average: Tree = ()
    best: Tree = ()


class Kept(NamedTuple):
    """The parameters that are evaluated, and the model state that goes with them."""

    params: Tree
    model_state: Tree


class Model(NamedTuple):
    """The static half of one replica: closures that never enter the state."""

    config: Any
    net: Any
    optimizer: optax.GradientTransformation


@dataclasses.dataclass(frozen=True)
class Trainer:
    """What picks a program: an experiment at one static config, for one data set's shapes.

    Attributes:
        experiment: the pure functions.
        static: the config with 0.0 in its traced fields.
        spec: the data set's shapes.
        total_steps: length of the training, which schedules are fractions of.
        fix: names of random streams pinned to seed 0.
        metric: whose validation score selects parameters; the experiment's first if None.
    """

    experiment: Experiment
    static: Any
    spec: Spec
    total_steps: int
    fix: tuple[str, ...] = ()
    metric: Metric | None = None

    def model(self, replica: Replica) -> Model:
        """The config, net and optimizer of a replica; floats may be tracers."""
        config = join(self.static, replica.floats)
        net = self.experiment.make_net(config, self.spec)
        return Model(config, net, self.experiment.make_optimizer(config, self.total_steps))

    def init(self, replica: Replica, own: Any = None) -> State:
        """The state before the first step; without the replica's own arrays, its shapes."""
        config, net, optimizer = self.model(replica)
        sample = self.experiment.sample_input(config, self.spec)
        variables = net.init(key_of(replica.seed, "init", self.fix), sample, train=False)
        if own is not None:
            variables = dict(self.experiment.adapt(config, variables, own))
        params = variables.pop("params")
        selection = self.experiment.selection(config)
        average = start_average(selection, params)
        metrics = self.experiment.metrics(self.static, self.spec)
        best = start_best(selection, params, variables, metrics)
        zero = jnp.zeros((), jnp.int32)
        opt_state = optimizer.init(params)
        return State(zero, params, opt_state, variables, zero + RUNNING, average, best)

    def epoch_inputs(self, replica: Replica, data: Data, epoch: jax.Array) -> Tree:
        """The inputs of every step of an epoch, a function of (seed, epoch) alone."""
        key = key_of(replica.seed, "order", self.fix)
        return self.experiment.epoch_inputs(join(self.static, replica.floats), data, key, epoch)

    def zero_sums(self, replica: Replica, data: Data, xs: Tree) -> dict[str, jax.Array]:
        """The sums of the training metrics before an epoch's first step, in float32 or wider."""
        state = jax.eval_shape(self.init, replica)
        _, shapes = jax.eval_shape(self.first_step, state, replica, data, xs)
        check_numbers("loss_fn", shapes)
        return jax.tree.map(
            lambda s: jnp.zeros((), jnp.promote_types(s.dtype, jnp.float32)), shapes
        )

    def train(
        self,
        state: State,
        sums: dict[str, jax.Array],
        replica: Replica,
        data: Data,
        xs: Tree,
        start: jax.Array,
        stop: jax.Array,
    ) -> tuple[State, dict[str, jax.Array]]:
        """Steps `start` to `stop` of an epoch whose inputs are `xs`.

        The bounds are traced, so one compiled program serves every way of cutting an epoch into
        calls, and the cut does not change a bit of the result.

        Returns:
            The new state, and the sums over the epoch's steps so far of the training metrics.
        """
        model = self.model(replica)

        def body(i: jax.Array, carry: tuple[State, Any]) -> tuple[State, Any]:
            state, sums = carry
            x = jax.tree.map(lambda leaf: leaf[i], xs)
            state, metrics = self._step(model, state, data, x, replica.seed)
            return state, jax.tree.map(
                lambda total, m: total + jnp.asarray(m, total.dtype), sums, metrics
            )

        return jax.lax.fori_loop(start, stop, body, (state, sums))

    def first_step(
        self, state: State, replica: Replica, data: Data, xs: Tree
    ) -> tuple[State, dict[str, jax.Array]]:
        """One update on the first of an epoch's inputs: what `plan` and `describe` count."""
        x = jax.tree.map(lambda leaf: leaf[0], xs)
        return self._step(self.model(replica), state, data, x, replica.seed)

    def first_batch(self, replica: Replica, data: Data, xs: Tree) -> Tree:
        """The batch of the first of an epoch's inputs."""
        config, key = join(self.static, replica.floats), key_of(replica.seed, "noise", self.fix)
        return self.experiment.make_batch(config, data, jax.tree.map(lambda a: a[0], xs), key)

    def _step(
        self, model: Model, state: State, data: Data, x: Tree, seed: jax.Array
    ) -> tuple[State, dict[str, jax.Array]]:
        key = jax.random.fold_in(key_of(seed, "noise", self.fix), state.step)
        batch_key, loss_key = (jax.random.fold_in(key, i) for i in range(2))
        batch = split_batch(self.experiment.make_batch(model.config, data, x, batch_key))
        return update(self.experiment, model, state, batch, loss_key)

    def evaluate(
        self, kept: Kept, replica: Replica, data: Data, split: str
    ) -> tuple[dict[str, jax.Array], jax.Array | None]:
        """Exact metrics over a whole split, and which of its examples were right."""
        config, net, _ = self.model(replica)
        return self.experiment.evaluate(config, net, *kept, data, split)

    def measure(self, kept: Kept, replica: Replica, data: Data) -> dict[str, jax.Array]:
        """The experiment's further numbers of a net; none by default."""
        if self.experiment.measure is None:
            return {}
        config, net, _ = self.model(replica)
        return self.experiment.measure(config, net, *kept, data)

    def current(self, state: State, replica: Replica) -> Kept:
        """What an evaluation now would see: the parameters, or their average."""
        selection = self.experiment.selection(join(self.static, replica.floats))
        return Kept(averaged(selection, state.params, state.average), state.model_state)

    def validate(
        self, state: State, replica: Replica, data: Data
    ) -> tuple[State, dict[str, jax.Array]]:
        """Validation metrics, noted in the state where the best parameters are kept."""
        kept = self.current(state, replica)
        scores, _ = self.evaluate(kept, replica, data, "validation")
        selection = self.experiment.selection(join(self.static, replica.floats))
        metric = self.metric or self.experiment.metrics(self.static, self.spec)[0]
        best = note_best(selection, state.best, state.step, kept, scores, metric, is_alive(state))
        return dataclasses.replace(state, best=best), scores

    def select(self, state: State, replica: Replica) -> Kept:
        """What a finished training is judged by."""
        if isinstance(state.best, Best):
            return Kept(state.best.params, state.best.model_state)
        return self.current(state, replica)


def check_numbers(source: str, values: Mapping[str, Any]) -> None:
    """Refuses what cannot be recorded as a number. Raises `UsageError`."""
    for name, value in values.items():
        if value.shape != ():
            raise UsageError(
                f"{source} gives {name} of shape {value.shape}: make it one number, such as a mean"
            )


def stopped_step(state: State) -> jax.Array:
    """The step at which a replica ran out of patience; -1 while it has not."""
    if isinstance(state.best, Best):
        return state.best.stopped
    return jnp.full((), RUNNING, jnp.int32)


def is_alive(state: State) -> jax.Array:
    """Whether a replica still trains: it has neither diverged nor run out of patience."""
    return (state.diverged == RUNNING) & (stopped_step(state) == RUNNING)


def update(
    experiment: Experiment, model: Model, state: State, batch: Tree, key: jax.Array
) -> tuple[State, dict[str, jax.Array]]:
    """The one update step: loss, gradient, optimizer, parameters.

    A replica whose loss or gradient stops being finite is frozen: its updates are masked from
    then on, so its parameters stay those of its last finite step, and the others of its program
    go on. One that ran out of patience is frozen the same way.
    """

    def loss_fn(params: Tree) -> Any:
        return experiment.loss_fn(model.config, model.net, params, state.model_state, batch, key)

    used = experiment.rows(model.config, batch)
    seen = look_up(state.params, used) if used else state.params
    (loss, (model_state, metrics)), grads = jax.value_and_grad(loss_fn, has_aux=True)(seen)
    finite = jnp.isfinite(loss + sum(jnp.sum(leaf) for leaf in jax.tree.leaves(grads)))
    updates, opt_state = model.optimizer.update(grads, state.opt_state, seen)
    newly = is_alive(state) & ~finite
    state = dataclasses.replace(state, diverged=jnp.where(newly, state.step, state.diverged))
    alive = is_alive(state)
    updates = jax.tree.map(lambda u: jnp.where(alive, u, jnp.zeros_like(u)), updates)
    apply = functools.partial(apply_updates, used=used) if used else optax.apply_updates
    params = apply(state.params, updates)
    kept = (model_state, step_average(experiment.selection(model.config), params, state.average))
    model_state, average = jax.tree.map(
        lambda new, old: jnp.where(alive, new, old), kept, (state.model_state, state.average)
    )
    new = dataclasses.replace(
        state, step=state.step + 1, params=params, opt_state=opt_state, model_state=model_state,
        average=average,
    )  # fmt: skip
    return new, metrics
