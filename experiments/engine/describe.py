"""What a net is: layers, shapes, parameters, and FLOPs of the compiled functions."""

import functools
import math
from collections.abc import Collection, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from experiments.engine import prepare
from experiments.engine.config import describe
from experiments.engine.cost import repeated_flops
from experiments.engine.experiment import Data, Experiment, Tree
from experiments.engine.layer_text import by, layer_table, total_lines
from experiments.engine.plan import Override
from experiments.engine.step import State
from experiments.engine.study import make_study
from experiments.engine.text import wrap
from experiments.engine.visit_text import visit_lines
from nets.effective import effective_receptive_field, effective_size
from nets.layers import Layer, Path, chain, layers, totals

NOISE_INPUTS = NOISE_FILTERS = 8
MOST_WORK = 1e11


def describe_net(
    experiment: Experiment, config: Any, manual_dir: str | None, width: int = 100
) -> str:
    """A table of layers with output shapes and parameters, and FLOPs of forward and update.

    Raises:
        UsageError, DataMissingError: the config or its data set cannot be used.
    """
    study = make_study(experiment, config, seeds=1)
    prepared = prepare.prepare_programs(study, manual_dir, Override(), [], lambda text: None)
    (entry,) = prepared.values()
    replica, own = entry.shapes
    state: State = jax.eval_shape(entry.trainer.init, replica)
    data = Data(prepare.shapes_of(entry.dataset), own)
    sample = experiment.sample_input(config, entry.dataset.spec)
    forward, update = compiled_flops(entry, state, replica, data, sample)
    net = experiment.make_net(config, entry.dataset.spec)
    spelled = describe(config)
    batch = f" (batch of {spelled['batch_size']})" if "batch_size" in spelled else ""
    steps = entry.trainer.total_steps
    found = layers(net, {"params": state.params, **state.model_state}, sample)
    lines = [
        f"input: {by(sample.shape[1:])} of {entry.dataset.name}",
        *layer_table(found, _by_module(state.params, {layer.path for layer in found}), width),
        "",
        f"parameters: {_size(state.params):,}",
        *total_lines(found, width),
    ]
    if state.model_state:
        lines.append(f"other state ({', '.join(state.model_state)}): {_size(state.model_state):,}")
    lines += [
        f"forward, one example, compiled: {count(forward)}FLOP",
        f"one update{batch}, compiled: {count(update)}FLOP",
        f"updates: {steps // prepare.epochs_of(config):,} an epoch, {steps:,} in all",
    ]
    seen = [*effective_lines(net, sample, found, width), *visit_lines(found, width)]
    return "\n".join([*lines, *(["", *seen] if seen else [])])


def effective_lines(
    net: nn.Module, sample: jax.Array, found: Sequence[Layer], width: int = 100
) -> list[str]:
    """The effective receptive field of the last windows at initialisation, beside the theory.

    Nothing where that takes more than `MOST_WORK` multiply-adds, or where the net's input has
    other axes than its windows.
    """
    followed = [layer for layer in chain(found) if len(layer.outputs) > 1]
    passes = 2 * NOISE_INPUTS * NOISE_FILTERS
    if not followed or passes * totals(found).multiply_adds > MOST_WORK:
        return []
    last, axes = followed[-1], followed[0].inputs[:-1]
    if sample.shape[1 : 1 + len(axes)] != axes:
        return []
    noise = jax.random.normal(jax.random.key(1), (NOISE_INPUTS, *sample.shape[1:]), sample.dtype)
    variables = jax.jit(functools.partial(net.init, train=False))(jax.random.key(0), sample)
    field = effective_receptive_field(net, variables, noise, last.path, filters=NOISE_FILTERS)
    side = effective_size(field)
    size = by([round(side, 1)] * len(axes))
    reach = [field.size for field in last.fields or ()]
    theory = by(reach)
    name = "/".join(last.path) or last.kind
    text = f"{name} sees {theory} in theory, effectively {size} of {by(axes)} at initialisation"
    count = f"{NOISE_INPUTS} inputs of noise, {min(NOISE_FILTERS, last.outputs[-1])} filters"
    beyond = round(side ** len(axes)) > math.prod(map(min, reach, axes))
    more = ": beyond its windows, as a norm over positions looks" if beyond else ""
    return wrap(f"{text} (gradients above 4.55 % of the largest; {count}){more}", width)


def _by_module(params: Tree, listed: Collection[Path]) -> dict[Path, dict[str, Any]]:
    """Each parameter under the module that is listed for it, by its name from there on."""
    found: dict[Path, dict[str, Any]] = {}
    for keys, leaf in jax.tree_util.tree_leaves_with_path(params):
        path = tuple(str(key.key) for key in keys)
        module = next(path[:n] for n in range(len(path) - 1, -1, -1) if path[:n] in listed)
        found.setdefault(module, {})["/".join(path[len(module) :])] = leaf
    return found


def _size(tree: Any) -> int:
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


def compiled_flops(
    entry: prepare.Prepared, state: Any, replica: Any, data: Data, sample: jax.Array
) -> tuple[float, float]:
    """FLOPs of one example's forward pass, and of one update.

    By XLA's count after optimisation, which counts a loop's body once; products and convolutions of
    its further turns are added.
    """
    trainer = entry.trainer

    def forward(state: Any, replica: Any, x: Any) -> Any:
        variables = {"params": state.params, **state.model_state}
        return trainer.model(replica).net.apply(variables, x, train=False)

    def flops(function: Any, *arguments: Any) -> float:
        traced = jax.jit(function).trace(*arguments)
        counted = traced.lower().compile().cost_analysis() or {}
        return float(counted.get("flops", 0.0)) + repeated_flops(traced.jaxpr.jaxpr)

    zero = jax.ShapeDtypeStruct((), jnp.int32)
    xs = jax.eval_shape(trainer.epoch_inputs, replica, data, zero)
    update = flops(trainer.first_step, state, replica, data, xs)
    return flops(forward, state, replica, sample), update


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
