"""What a study or a net would cost, before anything is trained."""

import math
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from experiments.engine import session
from experiments.engine.config import describe, split
from experiments.engine.experiment import Data, Experiment
from experiments.engine.plan import Override
from experiments.engine.step import State
from experiments.engine.study import Study, cells, label, make_study, tuning_jobs


def preview(study: Study, manual_dir: str | None, override: Override) -> str:
    """Cells, programs, plan, estimated time and memory. Trains nothing that is kept.

    The time is the first program's, measured on a few steps that are thrown away, scaled by the
    FLOPs of the others.
    """
    prepared = session.prepare_programs(study, manual_dir, override, [], print)
    jobs = session.possible_jobs(study)
    grid = cells(study)
    lines = [f"{len(grid)} cells x {study.seeds} seeds:"]
    lines += [f"  {label(study, index)}" for index in range(len(grid))]
    if tuning := len(tuning_jobs(study)):
        lines.append(f"{tuning} tuning runs choose {', '.join(_tuned(study))} first")
    first = next(iter(prepared.values()))
    rate = session.measure_rate(
        study, first, [j for j in jobs if split(j.config)[0] == first.static]
    )
    lines.append(f"{len(prepared)} program{'s' * (len(prepared) > 1)}:")
    seconds = 0.0
    for index, entry in enumerate(prepared.values()):
        replicas = entry.replicas
        share = entry.cost.flops_per_step / max(first.cost.flops_per_step, 1.0)
        seconds += replicas * entry.trainer.total_steps / rate * share
        memory = entry.cost.bytes_per_lane * entry.plan.layout.lanes
        lines.append(
            f"  {index + 1}: {_difference(prepared, entry)}{replicas} replicas x "
            f"{entry.trainer.total_steps:,} steps, {count(entry.cost.flops_per_step)}FLOP a step; "
            f"{entry.plan}; about {used(memory)}"
        )
    lines.append(
        f"about {seconds:.0f} s of training ({rate:,.0f} replica-steps/s measured on program 1), "
        "compiling apart"
    )
    return "\n".join(lines)


def _tuned(study: Study) -> list[str]:
    return list(dict.fromkeys(name for cell in cells(study) for name in cell.tune))


def _difference(prepared: dict[Any, session.Prepared], entry: session.Prepared) -> str:
    """What tells a program from the others: `activation=relu, `."""
    spelled = [describe(static) for static in prepared]
    mine = describe(entry.static)
    names = [name for name in mine if len({each[name] for each in spelled}) > 1]
    return "".join(f"{name}={mine[name]}, " for name in names)


def describe_net(experiment: Experiment, config: Any, manual_dir: str | None, width: int) -> str:
    """A table of layers with shapes and parameter counts, and FLOPs of the compiled functions."""
    study = make_study(experiment, config, seeds=1)
    entry = next(iter(session.prepare_programs(study, manual_dir, Override(), [], print).values()))
    spec = entry.dataset.spec
    net = experiment.make_net(config, spec)
    sample = experiment.sample_input(config, spec)
    table = nn.tabulate(
        net, jax.random.key(0), depth=1, console_kwargs={"width": width, "force_terminal": False}
    )(sample, train=False)
    replica, own = entry.shapes
    state: State = jax.eval_shape(entry.trainer.init, replica)
    parameters = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(state.params))
    data = Data(session.shapes_of(entry.dataset), own)
    forward, update = compiled_flops(entry, state, replica, data, sample)
    batch = config.optimizer.batch_size if hasattr(config, "optimizer") else 1
    return "\n".join([
        table.strip(),
        "",
        f"parameters: {parameters:,}",
        f"forward, one example, compiled: {count(forward)}FLOP",
        f"one update (batch of {batch}), compiled: {count(update)}FLOP",
        f"one epoch: {entry.trainer.total_steps // session.epochs_of(config):,} updates; "
        f"training: {entry.trainer.total_steps:,}",
    ])  # fmt: skip


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
    """A large number for people: 1,234, 56.7 k, 8.9 M."""
    for size, unit in ((1e12, " T"), (1e9, " G"), (1e6, " M"), (1e4, " k")):
        if value >= size:
            digits = max(0, 2 - int(math.log10(value / size)))
            return f"{value / min(size, 1e3 if unit == ' k' else size):.{digits}f}{unit}"
    return f"{value:,.0f}"


def used(values: Any) -> str:
    """Bytes for people."""
    for size, unit in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if values >= size:
            return f"{values / size:.1f} {unit}"
    return f"{values} B"
