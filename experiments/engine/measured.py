"""What a net gives and an experiment measures, looked at before anything trains."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax

from experiments.engine.errors import UsageError
from experiments.engine.experiment import Data, Tree
from experiments.engine.statistics import Metric
from experiments.engine.step import Kept, Replica, Trainer, check_numbers
from experiments.engine.tables import LINE_FIELDS

SPLITS = ("train", "validation", "test")
BESIDE = {*LINE_FIELDS, "epoch", "diverged", "diagnosis"}
"""What lines hold beside measured values."""


def check_outputs(trainer: Trainer, replica: Replica) -> None:
    """Refuses a net that gives something else than the experiment needs. Takes shapes.

    Raises:
        UsageError: says what it gives, and what is needed.
    """
    experiment = trainer.experiment
    if experiment.outputs is None:
        return

    def outputs(replica: Replica) -> Tree:
        config, net, _ = trainer.model(replica)
        state = trainer.init(replica)
        variables = {"params": state.params, **state.model_state}
        return net.apply(variables, experiment.sample_input(config, trainer.spec), train=False)

    found = jax.eval_shape(outputs, replica)
    wanted = experiment.outputs(trainer.static, trainer.spec)
    if not isinstance(found, jax.ShapeDtypeStruct):
        raise UsageError(f"the net gives a {type(found).__name__}, not one array {list(wanted)}")
    if found.shape != wanted:
        raise UsageError(
            f"the net gives {list(found.shape)} for a batch of one example, not {list(wanted)} as "
            "its experiment needs (`outputs`)"
        )


def measures_validation(trainer: Trainer, replica: Replica, data: Data) -> bool:
    """Whether anything is measured on the validation split: not if it has no rows. Takes shapes.

    Raises:
        UsageError: what the experiment gives cannot be recorded; says what and why.
    """
    metrics = trainer.experiment.metrics(trainer.static, trainer.spec)
    _check_distinct(metrics)
    kept = jax.eval_shape(lambda replica: trainer.current(trainer.init(replica), replica), replica)
    further = jax.eval_shape(trainer.measure, kept, replica, data)
    check_numbers("measure", further)
    _check_names(further, metrics)
    validated = _evaluated(trainer, kept, replica, data, "validation")
    found = validated or _evaluated(trainer, kept, replica, data, "test")
    check_numbers("evaluate", found)
    _check_declared(found, metrics)
    return bool(validated)


def _evaluated(trainer: Trainer, kept: Kept, replica: Replica, data: Data, split: str) -> Tree:
    def scores(kept: Kept, replica: Replica, data: Data) -> Tree:
        return trainer.evaluate(kept, replica, data, split)

    found, correct = jax.eval_shape(scores, kept, replica, data)
    if correct is not None and (correct.ndim != 1 or correct.dtype != bool):
        raise UsageError(
            f"evaluate gives `correct` as {correct.dtype} {list(correct.shape)}: it is a bool for "
            "each example (a comparison), or None"
        )
    return found


def _check_distinct(metrics: Sequence[Metric]) -> None:
    names = [metric.name for metric in metrics]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UsageError(f"metrics gives {', '.join(twice)} twice: each needs a name of its own")


def _check_declared(values: Mapping[str, Any], metrics: Sequence[Metric]) -> None:
    """Nothing at all is right, too, for what is trained and never judged, such as a benchmark."""
    missing = [metric.name for metric in metrics if metric.name not in values]
    if values and missing:
        raise UsageError(
            f"evaluate gives {', '.join(values)}, but the experiment's metrics are to have "
            f"{', '.join(missing)}"
        )


def _check_names(values: Mapping[str, Any], metrics: Sequence[Metric]) -> None:
    taken = BESIDE | {f"{split}_{metric.name}" for split in SPLITS for metric in metrics}
    if clash := sorted({*values} & taken):
        raise UsageError(f"measure gives {', '.join(clash)}, which Ablax records itself: rename it")
