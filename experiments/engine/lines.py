"""What is recorded of a lane group: one line per replica and evaluation, and a final one."""

import base64
import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments.engine.experiment import Tree
from experiments.engine.jobs import Job
from experiments.engine.parameters import DIGEST, digest_of, named_arrays
from experiments.engine.selection import RUNNING, Best


class Evaluation(NamedTuple):
    """What one evaluation found, still on the device; leaves `[lanes, ...]`.

    Attributes:
        epoch: epochs done.
        steps: steps of one epoch.
        sums: sums of the training metrics over the epoch's steps.
        scores: validation metrics.
        diverged: step of divergence, or -1.
        stopped: step at which patience ran out, or -1; from then on a replica has no lines.
        diagnosis: per layer quantities; None unless asked for.
    """

    epoch: int
    steps: int
    sums: Tree
    scores: Tree
    diverged: Any
    stopped: Any
    diagnosis: Tree | None


def per_lane(jobs: Sequence[Job], tree: Tree, line: Callable[[Tree], Any]) -> list[dict[str, Any]]:
    """One line per replica from arrays with a leading axis of lanes; none where `line` is None."""
    host = jax.device_get(tree)
    found = [line(jax.tree.map(lambda leaf, i=i: leaf[i], host)) for i in range(len(jobs))]
    return [
        {
            "phase": job.phase, "cell": job.cell, "tuned": dict(job.tuned), "seed": job.seed,
            **rest,
        }
        for job, rest in zip(jobs, found, strict=True)
        if rest is not None
    ]  # fmt: skip


def number(value: Any) -> float | None:
    """A JSON number with the nine digits that tell float32 values apart; None if not finite."""
    return float(f"{float(value):.9g}") if math.isfinite(float(value)) else None


def evaluation_lines(jobs: Sequence[Job], found: Evaluation) -> list[dict[str, Any]]:
    """Training metrics averaged over the epoch's steps, validation metrics; then diagnoses."""
    step = found.epoch * found.steps

    def line(lane: Tree) -> dict[str, Any] | None:
        sums, scores, diverged, stopped, _ = lane
        if RUNNING != stopped < step:
            return None
        means = {f"train_{name}": number(float(v) / found.steps) for name, v in sums.items()}
        values = {f"validation_{name}": number(value) for name, value in scores.items()}
        fate = {"diverged": bool(diverged != RUNNING)}
        return {"epoch": found.epoch, "step": step, **fate, **means, **values}

    def diagnosed(lane: Tree) -> dict[str, Any] | None:
        *_, stopped, diagnosis = lane
        if diagnosis is None or RUNNING != stopped < step:
            return None
        return diagnosis_line(found.epoch, diagnosis)

    lanes = (found.sums, found.scores, found.diverged, found.stopped, found.diagnosis)
    return per_lane(jobs, lanes, line) + per_lane(jobs, lanes, diagnosed)


def diagnosis_line(epoch: int, quantities: Tree) -> dict[str, Any]:
    """Per layer quantities of one batch, before any step (epoch 0) or after an epoch."""
    return {"epoch": epoch, "diagnosis": jax.tree.map(number, quantities)}


def final_lines(
    jobs: Sequence[Job],
    state: Any,
    scores: Mapping[str, Tree],
    correct: Any,
    kept: Tree,
    count: Callable[[int], int],
) -> list[dict[str, Any]]:
    """The last line of each replica: its fate, its exact metrics, which examples were right, and
    the digest of its parameters.

    Args:
        scores: split -> metrics.
        correct: bool per test example, or None.
        kept: the parameters that were evaluated, or None.
        count: how many lines a replica that trained for so many steps has beside this one.
    """
    best = state.best
    if isinstance(best, Best):
        best = dataclasses.replace(best, params=(), model_state=())

    def line(lane: Tree) -> dict[str, Any]:
        step, diverged, best, scores, correct, kept = lane
        fate: dict[str, Any] = {"status": "finished"}
        if diverged != RUNNING:
            fate = {"status": "diverged", "diverged_step": int(diverged)}
        if isinstance(best, Best):
            step = step if best.stopped == RUNNING else best.stopped
            fate["kept_step"] = int(best.step)
        values = {
            f"{split}_{name}" if split else name: number(value)
            for split, metrics in scores.items()
            for name, value in metrics.items()
        }
        packed = {} if correct is None else {"test_correct": pack_bits(correct)}
        digest = {} if kept is None else {DIGEST: digest_of(named_arrays(kept))}
        known = {"final": True, "lines": count(int(step)), "step": int(step)}
        return {**known, **fate, **values, **packed, **digest}

    return per_lane(jobs, (state.step, state.diverged, best, scores, correct, kept), line)


def pack_bits(correct: np.ndarray) -> str:
    """Booleans as base64 text, eight to a byte."""
    return base64.b64encode(np.packbits(correct).tobytes()).decode()


def unpack_bits(text: str, count: int) -> np.ndarray:
    """The inverse of `pack_bits`: bool `[count]`, fewer where there are fewer; raises ValueError of
    what is no such text."""
    return np.unpackbits(np.frombuffer(base64.b64decode(text), np.uint8))[:count].astype(bool)
