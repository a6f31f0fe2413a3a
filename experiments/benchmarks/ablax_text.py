"""Ablax's side of the language model, through its own plan, programs and calls."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments import classification
from experiments.benchmarks.ablax import compile_study, first_losses, random_study, train_epoch
from experiments.benchmarks.problem import Side
from experiments.benchmarks.text import LEARNING_RATE, TextProblem, random_text
from experiments.data.dataset import Spec
from experiments.engine.experiment import Data, Experiment, Tree
from experiments.engine.plan import Override
from experiments.engine.study import Study
from experiments.recurrent import make_stack
from experiments.sequence_classifier import Config
from nets.language import LanguageModel


def make_net(config: Any, spec: Spec) -> LanguageModel:
    """The net of a config."""
    return LanguageModel(make_stack(config.layers), spec.classes, config.layers.width[0])


def sample_input(config: Any, spec: Spec) -> jax.Array:
    """One sequence."""
    del config
    return jnp.zeros((1, *spec.shape), jnp.int32)


def make_batch(config: Any, data: Data, x: jax.Array, key: jax.Array) -> Tree:
    """Sequences, and the token after each of theirs."""
    del config, key
    return {"x": data.splits["train"]["x"][data.own["train_rows"][x]], "y": data.own["labels"][x]}


EXPERIMENT: Experiment = classification.classifier(
    name="benchmark",
    summary="a language model of random tokens; nothing is evaluated",
    config=Config(),
    check=lambda config, spec: None,
    make_net=make_net,
    sample_input=sample_input,
    outputs=lambda config, spec: (1, *spec.shape, spec.classes),
    make_batch=make_batch,
    evaluate=lambda *args: ({}, None),
    measure=None,
)


def study_of(problem: TextProblem) -> Study:
    """The problem as a study of one run."""
    values = {
        "width": (problem.width,) * problem.layers, "batch_size": problem.batch, "clip": None,
        "schedule": "constant", "learning_rate": LEARNING_RATE, "preprocess": "none",
    }  # fmt: skip
    data = (*random_text(problem, problem.rows + problem.rows // 8), problem.vocabulary)
    return random_study(EXPERIMENT, values, data, 1)


def prepare(problem: TextProblem) -> Side:
    """Compiles the problem under the plan."""
    return prepare_as(problem, Override())


def prepare_as(problem: TextProblem, override: Override) -> Side:
    """Compiles the problem under a plan of which something is fixed."""
    running, seconds = compile_study(study_of(problem), override)
    train_epoch(running)
    return Side(lambda: train_epoch(running), seconds, str(running.plan))


def losses(
    problem: TextProblem, steps: int, override: Override = Override()
) -> tuple[Tree, np.ndarray, np.ndarray]:
    """Initial parameters, rows `[steps, batch]` of `random_text`, and the loss of each step."""
    running, _ = compile_study(study_of(problem), override)
    group, state = running.groups[0], running.states[0]
    xs, _ = running.program.order(group.replica, group.data, np.int32(0))
    params, rows, order = jax.device_get((state.params, group.data.own["train_rows"], xs))
    first = jax.tree.map(lambda leaf: np.array(leaf[0]), params)
    return first, rows[0][order[0, :steps]], first_losses(running, group, state, steps)[0]
