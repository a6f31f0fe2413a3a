"""Training lane groups: the loop over epochs and calls, and the lines it records."""

import base64
import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments.data.dataset import Dataset
from experiments.engine.config import split
from experiments.engine.experiment import Data, Tree
from experiments.engine.folder import Log
from experiments.engine.keys import Streams
from experiments.engine.plan import Plan
from experiments.engine.program import Program, place, stack
from experiments.engine.progress import Meter
from experiments.engine.step import RUNNING, Replica
from experiments.engine.study import Job, Study


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


def groups(
    study: Study, dataset: Dataset, splits: Tree, plan: Plan, jobs: Sequence[Job]
) -> Iterator[Group]:
    """Cuts jobs into lane groups of the plan's size; the last is filled with copies."""
    lanes = plan.layout.lanes
    for start in range(0, len(jobs), lanes):
        chosen = jobs[start : start + lanes]
        own = [host_arrays(study, dataset, job) for job in chosen]
        filled = [min(i, len(chosen) - 1) for i in range(lanes)]
        replica = stack([host_replica(chosen[i]) for i in filled])
        placed = place(plan.layout, replica, stack([own[i] for i in filled]))
        yield Group(chosen, placed[0], Data(splits, placed[1]))


class Evaluation(NamedTuple):
    """What one evaluation found, still on the device; leaves `[lanes, ...]`.

    Attributes:
        epoch: epochs done.
        sums: sums of the training metrics over the epoch's steps.
        scores: validation metrics.
        diverged: step of divergence, or -1.
        diagnosis: per layer quantities; None unless asked for.
    """

    epoch: int
    sums: Tree
    scores: Tree
    diverged: jax.Array
    diagnosis: Tree | None


def train_group(
    study: Study, plan: Plan, program: Program, group: Group, epochs: int, log: Log,
    meter: Meter, text: str,
) -> tuple[Tree, list[dict[str, Any]]]:  # fmt: skip
    """Trains one group from its first step to its last, recording as it goes.

    An evaluation is fetched and written while the next epoch trains.

    Returns:
        The final parameters `[lanes, ...]`, and the final line of each replica.
    """
    state, pending = program.init(group.replica), []
    lanes = (group.replica, group.data)
    if program.diagnose:
        xs, _ = program.order(*lanes, np.int32(0))
        log.write(diagnosis_lines(group, 0, program.diagnose(state, *lanes, xs)))
    for epoch in range(1, epochs + 1):
        xs, sums = program.order(*lanes, np.int32(epoch - 1))
        state, sums = _train_epoch(plan, program, group, (state, sums), xs, meter, text)
        _write(log, group, program, pending)
        if epoch % study.evaluate_every == 0 or epoch == epochs:
            scores, diverged = program.validate(state, *lanes)
            diagnosis = program.diagnose(state, *lanes, xs) if program.diagnose else None
            pending = [Evaluation(epoch, sums, scores, diverged, diagnosis)]
    _write(log, group, program, pending)
    if group.jobs[0].phase == "tune":
        scores, correct = {"validation": program.validate(state, *lanes)[0]}, None
    else:
        scores, correct = program.finish(state, *lanes)
    return state.params, final_lines(group, state, scores, correct)


def _train_epoch(
    plan: Plan, program: Program, group: Group, carry: Tree, xs: Tree, meter: Meter, text: str
) -> Tree:
    """One epoch in calls of the plan's length, from (state, sums) to (state, sums)."""
    for start in range(0, program.steps_per_epoch, plan.steps_per_call):
        stop = min(start + plan.steps_per_call, program.steps_per_epoch)
        bounds = np.int32(start), np.int32(stop)
        carry = program.train(*carry, group.replica, group.data, xs, *bounds)
        meter.advance((stop - start) * len(group.jobs), text)
    return carry


def _write(log: Log, group: Group, program: Program, pending: list[Evaluation]) -> None:
    """Writes the lines of the evaluations that wait, and forgets them."""
    while pending:
        found = pending.pop()
        log.write(curve_lines(group, program, found))
        if found.diagnosis is not None:
            log.write(diagnosis_lines(group, found.epoch, found.diagnosis))


def _lane_lines(group: Group, tree: Tree, line: Callable[[Tree], dict[str, Any]]) -> list[Any]:
    """One line per replica from arrays with a leading axis of lanes."""
    host = jax.device_get(tree)
    return [
        {
            "phase": job.phase, "cell": job.cell, "tuned": dict(job.tuned), "seed": job.seed,
            **line(jax.tree.map(lambda leaf, i=i: leaf[i], host)),
        }
        for i, job in enumerate(group.jobs)
    ]  # fmt: skip


def number(value: Any) -> float | None:
    """A JSON number with the nine digits that tell float32 values apart; None if not finite."""
    return float(f"{float(value):.9g}") if math.isfinite(float(value)) else None


def curve_lines(group: Group, program: Program, found: Evaluation) -> list[Any]:
    """An evaluation: training metrics averaged over the epoch's steps, validation metrics."""

    def line(lane: Tree) -> dict[str, Any]:
        sums, scores, diverged = lane
        steps = program.steps_per_epoch
        means = {f"train_{name}": number(float(total) / steps) for name, total in sums.items()}
        values = {f"validation_{name}": number(value) for name, value in scores.items()}
        fate = {"diverged": bool(diverged != RUNNING)}
        return {"epoch": found.epoch, "step": found.epoch * steps, **fate, **means, **values}

    return _lane_lines(group, (found.sums, found.scores, found.diverged), line)


def diagnosis_lines(group: Group, epoch: int, quantities: Tree) -> list[Any]:
    """Per layer quantities of one batch, before any step (epoch 0) or after an epoch."""
    return _lane_lines(
        group, quantities,
        lambda lane: {"epoch": epoch, "diagnosis": jax.tree.map(number, lane)},
    )  # fmt: skip


def final_lines(
    group: Group, state: Any, scores: Mapping[str, Tree], correct: jax.Array | None
) -> list[Any]:
    """The last line of each replica: its fate, its exact metrics, and which examples were right."""

    def line(lane: Tree) -> dict[str, Any]:
        step, diverged, scores, correct = lane
        fate: dict[str, Any] = {"status": "finished"}
        if diverged != RUNNING:
            fate = {"status": "diverged", "diverged_step": int(diverged)}
        values = {
            f"{split}_{name}" if split else name: number(value)
            for split, metrics in scores.items()
            for name, value in metrics.items()
        }
        packed = {} if correct is None else {"test_correct": pack_bits(correct)}
        return {"final": True, "step": int(step), **fate, **values, **packed}

    return _lane_lines(group, (state.step, state.diverged, scores, correct), line)


def pack_bits(correct: np.ndarray) -> str:
    """Booleans as base64 text, eight to a byte."""
    return base64.b64encode(np.packbits(correct).tobytes()).decode()


def unpack_bits(text: str, count: int) -> np.ndarray:
    """The inverse of `pack_bits`, bool `[count]`."""
    return np.unpackbits(np.frombuffer(base64.b64decode(text), np.uint8))[:count].astype(bool)
