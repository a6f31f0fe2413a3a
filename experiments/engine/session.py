"""A study under way: its programs compiled while others train, its replicas in groups."""

import concurrent.futures
import dataclasses
import json
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from experiments.engine.checkpoint import Checkpoints
from experiments.engine.experiment import Tree
from experiments.engine.illustrate import illustrate
from experiments.engine.jobs import Job, programs
from experiments.engine.parameters import write_parameters, write_vocabulary
from experiments.engine.prepare import Prepared, compile_program, epochs_of
from experiments.engine.program import Program
from experiments.engine.step import Kept
from experiments.engine.study import Study
from experiments.engine.train import (
    Group,
    Work,
    cut,
    list_key,
    make_group,
    saved_states,
    train_group,
)

PATIENCE = 0.5
"""Seconds between two questions whether to stop, while a program compiles."""
Done = dict[tuple[Any, ...], dict[str, Any]]


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
        program, splits = _compiled(session, static)
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


def _compiled(session: Session, static: Any) -> tuple[Program, Tree]:
    """The compiled program, waited for. Raises `Interrupted`: asked to stop meanwhile."""
    future = session.program(static)
    while not concurrent.futures.wait([future], timeout=PATIENCE).done:
        session.work.stop_if_urgent()
    return future.result()


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
