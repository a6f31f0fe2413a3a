"""Ablax's side: the engine's own plan, programs and calls, without evaluation or logging."""

import dataclasses
import time
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from experiments.benchmarks.problem import (
    LEARNING_RATE,
    Arrays,
    Problem,
    Side,
    Start,
    random_rows,
)
from experiments.data.dataset import Spec, make_dataset
from experiments.engine.config import replace
from experiments.engine.devices import setup
from experiments.engine.experiment import Experiment, Tree
from experiments.engine.plan import Override, Plan
from experiments.engine.prepare import compile_program, possible_jobs, prepare_programs
from experiments.engine.program import Program
from experiments.engine.study import Study, make_study
from experiments.engine.train import Group, cut, make_group
from experiments.mlp import EXPERIMENT

VALIDATION = 1 / 9  # of the rows handed over; the problem's rows are left for training


@dataclasses.dataclass
class Running:
    """All lane groups of a problem, ready for their first step; `states` are replaced by it."""

    plan: Plan
    program: Program
    groups: list[Group]
    states: list[Tree]


def study_of(problem: Problem) -> Study:
    """The problem as a study of one cell."""
    values = {
        "width": (problem.width,) * 2, "batch_size": problem.batch, "schedule": "constant",
        "learning_rate": LEARNING_RATE, "preprocess": "standardise",
    }  # fmt: skip
    rows = random_rows(problem.inputs, problem.classes, problem.rows + problem.rows // 8)
    return random_study(EXPERIMENT, values, (*rows, problem.classes), problem.replicas)


def random_study(
    experiment: Experiment,
    values: Mapping[str, Any],
    data: tuple[np.ndarray, np.ndarray, int],
    replicas: int,
) -> Study:
    """A study of one cell on given rows, a ninth of which it holds out.

    Args:
        values: of the config.
        data: inputs, labels and the number of classes.
    """
    x, y, classes = data
    held_out = len(x) // 9
    splits = {"train": {"x": x, "y": y}, "test": {"x": x[:held_out], "y": y[:held_out]}}
    dataset = make_dataset("random", splits, Spec(x.shape[1:], classes))
    loaded = dataclasses.replace(experiment, load=lambda config, manual_dir: dataset)
    config = replace(experiment.config, {**values, "validation": VALIDATION})
    return make_study(loaded, config, seeds=replicas)


def compiled(problem: Problem) -> tuple[Running, float]:
    """Every lane group of a problem before its first step, and the seconds compiling took."""
    return compile_study(study_of(problem))


def compile_study(study: Study, override: Override = Override()) -> tuple[Running, float]:
    """Every lane group of a study before its first step, and the seconds compiling took."""
    setup()
    (entry,) = prepare_programs(study, None, override, [], print).values()
    start = time.perf_counter()
    program, splits = compile_program(study, entry)
    seconds = time.perf_counter() - start
    chunks = cut(possible_jobs(study), entry.plan.layout.lanes)
    groups = [make_group(study, entry.dataset, splits, entry.plan, jobs) for jobs in chunks]
    states = [program.init(group.replica, group.data.own) for group in groups]
    return Running(entry.plan, program, groups, jax.block_until_ready(states)), seconds


def train_epoch(running: Running, epoch: int = 0) -> None:
    """One epoch of every group, one group after another, in calls of the plan's length.

    Args:
        epoch: whose order of the data is taken.
    """
    program, longest = running.program, running.plan.steps_per_call
    for index, group in enumerate(running.groups):
        lanes, state = (group.replica, group.data), running.states[index]
        xs, sums = program.order(*lanes, np.int32(epoch))
        for begin in range(0, program.steps_per_epoch, longest):
            end = min(begin + longest, program.steps_per_epoch)
            bounds = np.int32(begin), np.int32(end)
            state, sums = program.train(state, sums, *lanes, xs, *bounds)
        running.states[index] = jax.block_until_ready(state)


def prepare(problem: Problem) -> Side:
    """Compiles the problem under the plan."""
    running, seconds = compiled(problem)
    train_epoch(running)
    return Side(lambda: train_epoch(running), seconds, str(running.plan))


def losses(problem: Problem, steps: int) -> tuple[list[Start], np.ndarray]:
    """Where every replica starts, and its loss at each of its first steps, `[replicas, steps]`."""
    running, _ = compiled(problem)
    starts, found = [], []
    for group, first in zip(running.groups, running.states, strict=True):
        xs, _ = running.program.order(group.replica, group.data, np.int32(0))
        starts += _starts(group, first, xs)
        found.append(first_losses(running, group, first, steps))
    return starts, np.concatenate(found)


def first_losses(running: Running, group: Group, state: Tree, steps: int) -> np.ndarray:
    """A group's losses at each of its first steps, `[replicas, steps]`; the state is used up."""
    lanes, found = (group.replica, group.data), []
    xs, _ = running.program.order(*lanes, np.int32(0))
    for step in range(steps):
        _, none = running.program.order(*lanes, np.int32(0))
        bounds = np.int32(step), np.int32(step + 1)
        state, sums = running.program.train(state, none, *lanes, xs, *bounds)
        found.append(np.asarray(sums["loss"]))
    return np.stack(found, axis=1)[: len(group.jobs)]


def _starts(group: Group, state: Any, xs: Tree) -> list[Start]:
    host = jax.device_get((state.params, group.data.own, xs))
    x, y = (np.asarray(group.data.splits["train"][name]) for name in ("x", "y"))
    starts = []
    for lane in range(len(group.jobs)):
        params, own, order = jax.tree.map(lambda leaf, i=lane: leaf[i], host)
        layers = [(params[name]["kernel"], params[name]["bias"]) for name in sorted(params)]
        stats = own["stats"]
        arrays = Arrays(x, y, stats["mean"], stats["scale"])
        starts.append(Start(layers, arrays, own["train_rows"][order]))
    return starts
