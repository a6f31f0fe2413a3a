"""`analyse`: what each kind of study is told."""

import dataclasses
import itertools
import json
from typing import Any

import numpy as np
import pytest
from scipy import stats

from experiments.engine import paired
from experiments.engine.analysis import analyse, to_json
from experiments.engine.statistics import Grid, Metric

SCIPY: Any = stats  # whose results have incomplete types

ACCURACY = Metric("accuracy", chance=0.1, examples=1000)
LOSS = Metric("loss", higher_is_better=False)
FACTORS = {"activation": ("relu", "gelu", "tanh"), "dropout": ("0", "0.2")}


def make(effects=None, seeds=10, factors=None, noise=0.004, level=0.9, key=0):
    """A factorial study with seed effects; `effects`: (factor, level) or a cell -> shift."""
    factors = factors or FACTORS
    cells = tuple(itertools.product(*factors.values()))
    rng = np.random.default_rng(key)
    values = level + 0.01 * rng.normal(size=seeds) + noise * rng.normal(size=(len(cells), seeds))
    for row, cell in enumerate(cells):
        keys = [*zip(factors, cell, strict=True), cell]
        values[row] += sum((effects or {}).get(item, 0.0) for item in keys)
    return Grid(factors, cells, tuple(range(seeds)), values, np.zeros(values.shape, bool))


def by_level(contrasts) -> dict[tuple[Any, ...], Any]:
    return {(item.factor, item.level, *item.within): item for item in contrasts}


def test_contrasts_are_formed_per_seed_with_their_family():
    grid = make({("activation", "gelu"): 0.02})
    analysis = analyse(grid, ACCURACY)
    found = by_level(analysis.contrasts)
    assert list(found) == [("activation", "gelu"), ("activation", "tanh"), ("dropout", "0.2")]
    gelu, relu = grid.values[2:4].mean(axis=0), grid.values[0:2].mean(axis=0)
    contrast = found["activation", "gelu"]
    expected = SCIPY.ttest_rel(gelu, relu)
    interval = expected.confidence_interval(1 - 0.05 / 3)
    assert contrast.n == 10
    assert contrast.averaged_over == 2
    assert contrast.test == "t"
    np.testing.assert_allclose(contrast.differences, gelu - relu)
    assert contrast.p == pytest.approx(expected.pvalue)
    assert contrast.interval == pytest.approx((interval.low, interval.high))
    assert contrast.correlation == pytest.approx(SCIPY.pearsonr(gelu, relu).statistic)
    sd = (gelu - relu).std(ddof=1)
    assert contrast.detectable == pytest.approx(sd * paired.detectable_effect(10, 0.05 / 3))
    adjusted = paired.holm(np.array([item.p for item in analysis.contrasts]))
    assert [item.p_adjusted for item in analysis.contrasts] == pytest.approx(adjusted.tolist())
    assert contrast.p_sign_flip == pytest.approx(2 / 2**10)
    assert contrast.verdict == "better"
    assert contrast.wins == 10


def test_cells_report_t_intervals():
    grid = make()
    cell = analyse(grid, ACCURACY).cells[3]
    summary, values = cell.summary, grid.values[3]
    low, high = stats.t.interval(0.95, 9, values.mean(), stats.sem(values))
    assert (summary.n, summary.mean) == (10, pytest.approx(values.mean()))
    assert summary.sd == pytest.approx(values.std(ddof=1))
    assert summary.interval == pytest.approx((low, high))
    assert cell.diverged == cell.did_not_train == 0
    assert cell.survivors is None


def test_direction_of_the_metric():
    grid = make({("dropout", "0.2"): 0.02})
    assert by_level(analyse(grid, ACCURACY).contrasts)["dropout", "0.2"].verdict == "better"
    assert by_level(analyse(grid, LOSS).contrasts)["dropout", "0.2"].verdict == "worse"


@pytest.mark.parametrize("seeds", [1, 2, 3, 4, 5])
def test_few_seeds_give_no_verdict(seeds):
    analysis = analyse(make({("dropout", "0.2"): 0.05}, seeds), ACCURACY)
    contrast = by_level(analysis.contrasts)["dropout", "0.2"]
    assert contrast.n == len(contrast.differences) == seeds
    assert (contrast.interval is not None) == (seeds >= 3)
    assert (analysis.cells[0].summary.interval is not None) == (seeds >= 3)
    assert (contrast.p is not None) == (contrast.p_adjusted is not None) == (seeds >= 5)
    assert contrast.verdict == ("better" if seeds >= 5 else "no verdict")
    assert bool(analysis.interactions) == (seeds >= 5)


def test_identical_values_have_no_p():
    grid = make()
    grid.values[3:6:2] = grid.values[2:6:2]  # dropout changes nothing for gelu and tanh
    grid.values[1] = grid.values[0]
    analysis = analyse(grid, ACCURACY, margin=0.01)
    contrast = by_level(analysis.contrasts)["dropout", "0.2"]
    assert contrast.p is contrast.p_sign_flip is contrast.p_adjusted is contrast.interval is None
    assert contrast.verdict == "no verdict"
    assert "identical" in contrast.reason
    gelu = by_level(analysis.contrasts)["activation", "gelu"]
    interval = SCIPY.ttest_1samp(gelu.differences, 0).confidence_interval(1 - 0.05 / 3)
    assert gelu.interval == pytest.approx((interval.low, interval.high))  # the family stays 3


@pytest.mark.parametrize("gain", [0.1, np.float32(1 / 360)])
def test_a_difference_that_is_the_same_at_every_seed_is_judged_by_sign_flips(gain):
    """One more right answer of 360 at every seed: as float32, equal but for rounding."""
    grid = make(factors={"activation": ("relu", "gelu")})
    grid.values[0] = np.float32(np.random.default_rng(0).integers(300, 350, 10) / 360)
    grid.values[1] = np.float32(grid.values[0] + gain)
    (contrast,) = analyse(grid, ACCURACY).contrasts
    assert (contrast.test, contrast.verdict) == ("sign-flip", "better")
    assert contrast.p == 2**-9 and contrast.interval is None
    assert contrast.estimate == pytest.approx(gain, rel=1e-4)


def test_a_difference_that_is_the_same_at_every_seed_may_be_inside_the_margin():
    grid = make(factors={"activation": ("relu", "gelu")})
    grid.values[1] = grid.values[0] + 0.001
    (inside,) = analyse(grid, ACCURACY, margin=0.01).contrasts
    assert (inside.test, inside.verdict, inside.p_equivalence) == ("sign-flip", "equivalent", 2**-9)
    (outside,) = analyse(grid, ACCURACY, margin=0.0005).contrasts
    assert (outside.verdict, outside.p_equivalence) == ("better", 1.0)


def test_seeds_that_are_copies_of_one_replica_are_no_sample():
    grid = make()
    grid.values[:] = np.arange(6)[:, None] / 10 + 0.2
    assert {item.verdict for item in analyse(grid, ACCURACY).contrasts} >= {"better"}
    copied = analyse(grid, ACCURACY, margin=0.5, copied_cells=range(6))
    assert copied.interactions == copied.simple_effects == ()
    assert any("the seed changes nothing" in note for note in copied.notes)
    for item in copied.contrasts:
        assert item.p is item.p_sign_flip is item.p_equivalence is item.divergence is None
        assert (item.verdict, item.copies) == ("no verdict", True)
        assert "one replica, copied" in item.reason
    grid.values[0] += 0.01 * np.arange(10)
    some = analyse(grid, ACCURACY, copied_cells=range(1, 6)).contrasts
    assert [item.copies for item in some] == [False, False, False]
    assert all(item.p is not None for item in some)


def test_where_every_replica_diverged_nothing_is_called_identical():
    grid = make(factors={"activation": ("relu", "gelu")})
    grid.diverged[:] = True
    (contrast,) = analyse(grid, LOSS).contrasts
    assert contrast.verdict == "no verdict"
    assert contrast.reason == "as many replicas diverged at every seed: no p"


def test_equivalent_undecided_and_their_order():
    analysis = analyse(make({("activation", "gelu"): 0.004}), ACCURACY, margin=0.02)
    gelu = by_level(analysis.contrasts)["activation", "gelu"]
    assert gelu.verdict == "equivalent"
    tost = max(
        SCIPY.ttest_1samp(gelu.differences, 0.02, alternative="less").pvalue,
        SCIPY.ttest_1samp(gelu.differences, -0.02, alternative="greater").pvalue,
    )
    assert tost <= gelu.p_equivalence <= 3 * tost
    strict = analyse(make({("activation", "gelu"): 0.004}), ACCURACY, margin=0.0001)
    assert by_level(strict.contrasts)["activation", "gelu"].verdict != "equivalent"
    open_end = by_level(analyse(make(), ACCURACY).contrasts)["activation", "gelu"]
    assert open_end.verdict == "undecided"
    another_look = 0.05 / 3 / 4
    needed = paired.seeds_needed(open_end.estimate, open_end.sd, 10, another_look, None)
    assert open_end.seeds_needed == needed
    assert (f"about {needed} seeds" if needed else "more than 1000") in open_end.reason


def test_looks_and_exploration():
    grid = make({("activation", "gelu"): 0.006})
    once, twice = (analyse(grid, ACCURACY, looks=looks) for looks in (1, 3))
    first: Any
    later: Any
    for first, later in zip(once.contrasts, twice.contrasts, strict=True):
        assert later.p_adjusted == pytest.approx(min(8 * first.p_adjusted, 1))
        interval = SCIPY.ttest_1samp(later.differences, 0).confidence_interval(1 - 0.05 / 24)
        assert later.interval == pytest.approx((interval.low, interval.high))
    for first, later in zip(once.interactions, twice.interactions, strict=True):
        assert later.p == pytest.approx(min(8 * first.p, 1))
    free = analyse(grid, ACCURACY, exploratory=True)
    assert {item.verdict for item in free.contrasts} == {"exploratory"}
    assert all(item.p == item.p_adjusted for item in free.contrasts)
    interval = SCIPY.ttest_1samp(free.contrasts[0].differences, 0).confidence_interval(0.95)
    assert free.contrasts[0].interval == pytest.approx((interval.low, interval.high))


def test_edge_cells_withhold_the_contrasts_they_enter():
    analysis = analyse(make({("activation", "gelu"): 0.05}), ACCURACY, edge_cells=(2,))
    found = by_level(analysis.contrasts)
    assert analysis.cells[2].at_edge
    assert not analysis.cells[3].at_edge
    assert found["activation", "gelu"].verdict == found["dropout", "0.2"].verdict == "withheld"
    assert "widen --tune" in found["activation", "gelu"].reason
    assert found["activation", "tanh"].verdict == "undecided"


def test_missing_replicas_leave_complete_seeds():
    grid = make()
    grid.values[2, 4] = np.nan
    analysis = analyse(grid, ACCURACY)
    found = by_level(analysis.contrasts)
    assert analysis.cells[2].summary.n == 9
    assert found["activation", "gelu"].n == found["dropout", "0.2"].n == 9
    assert found["activation", "tanh"].n == 10
    assert {item.n for item in analysis.interactions} == {9}  # flips need whole seed rows


def test_interactions_make_simple_effects_the_headline():
    factors = {**FACTORS, "norm": ("off", "on")}
    shifts = {("gelu", "0.2", norm): 0.04 for norm in factors["norm"]}
    analysis = analyse(make(shifts, factors=factors), ACCURACY)
    assert len(analysis.interactions) == 2 + 2 + 1
    real = [item for item in analysis.interactions if item.is_real]
    assert [item.levels for item in real] == [("gelu", "0.2")]
    assert real[0].estimate == pytest.approx(0.04, abs=0.01)
    simple = by_level(analysis.simple_effects)
    assert len(simple) == 2 * 2 + 1 * 3  # activation within dropout, dropout within activation
    assert simple["activation", "gelu", ("dropout", "0.2")].verdict == "better"
    assert simple["activation", "gelu", ("dropout", "0.2")].averaged_over == 2
    assert simple["activation", "gelu", ("dropout", "0")].verdict == "undecided"
    adjusted = paired.holm(np.array([item.p for item in analysis.simple_effects]))
    found = [item.p_adjusted for item in analysis.simple_effects]
    assert found == pytest.approx(adjusted.tolist())
    assert not analyse(make({("activation", "gelu"): 0.04}), ACCURACY).simple_effects


@pytest.mark.parametrize("factor", [1e5, 1e6, 1e8])
def test_one_level_of_large_values_hides_no_other_interaction(factor):
    """A loss has no bound: an arm that trains badly is no yardstick of rounding for the others."""
    grid = make({("gelu", "0.2"): 0.5}, level=0.5, noise=0.01)
    large = dataclasses.replace(grid, values=grid.values.copy())
    large.values[4:] *= factor
    for before, after in zip(
        *(analyse(each, LOSS).interactions[:1] for each in (grid, large)), strict=True
    ):
        assert before.levels == after.levels == ("gelu", "0.2")
        assert after.estimate == before.estimate and after.t == before.t
        assert before.is_real and after.is_real


def test_interaction_contrast_by_hand():
    grid = make()
    found = analyse(grid, ACCURACY).interactions
    values = grid.values
    by_hand = [(values[2 * i + 1] - values[1]) - (values[2 * i] - values[0]) for i in (1, 2)]
    np.testing.assert_allclose([item.estimate for item in found], np.mean(by_hand, axis=1))
    np.testing.assert_allclose([item.p for item in found], paired.max_t_p(np.array(by_hand)))
    expected = SCIPY.ttest_1samp(by_hand, 0, axis=1).statistic
    np.testing.assert_allclose([item.t for item in found], expected)


def test_other_shapes_of_studies():
    one = analyse(make({("dropout", "0.2"): 0.02}, factors={"dropout": ("0", "0.2")}), ACCURACY)
    assert [item.verdict for item in one.contrasts] == ["better"]
    assert not one.interactions
    single = analyse(make(factors={"dropout": ("0",)}), ACCURACY)
    assert not single.contrasts
    assert len(single.cells) == 1
    full = make({("activation", "gelu"): 0.02})
    star = dataclasses.replace(
        full,
        cells=(("relu", "0"), ("gelu", "0"), ("relu", "0.2"), ("tanh", "0.2")),
        values=full.values[[0, 2, 1, 5]],
        diverged=full.diverged[[0, 2, 1, 5]],
    )
    found = by_level(analyse(star, ACCURACY).contrasts)
    np.testing.assert_allclose(
        found["activation", "gelu"].differences, full.values[2] - full.values[0]
    )
    np.testing.assert_allclose(
        found["activation", "tanh"].differences, full.values[5] - full.values[1]
    )
    apart = dataclasses.replace(star, cells=(("relu", "0"), ("gelu", "0.2"), ("tanh", "0.2")))
    apart = dataclasses.replace(apart, values=star.values[:3], diverged=star.diverged[:3])
    contrasts = analyse(apart, ACCURACY).contrasts
    assert [item.level for item in contrasts] == ["(gelu, 0.2)", "(tanh, 0.2)"]
    assert {item.reference for item in contrasts} == {"(relu, 0)"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"values": np.zeros((6, 9))}, "values"),
        ({"diverged": np.zeros((5, 10), bool)}, "diverged"),
        ({"seeds": (0,) * 10}, "equal seeds"),
        ({"cells": (("relu", "0"),) * 6}, "equal cells"),
        ({"cells": (("relu", "9"), *itertools.product(*FACTORS.values()))[:6]}, "unknown level"),
    ],
)
def test_a_grid_that_contradicts_itself_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        analyse(dataclasses.replace(make(), **change), ACCURACY)


@pytest.mark.parametrize("option", [{"margin": 0.0}, {"looks": 0}, {"edge_cells": (6,)}])
def test_options_out_of_range_are_refused(option):
    with pytest.raises(ValueError, match=r"margin|looks|edge cell"):
        analyse(make(), ACCURACY, **option)


def test_json_holds_no_nan():
    grid = make()
    grid.values[0, 0], grid.diverged[1, 1] = np.nan, True
    for metric in (ACCURACY, LOSS):
        text = json.dumps(to_json(analyse(grid, metric)), allow_nan=False)
        assert json.loads(text)["cells"][0]["values"][0] is None
