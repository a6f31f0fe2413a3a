"""Training lane groups: the loop over epochs and calls, and the lines it records."""

import base64
import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

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


def train_group(
    study: Study,
    plan: Plan,
    program: Program,
    group: Group,
    epochs: int,
    log: Log,
    meter: Meter,
    text: str,
) -> tuple[Tree, list[dict[str, Any]]]:
    """Trains one group from its first step to its last, recording as it goes.

    Returns:
        The final parameters `[lanes, ...]`, and the final line of each replica.
    """
    state = program.init(group.replica)
    lanes = (group.replica, group.data)
    if program.diagnose:
        xs = program.order(*lanes, np.int32(0))
        log.write(diagnosis_lines(group, 0, program.diagnose(state, *lanes, xs)))
    for epoch in range(1, epochs + 1):
        xs = program.order(*lanes, np.int32(epoch - 1))
        sums = []
        for start in range(0, program.steps_per_epoch, plan.steps_per_call):
            stop = min(start + plan.steps_per_call, program.steps_per_epoch)
            state, part = program.train(state, *lanes, xs, np.int32(start), np.int32(stop))
            sums.append(part)
            meter.advance((stop - start) * len(group.jobs), text)
        if epoch % study.evaluate_every == 0 or epoch == epochs:
            scores = program.validate(state, *lanes)
            log.write(curve_lines(group, program, epoch, sums, scores, state.diverged))
            if program.diagnose:
                log.write(diagnosis_lines(group, epoch, program.diagnose(state, *lanes, xs)))
    if group.jobs[0].phase == "tune":
        scores, correct = {"validation": program.validate(state, *lanes)}, None
    else:
        scores, correct = program.finish(state, *lanes)
    finals = final_lines(group, state, scores, correct)
    log.write(finals, durable=True)
    return state.params, finals


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


def curve_lines(
    group: Group,
    program: Program,
    epoch: int,
    sums: Sequence[Tree],
    scores: Tree,
    diverged: jax.Array,
) -> list[Any]:
    """An evaluation: training metrics averaged over the epoch's steps, validation metrics."""

    def line(lane: Tree) -> dict[str, Any]:
        parts, scores, diverged = lane
        means = {
            f"train_{name}": number(sum(float(p[name]) for p in parts) / program.steps_per_epoch)
            for name in parts[0]
        }
        values = {f"validation_{name}": number(value) for name, value in scores.items()}
        step = epoch * program.steps_per_epoch
        return {"epoch": epoch, "step": step, "diverged": diverged >= 0, **means, **values}

    return _lane_lines(group, (sums, scores, diverged), lambda lane: _plain(line(lane)))


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


def _plain(line: dict[str, Any]) -> dict[str, Any]:
    return {name: bool(v) if isinstance(v, np.bool_) else v for name, v in line.items()}
