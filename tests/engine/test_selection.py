"""Which parameters are judged: the average against NumPy, the best of the curve, patience."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.engine.control import Saving
from experiments.engine.errors import UsageError
from experiments.engine.log import read_lines
from experiments.engine.parameters import read_parameters
from experiments.engine.plan import Override
from experiments.engine.progress import Meter
from experiments.engine.selection import (
    Selection,
    averaged,
    check_selection,
    note_best,
    start_average,
    start_best,
    step_average,
)
from experiments.engine.statistics import Metric
from tests.engine.selective import SELECTIVE, Config

pytestmark = pytest.mark.usefixtures("one_build")

ERROR = Metric("error", higher_is_better=False)
OVERSHOOTING = {"rate": [0.1, 0.35], "noise": [0.0, 0.3]}


@pytest.fixture(scope="module")
def study(train):
    """Trains the toy with a selection for some epochs, four lanes on two devices."""

    def call(epochs=12, override=Override(lanes=4, devices=2), vary=OVERSHOOTING, **selection):
        config = Config(epochs=epochs, selection=Selection(**selection))
        return train(SELECTIVE, config, vary=vary, seeds=2, override=override)

    return call


def curve_of(outcome, cell, seed):
    return [
        line for line in read_lines(outcome.folder)
        if (line["cell"], line["seed"]) == (cell, seed) and not line.get("final")
    ]  # fmt: skip


def replicas(outcome):
    for (_, cell, _, seed), line in outcome.lines.items():
        kept = read_parameters(outcome.folder, cell, seed)
        assert kept is not None
        yield curve_of(outcome, cell, seed), line, kept


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.99])
def test_the_average_is_the_weighted_mean_of_the_iterates(decay):
    iterates = np.random.default_rng(0).normal(size=(7, 3)).astype(np.float32)
    selection = Selection(average=decay)

    @jax.jit
    def run(decay, iterates):
        config = dataclasses.replace(selection, average=decay)
        average = start_average(config, {"w": iterates[0]})
        before = averaged(config, {"w": iterates[0]}, average)
        for iterate in iterates:
            average = step_average(config, {"w": iterate}, average)
        return before["w"], averaged(config, {"w": iterates[-1]}, average)["w"]

    before, after = run(jnp.float32(decay), jnp.asarray(iterates))
    np.testing.assert_array_equal(before, iterates[0])
    weights = np.float64(decay) ** np.arange(7)[::-1]
    np.testing.assert_allclose(after, weights @ iterates / weights.sum(), rtol=1e-4, atol=1e-6)


def test_without_an_option_nothing_is_carried():
    params = {"w": jnp.zeros(3)}
    assert start_average(Selection(), params) == ()
    assert start_best(Selection(), params, {}, [ERROR]) == ()
    assert averaged(Selection(), params, ()) is params


@pytest.mark.parametrize("higher", [True, False])
def test_the_best_is_the_first_of_equals_and_patience_counts_from_it(higher):
    metric = Metric("error", higher_is_better=higher)
    selection = Selection(keep="best", patience=3)
    best = start_best(selection, {"w": jnp.zeros(())}, {}, [metric])
    scores = [3.0, 2.0, jnp.nan, 2.0, 2.5, 1.0, 0.0]
    seen = []
    for step, score in enumerate(scores):
        signed = jnp.float32(-score if higher else score)
        alive = best.stopped == -1
        kept = ({"w": jnp.float32(step)}, {})
        best = note_best(selection, best, jnp.int32(step), kept, {"error": signed}, metric, alive)
        seen.append((int(best.step), float(best.params["w"]), int(best.stopped)))
    stuck = (1, 1.0, 4)
    assert seen == [(0, 0.0, -1), (1, 1.0, -1), (1, 1.0, -1), (1, 1.0, -1), stuck, stuck, stuck]


def test_the_best_evaluation_is_what_is_judged(study):
    last, best = study(), study(keep="best")
    gained = 0
    for (curve, line, kept), (_, plain, end) in zip(replicas(best), replicas(last), strict=True):
        errors = [each["validation_error"] for each in curve]
        assert line["validation_error"] == pytest.approx(min(errors), rel=1e-6)
        assert line["kept_step"] == curve[int(np.argmin(errors))]["step"]
        assert line["step"] == plain["step"] == 60 and "kept_step" not in plain
        same = all(np.array_equal(kept[name], end[name]) for name in end)
        assert same == (line["kept_step"] == 60)
        gained += not same
    assert gained >= 2  # of eight; otherwise nothing was tried here


def test_patience_ends_a_replica_and_not_its_neighbours(study):
    free, patient = study(keep="best"), study(keep="best", patience=2)
    stopped = 0
    for (curve, line, _), (whole, _, _) in zip(replicas(patient), replicas(free), strict=True):
        errors = [each["validation_error"] for each in whole]
        best, end = 0, len(errors)
        for number, error in enumerate(errors):
            best = number if error < errors[best] else best
            if number - best == 2:
                end = number + 1
                break
        assert curve == whole[:end]  # up to its end, the bits of one that never stops
        assert line["step"] == 5 * end and line["kept_step"] == 5 * (best + 1)
        assert line["validation_error"] == pytest.approx(errors[best], rel=1e-6)
        stopped += end < len(errors)
    assert stopped > 0


def test_a_group_that_stopped_as_a_whole_ends_early_with_the_same_result(study):
    """At a rate of 0 nothing ever gets better, so every replica stops after two more epochs."""
    vary = {"rate": [0.0], "noise": [0.0, 0.3]}
    outcome = study(epochs=1000, vary=vary, keep="best", patience=2)
    for curve, line, _ in replicas(outcome):
        assert [each["epoch"] for each in curve] == [1, 2, 3]
        assert line["step"] == 15 and line["kept_step"] == 5 and line["lines"] == 3


def test_one_that_diverged_runs_out_of_patience_too(study):
    """Else its group would train on for it alone: here for 1000 epochs."""
    vary = {"rate": [0.0, 1e30], "noise": [0.3]}
    outcome = study(epochs=1000, vary=vary, keep="best", patience=2)
    for curve, line, _ in replicas(outcome):
        lost = line["status"] == "diverged"
        assert lost == (line["cell"] == 1) and line["lines"] == len(curve) <= 3
        assert line["step"] == curve[-1]["step"] <= 15


@pytest.mark.slow
def test_a_group_ends_early_also_where_every_epoch_is_saved(train):
    """The end is noticed whoever writes the last evaluation."""
    config = Config(epochs=1000, rate=0.0, selection=Selection("best", patience=2))
    steps = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Meter, "advance", lambda self, done, text: steps.append(done))
        train(SELECTIVE, config, seeds=1, saving=Saving(checkpoint_every="1"))
    assert sum(steps) <= 5 * 5


def test_a_score_that_was_never_finite_is_no_score():
    best = start_best(Selection("best"), {"w": jnp.zeros(())}, {}, [ERROR])
    assert not jnp.isfinite(best.scores["error"])


def test_other_neighbours_change_no_bit_of_one_that_stops(study):
    vary = {"rate": [0.35], "noise": [0.3]}
    alone = study(vary=vary, keep="best", patience=2, average=0.5)
    among = study(keep="best", patience=2, average=0.5)
    for seed in range(2):
        mine, theirs = (
            read_parameters(alone.folder, 0, seed),
            read_parameters(among.folder, 3, seed),
        )
        assert mine is not None and theirs is not None
        assert all(np.array_equal(mine[name], theirs[name]) for name in theirs)


@pytest.mark.slow
def test_a_decay_of_zero_is_no_average_and_decays_share_a_program(study):
    plain, zero = study(), study(average=0.0)
    for (_, line, kept), (_, other, same) in zip(replicas(plain), replicas(zero), strict=True):
        assert line["test_error"] == pytest.approx(other["test_error"], rel=1e-5)
        for name in kept:
            np.testing.assert_allclose(kept[name], same[name], rtol=1e-5)
    varied = study(vary={"average": [0.0, 0.9], "noise": [0.3]}, average=0.5)
    assert len({line["test_error"] for _, line, _ in replicas(varied)}) == 4
    assert len(varied.study.cells) == 2


def test_a_replica_that_diverges_keeps_its_best(study):
    outcome = study(vary={"rate": [0.1, 3.0], "noise": [0.0, 0.3]}, keep="best", epochs=60)
    lost = [
        (curve, line, kept) for curve, line, kept in replicas(outcome)
        if line["status"] == "diverged"
    ]  # fmt: skip
    assert lost and all(line["kept_step"] < line["diverged_step"] for _, line, _ in lost)
    for _, _, kept in lost:
        assert all(np.isfinite(array).all() for array in kept.values())


@pytest.mark.parametrize(
    ("selection", "message"),
    [
        (Selection(patience=2), "--patience stops at the best parameters: it needs --keep best"),
        (Selection("best", patience=0), "--patience 0: at least one evaluation"),
        (Selection(average=1.0), "--average 1.0: must be at least 0 and below 1"),
        (Selection(average=float("nan")), "--average nan"),
    ],
)
def test_what_cannot_select_is_refused(selection, message):
    with pytest.raises(UsageError, match=message):
        check_selection(selection)
