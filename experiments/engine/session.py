"""Runs a study: data, programs, plans, tuning, training, results. The one path for every verb."""

import concurrent.futures
import dataclasses
import functools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from experiments.data.dataset import Dataset
from experiments.engine import plan as planning
from experiments.engine.checkpoint import Checkpoints
from experiments.engine.config import describe
from experiments.engine.cost import Cost, estimate
from experiments.engine.errors import UsageError
from experiments.engine.experiment import Data, Tree
from experiments.engine.folder import shares_of
from experiments.engine.illustrate import illustrate
from experiments.engine.parameters import write_parameters, write_vocabulary
from experiments.engine.plan import Override, Plan
from experiments.engine.program import Layout, Program, build, share
from experiments.engine.results import metrics
from experiments.engine.step import Kept, Replica, Trainer
from experiments.engine.study import (
    Job,
    Part,
    Study,
    make_job,
    programs,
    reporting_pairs,
    tuning_jobs,
)
from experiments.engine.train import (
    Group,
    Work,
    cut,
    host_arrays,
    host_replica,
    list_key,
    make_group,
    saved_states,
    train_group,
)

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
        trainer, one = _trainer(study, static, dataset, jobs[0])
        shapes = (one[0], Data(shapes_of(dataset), one[1]))
        cost = estimate(trainer, *shapes)
        batches = _batches(whole[static])  # a part is planned as the whole: same bits
        if not trainer.measures(*shapes, "validation"):
            _refuse_selection(study, jobs[0])
        mine = describe(static).items()
        old = next((p for p in recorded if p["static"].items() <= mine), None)
        plan = _plan(cost, batches, override, old, once)
        entry = Prepared(static, trainer, dataset, cost, plan, one, sum(_batches(jobs)))
        if override.measure and old is None:
            entry = _measured(study, entry, jobs, echo, f"program {index + 1}")
        prepared[static] = entry
    return prepared


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
    metric = metrics(study, [dataset])[0]
    draft = Trainer(experiment, static, dataset.spec, 1, study.fix, metric)
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
    study: Study, entry: Prepared, jobs: Sequence[Job], echo: Callable[[str], None], name: str
) -> Prepared:
    rates = []
    batch = entry.cost.batch if entry.cost.convolves or entry.cost.recurs else 1
    for layout in planning.alternatives(entry.plan, len(jobs), batch):
        candidate = dataclasses.replace(entry, plan=dataclasses.replace(entry.plan, layout=layout))
        rate = measure_rate(study, candidate, jobs)
        echo(f"  {name}: {candidate.plan}: {rate:,.0f} replica-steps/s")
        rates.append((rate, layout))
    plan = dataclasses.replace(entry.plan, layout=planning.fastest(rates))
    return dataclasses.replace(entry, plan=plan)


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


@dataclasses.dataclass
class Session:
    """A study under way: what is compiled, what is done, where it is written.

    Attributes:
        echo: called with each warning.
        compiled: program by static config; compiled once, used by tuning and reporting.
    """

    study: Study
    prepared: dict[Any, Prepared]
    done: Done
    work: Work
    pool: concurrent.futures.Executor
    echo: Callable[[str], None]
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
    """Trains what is not done yet, program after program, the next one compiling meanwhile.

    Raises:
        Interrupted: asked to stop; everything is saved.
    """
    todo = programs([job for job in jobs if job.key not in session.done])
    holders = (session.work.checkpoints, session.work.states)
    begun = begun_groups(holders, [job for each in todo.values() for job in each])
    first = {job.key for group in begun for job in group}
    order = sorted(todo, key=lambda static: not any(job.key in first for job in todo[static]))
    for index, static in enumerate(order):
        entry = session.prepared[static]
        program, splits = session.program(static).result()
        if index + 1 < len(order):
            session.program(order[index + 1])
        lanes, here = entry.plan.layout.lanes, todo[static]
        mine = [group for group in begun if group[0] in here and len(group) <= lanes]
        chunks = cut(here, lanes, mine)
        for number, chunk in enumerate(chunks):
            session.work.stop_if_asked()
            group = make_group(session.study, entry.dataset, splits, entry.plan, chunk)
            text = f"{phase}: program {index + 1}/{len(order)}, group {number + 1}/{len(chunks)}"
            _train(session, entry, program, group, text)


def begun_keys(holders: Sequence[Checkpoints | None]) -> set[tuple[Any, ...]]:
    """The replicas of all checkpoints, whether they are asked for now or not."""
    return {
        (phase, cell, tuple(map(tuple, tuned)), seed)
        for _, _, description in saved_states(holders)
        for phase, cell, tuned, seed in description["jobs"]
    }


def begun_groups(holders: Sequence[Checkpoints | None], jobs: Sequence[Job]) -> list[list[Job]]:
    """The groups of all checkpoints, the furthest first; those whose replicas `jobs` all holds."""
    by_key, groups = {json.dumps(list_key(job)): job for job in jobs}, []
    for _, _, description in saved_states(holders):
        keys = [json.dumps(key) for key in description["jobs"]]
        if all(key in by_key for key in keys):
            groups.append([by_key.pop(key) for key in keys])
    return groups


def _train(session: Session, entry: Prepared, program: Program, group: Group, text: str) -> None:
    """Trains a group; what has a final line is complete, so that is written last."""
    work, epochs = session.work, epochs_of(entry.static)
    kept, finals = train_group(work, entry.plan, program, group, epochs, text)
    if kept is not None:
        _save_nets(session, entry, group, kept)
    work.log.write(finals, durable=True)
    work.checkpoints.clear()
    session.done |= {job.key: line for job, line in zip(group.jobs, finals, strict=True)}


def _save_nets(session: Session, entry: Prepared, group: Group, kept: Kept) -> None:
    """Writes each replica's parameters and vocabulary, and pictures of each cell's first seed."""
    study, folder = session.study, session.work.folder
    for lane, job in enumerate(group.jobs):
        mine = jax.tree.map(lambda leaf, i=lane: np.asarray(leaf[i]), kept)
        write_parameters(folder, job, mine)
        if entry.dataset.vocabulary:
            write_vocabulary(folder, job.cell, entry.dataset.vocabulary)
        if job.seed == study.first_seed:
            illustrate(folder, study, entry.dataset, job, mine, session.echo)
