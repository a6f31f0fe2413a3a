"""The programs of a study before they train: data, checks, plans, compiling."""

import contextlib
import dataclasses
import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from experiments.data.dataset import Dataset
from experiments.engine import plan as planning
from experiments.engine.config import describe
from experiments.engine.cost import Cost, estimate
from experiments.engine.errors import UsageError
from experiments.engine.experiment import Data, Tree
from experiments.engine.folder import shares_of
from experiments.engine.jobs import Job, make_job, programs, reporting_pairs, tuning_jobs
from experiments.engine.measured import check_outputs, measures_validation
from experiments.engine.plan import Override, Plan
from experiments.engine.program import Layout, Program, build, share
from experiments.engine.progress import speed_text
from experiments.engine.results import metrics
from experiments.engine.step import Replica, Trainer
from experiments.engine.study import Part, Study, label
from experiments.engine.train import cut, host_arrays, host_replica, make_group
from experiments.engine.values import spell


@dataclasses.dataclass(frozen=True)
class Prepared:
    """One program before it is compiled.

    Attributes:
        static: the static config all its replicas share.
        trainer, dataset, cost: what to compile, on which data, and what one replica asks for.
        plan: the layout chosen for it.
        shapes: one replica's inputs, as shapes.
        replicas: how many it trains in both phases.
    """

    static: Any
    trainer: Trainer
    dataset: Dataset
    cost: Cost
    plan: Plan
    shapes: tuple[Replica, Tree]
    replicas: int


def possible_jobs(study: Study) -> list[Job]:
    """Every job a study may train: tuning, and each cell at each value of the tuned fields."""
    report = [
        make_job(study, "report", cell, tuned, seed)
        for cell, seed in reporting_pairs(study)
        for tuned in study.cells[cell].grid
    ]
    return [*tuning_jobs(study), *report]


def prepare_programs(
    study: Study,
    manual_dir: str | None,
    override: Override,
    recorded: Sequence[Mapping[str, Any]],
    echo: Callable[[str], None],
) -> dict[Any, Prepared]:
    """Loads data, checks every cell, and plans every program. Trains nothing.

    Raises:
        UsageError: a cell's config cannot work, or an override contradicts the recorded plan.
        DataMissingError: a data set is not there.
    """
    prepared, once = {}, functools.cache(echo)
    grouped = programs(possible_jobs(study))
    whole = programs(possible_jobs(dataclasses.replace(study, part=Part())))
    for jobs in grouped.values():
        spec = study.experiment.load(jobs[0].config, manual_dir).spec
        for job in jobs:
            study.experiment.check(job.config, spec)
    for index, (static, jobs) in enumerate(grouped.items()):
        dataset = study.experiment.load(jobs[0].config, manual_dir)
        with _told_of_traced_fields():
            trainer, one = _trainer(study, static, dataset, jobs[0])
            shapes = (one[0], Data(shapes_of(dataset), one[1]))
            cost = estimate(trainer, *shapes)
        batches = _batches(whole[static])  # a part is planned as the whole: same bits
        mine = describe(static).items()
        old = next((p for p in recorded if p["static"].items() <= mine), None)
        plan = _plan(cost, batches, override, old, once)
        if not measures_validation(trainer, *shapes):
            _refuse_selection(study, jobs[0])
        entry = Prepared(static, trainer, dataset, cost, plan, one, sum(_batches(jobs)))
        if override.measure and old is None:
            layout = _measured(study, entry, jobs, override, echo, f"program {index + 1}")
            given = dataclasses.replace(override, **dataclasses.asdict(layout))
            entry = dataclasses.replace(entry, plan=planning.make_plan(cost, batches, given))
        prepared[static] = entry
    return prepared


@contextlib.contextmanager
def _told_of_traced_fields() -> Iterator[None]:
    """Adds to JAX's error about a traced value which of a config's fields are traced."""
    try:
        yield
    except (
        jax.errors.ConcretizationTypeError,
        jax.errors.TracerArrayConversionError,
        jax.errors.TracerIntegerConversionError,
    ) as error:
        error.add_note(
            "float fields of a config are traced, so that all their values train in one program: "
            "use jnp.where and the like (nets.regularizers.Dropout instead of Flax's), or annotate "
            "the field Static[float] or Static[float | None] for a program each"
        )
        raise


def _refuse_selection(study: Study, job: Job) -> None:
    """Refuses what chooses by validation score where no rows are held out."""
    wants = ", ".join(dict(job.tuned))
    if study.experiment.selection(job.config).keep == "best":
        wants = "--keep best"
    if wants:
        raise UsageError(f"{wants}: chosen by validation score, but no rows are held out for it")


def _batches(jobs: Sequence[Job]) -> list[int]:
    """How many of a program's replicas train in each phase."""
    tune = sum(job.phase == "tune" for job in jobs)
    report = len({(job.cell, job.seed) for job in jobs if job.phase == "report"})
    return [n for n in (tune, report) if n]


def _trainer(
    study: Study, static: Any, dataset: Dataset, job: Job
) -> tuple[Trainer, tuple[Replica, Tree]]:
    experiment = study.experiment
    one = _shapes((host_replica(job), host_arrays(study, dataset, job)))
    metric = metrics(study, [(static, dataset)])[0]
    draft = Trainer(experiment, static, dataset.spec, 1, study.fix, metric)
    check_outputs(draft, one[0])
    zero = jax.ShapeDtypeStruct((), np.int32)
    xs = jax.eval_shape(draft.epoch_inputs, one[0], Data(shapes_of(dataset), one[1]), zero)
    steps = jax.tree.leaves(xs)[0].shape[0]
    if steps == 0:
        here = ", ".join([label(study, job.cell), *(f"{n}={spell(v)}" for n, v in job.tuned)])
        raise UsageError(f"{here}: an epoch has no step: the batch is larger than the training set")
    if (epochs := epochs_of(static)) < 1:
        raise UsageError(f"--epochs {epochs}: at least 1")
    total = steps * epochs
    if total > np.iinfo(np.int32).max:
        raise UsageError(f"{total:,} steps are more than can be counted: fewer --epochs")
    return dataclasses.replace(draft, total_steps=total), one


def epochs_of(config: Any) -> int:
    """The length of the training: the config's field `epochs`."""
    return int(describe(config)["epochs"])


def _shapes(tree: Tree) -> Tree:
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(np.shape(x), np.asarray(x).dtype), tree)


def shapes_of(dataset: Dataset) -> Tree:
    """The arrays of a data set, as shapes."""
    return _shapes({name: dict(arrays) for name, arrays in dataset.splits.items()})


def _plan(
    cost: Cost, batches: Sequence[int], override: Override, old: Mapping[str, Any] | None,
    echo: Callable[[str], None],
) -> Plan:  # fmt: skip
    if old is None:
        return planning.make_plan(cost, batches, override)
    layout = Layout(old["lanes"], old["devices"], shares_of(old))
    fixed = dataclasses.asdict(layout)
    if any(getattr(override, name) not in (None, value) for name, value in fixed.items()):
        flags = " ".join(f"--{name} {value}" for name, value in fixed.items())
        raise UsageError(
            f"this study was planned with {flags}, and its results belong to that plan; leave the "
            "flags out, or choose another --out"
        )
    if layout.devices * layout.shares > jax.device_count():
        echo(
            f"warning: this study was planned for {layout.devices * layout.shares} devices, and "
            f"here are {jax.device_count()}: what is trained now agrees to a tolerance, not to the "
            "bit"
        )
        layout = Layout(layout.lanes, math.gcd(layout.lanes, jax.device_count()))
    given = dataclasses.replace(override, **dataclasses.asdict(layout))
    return planning.make_plan(cost, batches, given)


def _measured(
    study: Study, entry: Prepared, jobs: Sequence[Job], override: Override,
    echo: Callable[[str], None], name: str,
) -> Layout:  # fmt: skip
    """The fastest layout of those that the override allows."""
    rates = []
    batch = entry.cost.batch if entry.cost.convolves or entry.cost.recurs else 1
    for layout in planning.alternatives(entry.plan, len(jobs), batch, override):
        candidate = dataclasses.replace(entry, plan=dataclasses.replace(entry.plan, layout=layout))
        rate = measure_rate(study, candidate, jobs)
        echo(f"  {name}: {candidate.plan}: {speed_text(rate)}")
        rates.append((rate, layout))
    return planning.fastest(rates)


def measure_rate(study: Study, entry: Prepared, jobs: Sequence[Job]) -> float:
    """Replica-steps per second of a program, timed on steps that are thrown away."""
    program, splits = compile_program(study, entry)
    chunk = cut(jobs, entry.plan.layout.lanes)[0]
    group = make_group(study, entry.dataset, splits, entry.plan, chunk)
    lanes = (group.replica, group.data)
    xs, sums = program.order(*lanes, np.int32(0))
    steps = min(program.steps_per_epoch, entry.plan.steps_per_call)
    holder = [(program.init(group.replica, group.data.own), sums)]

    def call() -> Any:
        bounds = np.int32(0), np.int32(steps)
        holder.append(program.train(*holder.pop(), *lanes, xs, *bounds))
        return holder

    return steps * len(group.jobs) / planning.time_calls(call, 0.5)


def compile_program(study: Study, entry: Prepared) -> tuple[Program, Tree]:
    """Compiles a program and puts its data set on the devices."""
    lanes = entry.plan.layout.lanes
    batched = jax.tree.map(lambda s: jax.ShapeDtypeStruct((lanes, *s.shape), s.dtype), entry.shapes)
    splits = {name: dict(arrays) for name, arrays in entry.dataset.splits.items()}
    data = Data(shapes_of(entry.dataset), batched[1])
    program = build(entry.trainer, entry.plan.layout, batched[0], data, diagnostics=study.diagnose)
    return program, share(entry.plan.layout, splits)
