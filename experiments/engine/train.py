"""Training lane groups: the loop over epochs and calls, saved and recorded as it goes."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments.data.dataset import Dataset
from experiments.engine.checkpoint import Checkpoints
from experiments.engine.config import split
from experiments.engine.control import Control, Interrupted
from experiments.engine.experiment import Data, Tree
from experiments.engine.jobs import Job
from experiments.engine.keys import Streams
from experiments.engine.lines import (
    Evaluation,
    diagnosis_line,
    evaluation_lines,
    final_lines,
    per_lane,
)
from experiments.engine.log import Log
from experiments.engine.plan import Plan
from experiments.engine.program import Program, place, stack
from experiments.engine.progress import Meter
from experiments.engine.selection import RUNNING, Best
from experiments.engine.step import Replica
from experiments.engine.study import Study


@dataclasses.dataclass(frozen=True)
class Group:
    """Replicas that train side by side, on the device.

    Attributes:
        jobs: the replicas, without the copies that fill the last lanes.
        replica, data: their inputs with a leading axis of lanes.
    """

    jobs: Sequence[Job]
    replica: Replica
    data: Data


def host_replica(job: Job) -> Replica:
    """A job's traced numbers."""
    floats = {name: np.float32(value) for name, value in split(job.config)[1].items()}
    return Replica(floats, np.int32(job.seed))  # type: ignore[arg-type]


def host_arrays(study: Study, dataset: Dataset, job: Job) -> Tree:
    """A job's own arrays (its rows, labels and statistics)."""
    return study.experiment.prepare(job.config, dataset, Streams(job.seed, study.fix))


def cut(
    jobs: Sequence[Job], lanes: int, begun: Sequence[Sequence[Job]] = ()
) -> list[Sequence[Job]]:
    """Jobs in groups of at most `lanes`; groups already begun stay together, first."""
    taken = {job.key for group in begun for job in group}
    rest = [job for job in jobs if job.key not in taken]
    return [*begun, *(rest[start : start + lanes] for start in range(0, len(rest), lanes))]


def make_group(
    study: Study, dataset: Dataset, splits: Tree, plan: Plan, jobs: Sequence[Job]
) -> Group:
    """Replicas side by side on the devices; lanes that are left over hold copies."""
    own = [host_arrays(study, dataset, job) for job in jobs]
    filled = [min(i, len(jobs) - 1) for i in range(plan.layout.lanes)]
    replica = stack([host_replica(jobs[i]) for i in filled])
    placed = place(plan.layout, (replica, stack([own[i] for i in filled])))
    return Group(jobs, placed[0], Data(splits, placed[1]))


class Position(NamedTuple):
    """Where a group is in its training: epochs done, and steps done of the next one."""

    epoch: int
    start: int


@dataclasses.dataclass(frozen=True)
class Work:
    """What the training of any group needs beside the group.

    Attributes:
        folder: the study folder.
        evaluate_every: epochs between evaluations.
        log, meter: where lines go, and where progress is shown.
        standing: how replicas stand, of the lines of one evaluation.
        checkpoints: of the group in training.
        states: the last states of groups that are done; None where they are not kept.
        control: when to save.
        leftover: replicas that the log holds lines of, and that have not finished.
    """

    folder: pathlib.Path
    evaluate_every: int
    log: Log
    meter: Meter
    standing: Callable[[Sequence[Mapping[str, Any]]], str]
    checkpoints: Checkpoints
    states: Checkpoints | None
    control: Control
    leftover: Collection[tuple[Any, ...]] = ()

    def stop_if_asked(self) -> None:
        """Between groups, where nothing is left to save.

        Raises:
            Interrupted: asked to stop.
        """
        self._stop(self.control.reason())

    def stop_if_urgent(self) -> None:
        """While something is waited for; see `Control.urgent`. Raises as `stop_if_asked`."""
        self._stop(self.control.urgent())

    def _stop(self, reason: str) -> None:
        if reason:
            raise Interrupted(reason, self.folder)


def train_group(
    work: Work, plan: Plan, program: Program, group: Group, epochs: int, text: str
) -> tuple[Tree, list[dict[str, Any]]]:
    """Trains one group to its end, from its last checkpoint if there is one.

    An evaluation is fetched and written while the next epoch trains.

    Args:
        text: says in the progress where the study is.

    Returns:
        The parameters and model state each replica is judged by `[lanes, ...]` on the host (None
        while tuning), and the final line of each replica.

    Raises:
        Interrupted: asked to stop; everything is saved.
    """
    steps, scores = program.steps_per_epoch, None
    lanes, recorder = (group.replica, group.data), _Recorder(work, group)
    (first, begun), state, sums = _begin(work, plan, program, group, epochs, text)
    for epoch in range(first, epochs):
        xs, zeros = program.order(*lanes, np.int32(epoch))
        carry = (state, sums if begun else zeros)
        for start in range(begun, steps, plan.steps_per_call):
            stop = min(start + plan.steps_per_call, steps)
            carry = program.train(*carry, *lanes, xs, np.int32(start), np.int32(stop))
            work.meter.advance((stop - start) * len(group.jobs), text)
            if stop < steps:
                jax.block_until_ready(carry)  # so that few calls are ever under way
                recorder.offer(Position(epoch, stop), *carry)
        (state, sums), begun = carry, 0
        recorder.flush()
        if recorder.stopped:
            break
        if (epoch + 1) % work.evaluate_every == 0 or epoch + 1 == epochs:
            state, (scores, diverged, stopped) = program.validate(state, *lanes)
            diagnosis = program.diagnose(state, *lanes, xs) if program.diagnose else None
            found = (sums, scores, diverged, stopped, diagnosis)
            recorder.pending.append(Evaluation(epoch + 1, steps, *found))
        recorder.offer(Position(epoch + 1, 0), state, sums)
    recorder.flush()
    if work.states:
        recorder.save(work.states, Position(epochs, 0), state, sums)
        work.states.wait()
    if scores is None:  # no epoch was left to train
        state, (scores, *_) = program.validate(state, *lanes)
    count = functools.partial(_line_count, work.evaluate_every, epochs, program)
    return _conclude(program, group, state, scores, count)


def _conclude(
    program: Program, group: Group, state: Tree, scores: Tree, count: Callable[[int], int]
) -> tuple[Tree, list[dict[str, Any]]]:
    """What `train_group` returns, of the last state and its validation scores."""
    scores = {"validation": state.best.scores if isinstance(state.best, Best) else scores}
    if group.jobs[0].phase == "tune":
        return None, final_lines(group.jobs, state, scores, None, None, count)
    kept, (others, correct) = program.finish(state, group.replica, group.data)
    kept = jax.device_get(kept)
    return kept, final_lines(group.jobs, state, scores | others, correct, kept, count)


def _line_count(evaluate_every: int, epochs: int, program: Program, step: int) -> int:
    """Lines of a replica that trained for `step` steps: evaluations, and as many diagnoses and
    the one before the first step."""
    ends = {*range(evaluate_every, epochs + 1, evaluate_every), epochs}
    evaluations = sum(end * program.steps_per_epoch <= step for end in ends)
    return 2 * evaluations + 1 if program.diagnose else evaluations


def _begin(
    work: Work, plan: Plan, program: Program, group: Group, epochs: int, text: str
) -> tuple[Position, Tree, Tree]:
    """Where a group's training goes on: its newest sound checkpoint, or its first step."""
    keys = [list_key(job) for job in group.jobs]
    for holder, path, description in saved_states((work.checkpoints, work.states)):
        if description["jobs"] != keys:
            continue
        loaded = holder.load(path, description, program.carried)
        if loaded is not None:
            position = Position(description["epoch"], description["start"])
            work.log.rewind({job.key for job in group.jobs}, position.epoch)
            if not _lines_are_whole(work, program, group, position, loaded[0], epochs):
                continue
            done = position.epoch * program.steps_per_epoch + position.start
            work.meter.skip(done * len(group.jobs), text)
            return position, *place(plan.layout, loaded)
    if any(job.key in work.leftover for job in group.jobs):
        work.log.rewind({job.key for job in group.jobs}, -1)
    state = program.init(group.replica, group.data.own)
    if program.diagnose:
        xs, _ = program.order(group.replica, group.data, np.int32(0))
        found = program.diagnose(state, group.replica, group.data, xs)
        line = functools.partial(diagnosis_line, 0)
        work.log.write(per_lane(group.jobs, found, line))
    return Position(0, 0), state, None


def _lines_are_whole(
    work: Work, program: Program, group: Group, position: Position, state: Any, epochs: int
) -> bool:
    """Whether the log holds every line up to a checkpoint: a power cut may have lost some."""
    counts = work.log.counts()
    for lane, job in enumerate(group.jobs):
        step = position.epoch * program.steps_per_epoch
        if isinstance(state.best, Best) and state.best.stopped[lane] != RUNNING:
            step = min(step, int(state.best.stopped[lane]))
        if counts[job.key] != _line_count(work.evaluate_every, epochs, program, step):
            return False
    return True


def saved_states(
    holders: Sequence[Checkpoints | None],
) -> list[tuple[Checkpoints, pathlib.Path, dict[str, Any]]]:
    """All checkpoints that can be described, the furthest training first."""
    found = [(h, path, about) for h in holders if h for path, about in h.described()]
    return sorted(found, key=lambda each: (-each[2]["epoch"], -each[2]["start"]))


def list_key(job: Job) -> list[Any]:
    """What identifies a replica, as JSON holds it."""
    phase, cell, tuned, seed = job.key
    return [phase, cell, [list(pair) for pair in tuned], seed]


@dataclasses.dataclass
class _Recorder:
    """Writes a group's evaluations and checkpoints.

    Attributes:
        pending: evaluations still on the device.
        stopped: whether by the last evaluation every replica had run out of patience.
    """

    work: Work
    group: Group
    pending: list[Evaluation] = dataclasses.field(default_factory=list)
    stopped: bool = False

    def flush(self) -> None:
        """Writes the evaluations that wait."""
        while self.pending:
            found = self.pending.pop()
            lines = evaluation_lines(self.group.jobs, found)
            self.work.log.write(lines)
            self.work.meter.note(self.work.standing(lines))
            mine = np.asarray(found.stopped)[: len(self.group.jobs)]
            self.stopped = bool(np.all(mine != RUNNING))

    def save(self, holder: Checkpoints, position: Position, state: Tree, sums: Tree) -> None:
        """Begins a checkpoint of the group; the lines up to it are on the disk first."""
        self.work.log.sync()
        jobs = [list_key(job) for job in self.group.jobs]
        holder.save((state, sums), {"jobs": jobs, **position._asdict()})

    def offer(self, position: Position, state: Tree, sums: Tree) -> None:
        """Saves if a checkpoint is due, or if asked to stop.

        Raises:
            Interrupted: asked to stop; everything is saved.
        """
        control, checkpoints = self.work.control, self.work.checkpoints
        reason = control.reason()
        if not reason and not control.is_due(None if position.start else position.epoch):
            return
        self.flush()
        self.save(checkpoints, position, state, sums)
        control.saved()
        if reason:
            checkpoints.wait()
            raise Interrupted(reason, self.work.folder)
