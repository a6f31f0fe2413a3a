"""Ablax's side of the convolutional nets, through its own plan, programs and calls."""

import jax
import numpy as np

from experiments import convnet, resnet
from experiments.benchmarks.ablax import (
    compile_study,
    first_losses,
    random_study,
    train_epoch,
)
from experiments.benchmarks.images import (
    LEARNING_RATE,
    MOMENTUM,
    ImageProblem,
    random_images,
)
from experiments.benchmarks.problem import Arrays, Side
from experiments.engine.plan import Override
from experiments.engine.study import Study


def study_of(problem: ImageProblem) -> Study:
    """The problem as a study of one cell; of one run, where each is apart."""
    values = {
        "batch_size": problem.batch, "schedule": "constant", "optimizer": "momentum",
        "learning_rate": LEARNING_RATE, "momentum": MOMENTUM, "preprocess": "standardise_channel",
    }  # fmt: skip
    if problem.layers:
        experiment, own = convnet.EXPERIMENT, {"layers": problem.layers}
    else:
        experiment, own = resnet.EXPERIMENT, {"depth": problem.depth, "width": problem.width}
    rows = problem.rows + problem.rows // 8
    data = (*random_images(problem, rows), problem.classes)
    return random_study(experiment, values | own, data, 1 if problem.apart else problem.replicas)


def prepare(problem: ImageProblem) -> Side:
    """Compiles the problem under the plan."""
    running, seconds = compile_study(study_of(problem))
    times = problem.replicas if problem.apart else 1

    def epoch() -> None:
        for _ in range(times):
            train_epoch(running)

    epoch()
    return Side(epoch, seconds, str(running.plan))


def losses(
    problem: ImageProblem, steps: int, override: Override = Override()
) -> tuple[dict, Arrays, np.ndarray, np.ndarray]:
    """Of the first replica: initial parameters, data, rows `[steps, batch]`, and its losses."""
    running, _ = compile_study(study_of(problem), override)
    group, state = running.groups[0], running.states[0]
    xs, _ = running.program.order(group.replica, group.data, np.int32(0))
    params, own, order = jax.device_get((state.params, group.data.own, xs["rows"]))
    first = jax.tree.map(lambda leaf: np.array(leaf[0]), (params, own["stats"], own["train_rows"]))
    x, y = (np.asarray(group.data.splits["train"][name]) for name in ("x", "y"))
    arrays = Arrays(x, y, first[1]["mean"].ravel(), first[1]["scale"].ravel())
    found = first_losses(running, group, state, steps)
    return first[0], arrays, first[2][order[0, :steps]], found[0]
