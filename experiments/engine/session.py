"""Runs a study: data, programs, plans, tuning, training, results. The one path for every verb."""

import concurrent.futures
import dataclasses
import math
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from experiments.data.dataset import Dataset
from experiments.engine import pictures
from experiments.engine import plan as planning
from experiments.engine.config import describe
from experiments.engine.errors import UsageError
from experiments.engine.experiment import Data, Tree
from experiments.engine.folder import Log
from experiments.engine.plan import Cost, Override, Plan
from experiments.engine.program import Layout, Program, build, share
from experiments.engine.progress import Meter
from experiments.engine.step import Replica, Trainer
from experiments.engine.study import (
    Job,
    Study,
    make_job,
    programs,
    reporting_seeds,
    tuning_jobs,
)
from experiments.engine.train import Group, groups, host_arrays, host_replica, train_group

Done = dict[tuple[Any, ...], dict[str, Any]]


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
        make_job(study, "report", index, tuned, seed)
        for index, cell in enumerate(study.cells)
        for tuned in cell.grid
        for seed in reporting_seeds(study)
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
    prepared = {}
    grouped = programs(possible_jobs(study))
    for jobs in grouped.values():
        spec = study.experiment.load(jobs[0].config, manual_dir).spec
        for job in jobs:
            study.experiment.check(job.config, spec)
    for index, (static, jobs) in enumerate(grouped.items()):
        dataset = study.experiment.load(jobs[0].config, manual_dir)
        trainer, one = _trainer(study, static, dataset, jobs[0])
        cost = planning.estimate(trainer, one[0], Data(shapes_of(dataset), one[1]))
        tune = sum(job.phase == "tune" for job in jobs)
        if tune and not trainer.measures(one[0], Data(shapes_of(dataset), one[1]), "validation"):
            raise UsageError(
                f"{', '.join(dict(jobs[0].tuned))}: tuned by validation score, but no rows are "
                "held out for validation"
            )
        report = len({(job.cell, job.seed) for job in jobs if job.phase == "report"})
        batches = [n for n in (tune, report) if n]
        old = next((p for p in recorded if p["static"] == describe(static)), None)
        plan = _plan(cost, batches, override, old)
        entry = Prepared(static, trainer, dataset, cost, plan, one, sum(batches))
        if override.measure and old is None:
            entry = _measured(study, entry, jobs, echo, f"program {index + 1}")
        prepared[static] = entry
    return prepared


def _trainer(
    study: Study, static: Any, dataset: Dataset, job: Job
) -> tuple[Trainer, tuple[Replica, Tree]]:
    experiment = study.experiment
    one = _shapes((host_replica(job), host_arrays(study, dataset, job)))
    draft = Trainer(experiment, static, dataset.spec, 1, study.fix)
    zero = jax.ShapeDtypeStruct((), np.int32)
    xs = jax.eval_shape(draft.epoch_inputs, one[0], Data(shapes_of(dataset), one[1]), zero)
    steps = jax.tree.leaves(xs)[0].shape[0]
    if steps == 0:
        raise UsageError("--batch-size is larger than the training set: an epoch has no step")
    total = steps * epochs_of(static)
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
    cost: Cost, batches: Sequence[int], override: Override, old: Mapping[str, Any] | None
) -> Plan:
    if old is None:
        return planning.make_plan(cost, batches, override)
    layout = Layout(old["lanes"], old["devices"])
    fixed = (override.lanes or layout.lanes, override.devices or layout.devices)
    if fixed != (layout.lanes, layout.devices):
        raise UsageError(
            f"this study was planned with --lanes {layout.lanes} --devices {layout.devices}, and "
            "its results belong to that plan; leave the flags out, or choose another --out"
        )
    if layout.devices > jax.device_count():
        raise UsageError(
            f"this study was planned for {layout.devices} devices; here are {jax.device_count()}"
        )
    given = dataclasses.replace(override, lanes=layout.lanes, devices=layout.devices)
    return planning.make_plan(cost, batches, given)


def _measured(
    study: Study, entry: Prepared, jobs: Sequence[Job], echo: Callable[[str], None], name: str
) -> Prepared:
    rates = []
    for layout in planning.alternatives(entry.plan, len(jobs)):
        candidate = dataclasses.replace(entry, plan=dataclasses.replace(entry.plan, layout=layout))
        rate = measure_rate(study, candidate, jobs)
        echo(f"  {name}: {candidate.plan}: {rate:,.0f} replica-steps/s")
        rates.append((rate, layout))
    plan = dataclasses.replace(entry.plan, layout=planning.fastest(rates))
    return dataclasses.replace(entry, plan=plan)


def measure_rate(study: Study, entry: Prepared, jobs: Sequence[Job]) -> float:
    """Replica-steps per second of a program, timed on steps that are thrown away."""
    program, splits = compile_program(study, entry)
    group = next(groups(study, entry.dataset, splits, entry.plan, jobs))
    lanes = (group.replica, group.data)
    xs, sums = program.order(*lanes, np.int32(0))
    steps = min(program.steps_per_epoch, entry.plan.steps_per_call)
    holder = [(program.init(group.replica), sums)]

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


@dataclasses.dataclass
class Session:
    """A study under way: what is compiled, what is done, where it is written.

    Attributes:
        compiled: program by static config; compiled once, used by tuning and reporting.
    """

    study: Study
    prepared: dict[Any, Prepared]
    done: Done
    folder: pathlib.Path
    log: Log
    meter: Meter
    pool: concurrent.futures.Executor
    compiled: dict[Any, concurrent.futures.Future[tuple[Program, Tree]]] = dataclasses.field(
        default_factory=dict
    )

    def program(self, static: Any) -> concurrent.futures.Future[tuple[Program, Tree]]:
        """The compiled program, begun in the background at the first call."""
        if static not in self.compiled:
            entry = self.prepared[static]
            self.compiled[static] = self.pool.submit(compile_program, self.study, entry)
        return self.compiled[static]


def train_jobs(session: Session, jobs: Sequence[Job], phase: str) -> None:
    """Trains what is not done yet, program after program, the next one compiling meanwhile."""
    todo = programs([job for job in jobs if job.key not in session.done])
    order = list(todo)
    for index, static in enumerate(order):
        entry = session.prepared[static]
        program, splits = session.program(static).result()
        if index + 1 < len(order):
            session.program(order[index + 1])
        batches = math.ceil(len(todo[static]) / entry.plan.layout.lanes)
        cut = groups(session.study, entry.dataset, splits, entry.plan, todo[static])
        for number, group in enumerate(cut):
            text = f"{phase}: program {index + 1}/{len(order)}, group {number + 1}/{batches}"
            _train(session, entry, program, group, text)


def _train(session: Session, entry: Prepared, program: Program, group: Group, text: str) -> None:
    epochs = epochs_of(entry.static)
    params, finals = train_group(
        session.study, entry.plan, program, group, epochs, session.log, session.meter, text
    )
    _save_pictures(session, entry, group, params)  # first: what has a final line is complete
    session.log.write(finals, durable=True)
    session.done |= {job.key: line for job, line in zip(group.jobs, finals, strict=True)}


def _save_pictures(session: Session, entry: Prepared, group: Group, params: Tree) -> None:
    """Writes the pictures of each cell's first seed below `pictures/`."""
    draw = session.study.experiment.pictures
    for lane, job in enumerate(group.jobs):
        if draw and job.phase == "report" and job.seed == session.study.first_seed:
            mine = jax.tree.map(lambda leaf, i=lane: np.asarray(leaf[i]), params)
            if images := draw(job.config, mine, entry.dataset.spec):
                pictures.write(session.folder / "pictures" / f"cell_{job.cell}", images)
