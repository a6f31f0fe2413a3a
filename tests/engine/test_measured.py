"""What an experiment of one's own measures is looked at before anything trains."""

import dataclasses

import jax.numpy as jnp
import pytest

from experiments.engine import prepare
from experiments.engine.errors import UsageError
from experiments.engine.log import read_lines
from experiments.engine.measures import measures_text
from experiments.engine.plan import Override
from experiments.engine.results import further_measures
from experiments.engine.run import train_study
from experiments.engine.statistics import Metric
from experiments.engine.study import make_study
from experiments.engine.tuning import report_jobs
from tests.engine.toy import TOY


def vector_loss(*args):
    loss, (state, _) = TOY.loss_fn(*args)
    return loss, (state, {"pair": jnp.ones(2)})


def without_error(*args):
    scores, correct = TOY.evaluate(*args)
    return {"size": scores["size"]}, correct


def pairs(*args):
    scores, correct = TOY.evaluate(*args)
    return scores | {"pair": jnp.ones(2)}, correct


def float_correct(*args):
    return TOY.evaluate(*args)[0], jnp.ones(11)


def narrow_metrics(*args):
    loss, (state, metrics) = TOY.loss_fn(*args)
    narrow = {"hundred": jnp.int8(100), "yes": loss > -1, "half": jnp.float16(3e4), "plain": 2.0}
    return loss, (state, {**metrics, **narrow})


def by_power(config, spec):
    return [Metric("error" if config.power == "square" else "miss", higher_is_better=False)]


def test_cells_that_are_measured_by_other_metrics_are_not_one_study(tmp_path):
    def evaluate(config, *arguments):
        scores, correct = TOY.evaluate(config, *arguments)
        return {"error": scores["error"], "miss": scores["error"]}, correct

    changed = dataclasses.replace(TOY, metrics=by_power, evaluate=evaluate)
    study = make_study(changed, vary={"power": ["square", "quartic"]}, seeds=1)
    with pytest.raises(UsageError, match=r"the cells' metrics differ \(error; miss\)"):
        train_study(study, tmp_path / "both", echo=lambda text: None)
    alone = make_study(changed, vary={"power": ["quartic"]}, seeds=1)
    answer = train_study(alone, tmp_path / "alone", echo=lambda text: None)
    assert answer.analysis.metric.name == "miss"


def test_a_batch_larger_than_the_data_is_told_with_its_cell(tmp_path):
    study = make_study(TOY, vary={"power": ["quartic"]}, tune={"batch_size": [8, 41]}, seeds=1)
    told = "power=quartic, batch_size=41: an epoch has no step: the batch is larger"
    with pytest.raises(UsageError, match=told):
        train_study(study, tmp_path, echo=lambda text: None)


WRONG = {
    "evaluate gives `correct` as float32 .11.: it is a bool for each example": {
        "evaluate": float_correct
    },
    "metrics gives error twice: each needs a name of its own": {
        "metrics": lambda config, spec: [*TOY.metrics(config, spec), Metric("error")]
    },
    "loss_fn gives pair of shape .2,.: make it one number": {"loss_fn": vector_loss},
    "evaluate gives pair of shape .2,.: make it one number": {"evaluate": pairs},
    "evaluate gives size, but the experiment's metrics are to have error": {
        "evaluate": without_error
    },
    "measure gives bend of shape .3,.: make it one number": {
        "measure": lambda *args: {"bend": jnp.ones(3)}
    },
    "measure gives step, test_error, which Ablax records itself: rename it": {
        "measure": lambda *args: {"step": jnp.ones(()), "test_error": jnp.ones(())}
    },
}


@pytest.mark.parametrize("message", WRONG)
def test_what_cannot_be_recorded_is_refused(tmp_path, message):
    experiment = dataclasses.replace(TOY, **WRONG[message])
    study = make_study(experiment, TOY.config, seeds=1)
    with pytest.raises(UsageError, match=message):
        train_study(study, tmp_path / "out", echo=lambda text: None)


def test_further_numbers_of_other_names_are_taken():
    experiment = dataclasses.replace(TOY, measure=lambda *args: {"bend": jnp.ones(())})
    study = make_study(experiment, TOY.config, seeds=1)
    assert prepare.prepare_programs(study, None, Override(), [], print)


def test_means_over_an_epoch_are_right_whatever_the_type_of_a_metric(tmp_path):
    """Sums in the metrics' own types overflow here, and bfloat16 stops at 256."""
    experiment = dataclasses.replace(
        TOY, loss_fn=narrow_metrics, metrics=lambda config, spec: list(TOY.metrics(config, spec))
    )
    study = make_study(experiment, TOY.config, seeds=1)
    out = train_study(study, tmp_path / "out", echo=lambda text: None)
    line = next(line for line in read_lines(out.folder) if line.get("epoch") == 2)
    assert (line["train_hundred"], line["train_yes"], line["train_plain"]) == (100, 1, 2)
    assert line["train_half"] == pytest.approx(3e4, rel=1e-3)


def test_a_mean_over_seeds_leaves_out_no_replica_that_finished_without_a_number():
    study = make_study(TOY, vary={"rate": [0.1, 0.3]}, seeds=2)
    numbers = [(1.0, 3.0), (2.0, None), (5.0, 7.0), (None, None)]
    jobs = report_jobs(study, {})
    statuses = ["finished", "diverged", "finished", "finished"]
    done = {
        job.key: {"status": status, "bend": bend, "weight": weight}
        for job, status, (bend, weight) in zip(jobs, statuses, numbers, strict=True)
    }
    means = further_measures(study, jobs, done, [Metric("error")])
    assert means == {"bend": [1.5, None], "weight": [None, None]}
    del done[jobs[3].key]  # has not finished yet
    means = further_measures(study, jobs, done, [Metric("error")])
    assert means == {"bend": [1.5, 5.0], "weight": [None, 7.0]}


def test_an_experiment_speaks_of_what_was_measured():
    """Nothing of a cell that lacks what it speaks of; a mistake of its own shows."""
    said = dataclasses.replace(TOY, remark=lambda config, found: f"bend {found['bend']:g}")
    study = make_study(said, vary={"rate": [0.1, 0.3]}, seeds=1)
    jobs = report_jobs(study, {})
    measures = {"bend": [1.5, None], "weight": [None, 2.0]}
    text = measures_text(study, jobs, measures, 80)
    assert text[-1] == "  rate=0.1: bend 1.5" and not any("rate=0.3:" in line for line in text)
    with pytest.raises(KeyError, match="bend"):
        measures_text(study, jobs, {"weight": [1.0, 2.0]}, 80)
