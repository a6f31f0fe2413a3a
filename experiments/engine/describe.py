"""What a net is: layers, shapes, parameters, and FLOPs of the compiled functions."""

import math
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from experiments.engine import session
from experiments.engine.config import describe
from experiments.engine.experiment import Data, Experiment, Tree
from experiments.engine.plan import Override
from experiments.engine.step import State
from experiments.engine.study import make_study


def describe_net(
    experiment: Experiment, config: Any, manual_dir: str | None, width: int = 100
) -> str:
    """A table of layers with output shapes and parameters, and FLOPs of forward and update.

    Raises:
        UsageError, DataMissingError: the config or its data set cannot be used.
    """
    study = make_study(experiment, config, seeds=1)
    prepared = session.prepare_programs(study, manual_dir, Override(), [], lambda text: None)
    (entry,) = prepared.values()
    replica, own = entry.shapes
    state: State = jax.eval_shape(entry.trainer.init, replica)
    data = Data(session.shapes_of(entry.dataset), own)
    sample = experiment.sample_input(config, entry.dataset.spec)
    forward, update = compiled_flops(entry, state, replica, data, sample)
    net = experiment.make_net(config, entry.dataset.spec)
    spelled = describe(config)
    batch = f" (batch of {spelled['batch_size']})" if "batch_size" in spelled else ""
    steps = entry.trainer.total_steps
    lines = [
        f"input: {_shape(sample)} of {entry.dataset.name}",
        *layer_table(net, state, sample, width),
        "",
        f"parameters: {_size(state.params):,}",
    ]
    if state.model_state:
        lines.append(f"other state ({', '.join(state.model_state)}): {_size(state.model_state):,}")
    lines += [
        f"forward, one example, compiled: {count(forward)}FLOP",
        f"one update{batch}, compiled: {count(update)}FLOP",
        f"updates: {steps // session.epochs_of(config):,} an epoch, {steps:,} in all",
    ]
    return "\n".join(lines)


def layer_table(net: nn.Module, state: State, sample: jax.Array, width: int = 100) -> list[str]:
    """One row per module in the order of calls: path, kind, output shape, parameters.

    Args:
        state: of one replica, as shapes.
        sample: an input with a batch axis of one, which the shapes leave out.
    """
    calls: dict[tuple[str, ...], list[str]] = {}

    def note(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
        if context.method_name != "__call__":
            return call(*args, **kwargs)
        path = context.module.path
        row = calls.setdefault(path, [type(context.module).__name__, ""])
        output = call(*args, **kwargs)
        row[1] = row[1] or _shape(output)
        return output

    variables = {"params": state.params, **state.model_state}
    with nn.intercept_methods(note):
        jax.eval_shape(lambda v, x: net.apply(v, x, train=False), variables, sample)
    parameters = _by_module(state.params)
    table = [("layer", "kind", "output", "parameters", "")]
    for path, (kind, output) in calls.items():
        own = parameters.get(path, {})
        spelled = ", ".join(f"{name} {_shape(leaf, 0)}" for name, leaf in own.items())
        size = f"{_size(own):,}" if own else ""
        if path:
            table.append(("  " * (len(path) - 1) + path[-1], kind, output, size, spelled))
    sizes = [max(len(row[i]) for row in table) for i in range(4)]
    return [
        f"{a:<{sizes[0]}}  {b:<{sizes[1]}}  {c:<{sizes[2]}}  {d:>{sizes[3]}}  {e}".rstrip()[:width]
        for a, b, c, d, e in table
    ]


def _by_module(params: Tree) -> dict[tuple[str, ...], dict[str, Any]]:
    found: dict[tuple[str, ...], dict[str, Any]] = {}
    for keys, leaf in jax.tree_util.tree_leaves_with_path(params):
        *path, name = (str(key.key) for key in keys)
        found.setdefault(tuple(path), {})[name] = leaf
    return found


def _shape(tree: Any, batch_axes: int = 1) -> str:
    shapes = [leaf.shape[batch_axes:] for leaf in jax.tree.leaves(tree)]
    return " ".join("x".join(map(str, shape)) or "1" for shape in shapes)


def _size(tree: Any) -> int:
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


def compiled_flops(
    entry: session.Prepared, state: Any, replica: Any, data: Data, sample: jax.Array
) -> tuple[float, float]:
    """FLOPs by XLA's count after optimisation: forward of one example, and one update."""
    trainer = entry.trainer

    def forward(state: Any, replica: Any, x: Any) -> Any:
        variables = {"params": state.params, **state.model_state}
        return trainer.model(replica).net.apply(variables, x, train=False)

    zero = jax.ShapeDtypeStruct((), jnp.int32)
    xs = jax.eval_shape(trainer.epoch_inputs, replica, data, zero)
    counted = [
        jax.jit(forward).lower(state, replica, sample),
        jax.jit(trainer.first_step).lower(state, replica, data, xs),
    ]
    costs: Sequence[Any] = [lowered.compile().cost_analysis() or {} for lowered in counted]
    return float(costs[0].get("flops", 0.0)), float(costs[1].get("flops", 0.0))


def count(value: float) -> str:
    """A large number for people, with a space before its prefix: 1,234, 56.7 k, 8.90 M."""
    for size, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k")):
        if value >= size:
            scaled = value / (1e3 if unit == "k" else size)
            return f"{scaled:.{max(0, 2 - int(math.log10(scaled)))}f} {unit}"
    return f"{value:,.0f} "


def used(size: float) -> str:
    """Bytes for people."""
    for unit, name in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if size >= unit:
            return f"{size / unit:.1f} {name}"
    return f"{size:.0f} B"
