"""One compiled program: the functions of a `Trainer`, batched over lanes and laid over devices."""

import collections
import concurrent.futures
import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from experiments.engine.cost import has_convolutions
from experiments.engine.devices import AXIS, replica_mesh
from experiments.engine.diagnostics import diagnose
from experiments.engine.experiment import Data, Tree
from experiments.engine.step import Replica, State, Trainer, stopped_step

LANES, SHARED = PartitionSpec(AXIS), PartitionSpec()
SCALAR = jax.ShapeDtypeStruct((), jnp.int32)

UNDIVIDED = {"xla_disable_hlo_passes": "cpu-parallel-task-assigner"}
"""Keeps XLA from dividing large kernels of elements among a CPU's threads. Those that drive a
device never take up the parts left to them, and from 1,024 parts in a call on convolutions are
wrong, and differently each time (jax 0.10.2 and 0.12): the queue of a thread is full then, and a
part of a convolution that finds no room there is run at once, inside another one, and writes over
what that has packed. It costs nothing where every core has a device; alone on one device LeNet-5
took 1.09 times as long on MNIST, start and compilation included."""


@dataclasses.dataclass(frozen=True)
class Layout:
    """Shapes a program is compiled for.

    Attributes:
        lanes: replicas trained side by side, over all devices; a multiple of `devices`.
        devices: how many devices, or groups of them, share the lanes.
        shares: how many devices share each replica's batch.
    """

    lanes: int
    devices: int
    shares: int = 1

    def mesh(self) -> jax.sharding.Mesh:
        """The devices of this layout."""
        return replica_mesh(self.devices, self.shares)


@dataclasses.dataclass(frozen=True)
class Program:
    """The compiled functions of one program; arguments carry a leading axis of lanes.

    Attributes:
        layout: the shapes compiled for.
        steps_per_epoch: steps in one epoch.
        traces: function name -> how often it was traced (1 each).
        memory_bytes: peak memory of the training call by XLA's own account, all lanes.
        carried: shapes of the state and of the sums of the training metrics.
        init: (replica, own arrays) -> state
        order: (replica, data, epoch) -> xs, sums of the training metrics before the first step
        train: (state, sums, replica, data, xs, start, stop) -> state, sums; both are donated
        validate: (state, replica, data) -> state, (validation metrics, step of divergence, step
            at which patience ran out); the state is donated
        finish: (state, replica, data) -> what was kept, (split -> metrics, bool per test example);
            `validate` has measured the validation split
        diagnose: (state, replica, data, xs) -> layer -> quantities, on the epoch's first batch;
            None unless asked for
    """

    layout: Layout
    steps_per_epoch: int
    traces: dict[str, int]
    memory_bytes: int
    carried: tuple[Tree, Tree]
    init: Callable[..., Any]
    order: Callable[..., Any]
    train: Callable[..., Any]
    validate: Callable[..., Any]
    finish: Callable[..., Any]
    diagnose: Callable[..., Any] | None


@dataclasses.dataclass(frozen=True)
class Tracing:
    """Traces functions of one replica for all lanes, and counts the traces.

    Arguments are of three kinds: per lane, the data set (`Data`: shared splits, own arrays per
    lane), and scalars shared by all lanes.
    """

    layout: Layout
    traces: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)

    def __call__(
        self,
        name: str,
        function: Callable[..., Any],
        *args: Tree,
        donate: tuple[int, ...] = (),
        one_by_one: bool = False,
    ) -> Any:
        """The traced function; `out_info` holds the shapes it returns.

        Args:
            args: shapes of its arguments, `[lanes, ...]` where they are per lane.
            one_by_one: run the lanes one after another, which compiles faster.
        """

        def counted(*arguments: Any) -> Any:
            self.traces[name] += 1
            return function(*arguments)

        mesh = self.layout.mesh()
        specs = tuple(_spec(arg) for arg in args)
        if one_by_one:
            lanes = lambda *args: jax.lax.map(lambda one: counted(*one), args)  # noqa: E731
        else:
            lanes = jax.vmap(counted, in_axes=[_axes(arg) for arg in args])
        mapped = jax.shard_map(
            lanes, mesh=mesh, in_specs=specs, out_specs=LANES, axis_names={AXIS}, check_vma=False
        )
        placed = [_abstract(spec, arg, mesh) for spec, arg in zip(specs, args, strict=True)]
        whole = NamedSharding(mesh, LANES)  # whatever shared a batch inside
        return jax.jit(mapped, donate_argnums=donate, out_shardings=whole).trace(*placed)


def _spec(arg: Tree) -> Any:
    if isinstance(arg, Data):
        return Data(SHARED, LANES)  # type: ignore[arg-type]
    return SHARED if arg is SCALAR else LANES


def _axes(arg: Tree) -> Any:
    if isinstance(arg, Data):
        return Data(None, 0)  # type: ignore[arg-type]
    return None if arg is SCALAR else 0


def build(
    trainer: Trainer, layout: Layout, replica: Replica, data: Data, *, diagnostics: bool = False
) -> Program:
    """Traces and compiles everything a lane group needs, before its first step.

    Args:
        replica: shapes of a group's replicas, `[lanes, ...]`.
        data: shapes of the splits, and of the replicas' own arrays, `[lanes, ...]`.
    """
    trace = Tracing(layout)
    init = trace("init", trainer.init, replica, data.own, one_by_one=True)
    order = trace("order", functools.partial(_order, trainer), replica, data, SCALAR)
    (xs, sums), state = order.out_info, init.out_info
    inputs, steps = (state, replica, data), (replica, data, xs, SCALAR, SCALAR)
    traced = {
        "init": init,
        "order": order,
        "train": trace("train", trainer.train, state, sums, *steps, donate=(0, 1)),
        "validate": trace("validate", functools.partial(_validate, trainer), *inputs, donate=(0,)),
        "finish": trace("finish", functools.partial(_finish, trainer), *inputs),
    }
    if diagnostics:
        traced["diagnose"] = trace("diagnose", functools.partial(diagnose, trainer), *inputs, xs)
    functions: dict[str, Any] = {"diagnose": None, **compiled(traced)}
    return Program(
        layout,
        jax.tree.leaves(xs)[0].shape[1],
        dict(trace.traces),
        _memory(functions["train"]),
        (state, sums),
        **functions,
    )


def compiled(traced: Mapping[str, Any]) -> dict[str, Any]:
    """Compiles traced functions, all at once; those with convolutions `UNDIVIDED` on a CPU."""
    on_cpu = jax.default_backend() == "cpu"
    undivided = [on_cpu and has_convolutions(each.jaxpr.jaxpr) for each in traced.values()]
    options = [UNDIVIDED if so else None for so in undivided]
    lowered = [each.lower() for each in traced.values()]
    with concurrent.futures.ThreadPoolExecutor(len(lowered)) as pool:
        done = pool.map(lambda each, how: each.compile(how), lowered, options)
        return dict(zip(traced, done, strict=True))


def _abstract(spec: Any, tree: Tree, mesh: jax.sharding.Mesh) -> Tree:
    def place(spec: PartitionSpec, part: Tree) -> Tree:
        sharding = NamedSharding(mesh, spec)
        return jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), part
        )

    if isinstance(tree, Data):
        return Data(place(spec.splits, tree.splits), place(spec.own, tree.own))
    return place(spec, tree)


def _order(trainer: Trainer, replica: Replica, data: Data, epoch: jax.Array) -> Any:
    xs = trainer.epoch_inputs(replica, data, epoch)
    return xs, trainer.zero_sums(replica, data, xs)


def _validate(trainer: Trainer, state: State, replica: Replica, data: Data) -> Any:
    state, scores = trainer.validate(state, replica, data)
    return state, (scores, state.diverged, stopped_step(state))


def _finish(trainer: Trainer, state: State, replica: Replica, data: Data) -> Any:
    kept = trainer.select(state, replica)
    train, _ = trainer.evaluate(kept, replica, data, "train")
    test, correct = trainer.evaluate(kept, replica, data, "test")
    measured = trainer.measure(kept, replica, data)
    return kept, ({"train": train, "test": test, "": measured}, correct)


def _memory(compiled: Any) -> int:
    analysis = compiled.memory_analysis()
    if analysis is None:
        return 0
    return int(
        analysis.argument_size_in_bytes
        + analysis.temp_size_in_bytes
        + analysis.output_size_in_bytes
        - analysis.alias_size_in_bytes
    )


def place(layout: Layout, tree: Tree) -> Tree:
    """Host arrays with a leading axis of lanes, on the devices that will train them."""
    return jax.device_put(tree, NamedSharding(layout.mesh(), LANES))


def share(layout: Layout, splits: Tree) -> Tree:
    """A data set's arrays, one copy per device."""
    return jax.device_put(splits, NamedSharding(layout.mesh(), SHARED))


def stack(trees: Sequence[Tree]) -> Tree:
    """Stacks equal trees of host arrays along a new leading axis of lanes."""
    return jax.tree.map(lambda *leaves: np.stack([np.asarray(leaf) for leaf in leaves]), *trees)
