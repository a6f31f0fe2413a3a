"""Intervals over seeds and test examples: against the analysis of variance, and their coverage."""

import numpy as np
import pytest
import scipy.stats

from experiments import mlp
from experiments.engine.analysis import analyse
from experiments.engine.config import replace
from experiments.engine.examples import (
    cells_crossed,
    contrasts_crossed,
    crossed_interval,
    right_examples,
)
from experiments.engine.jobs import make_job
from experiments.engine.lines import pack_bits, unpack_bits
from experiments.engine.page.facts import read_facts
from experiments.engine.page.sheets import sheets
from experiments.engine.reopen import reopened
from experiments.engine.results import make_grid
from experiments.engine.statistics import Metric
from experiments.engine.study import make_study
from tests.engine.toy import TOY


def test_bits_come_back():
    right = np.random.default_rng(0).random(37) < 0.5
    np.testing.assert_array_equal(unpack_bits(pack_bits(right), 37), right)


def test_it_is_the_interval_of_the_analysis_of_variance():
    """Mean squares summed term by term, and the expected ones solved for the components."""
    seeds, examples = 6, 9
    d = np.random.default_rng(1).normal(size=(seeds, examples))
    d += 2 * np.random.default_rng(2).normal(size=(seeds, 1))
    d += 3 * np.random.default_rng(3).normal(size=examples)
    total = sum(d[s, i] for s in range(seeds) for i in range(examples)) / (seeds * examples)
    row = [sum(d[s]) / examples for s in range(seeds)]
    column = [sum(d[:, i]) / seeds for i in range(examples)]
    by_seed = examples * sum((r - total) ** 2 for r in row) / (seeds - 1)
    by_example = seeds * sum((c - total) ** 2 for c in column) / (examples - 1)
    rest = sum(
        (d[s, i] - row[s] - column[i] + total) ** 2 for s in range(seeds) for i in range(examples)
    ) / ((seeds - 1) * (examples - 1))
    of_seeds, of_examples = (by_seed - rest) / examples, (by_example - rest) / seeds
    variance = of_seeds / seeds + of_examples / examples + rest / (seeds * examples)
    added = of_examples / examples
    freedom = variance**2 / ((variance - added) ** 2 / (seeds - 1) + added**2 / (examples - 1))
    half = scipy.stats.t.ppf(0.975, freedom) * variance**0.5
    (low, high), share = crossed_interval(d, 0.05)
    np.testing.assert_allclose([low, high], [total - half, total + half], rtol=1e-10)
    assert share == pytest.approx(added / variance, rel=1e-10) and 0.5 < share < 1


def test_where_examples_add_nothing_it_is_the_t_interval_over_seeds():
    d = np.repeat(np.random.default_rng(0).normal(size=(5, 1)), 40, axis=1)
    interval, share = crossed_interval(d, 0.05)
    wanted = scipy.stats.t.interval(0.95, 4, d[:, 0].mean(), scipy.stats.sem(d[:, 0]))
    np.testing.assert_allclose(interval, wanted, rtol=1e-12)
    assert share == 0 and crossed_interval(np.full((5, 4), 0.5), 0.05) == ((0.5, 0.5), 0.0)


@pytest.mark.parametrize("seeds", [5, 10])
@pytest.mark.parametrize(
    ("by_seed", "by_example"), [(0.0, 0.0), (0.1, 0.0), (0.1, 1.0), (0.0, 1.0)]
)
def test_it_covers_over_new_seeds_and_new_examples(seeds, by_seed, by_example):
    """2,000 simulated studies of a null effect; binomial error 0.005."""
    draw, examples, studies = np.random.default_rng(seeds), 100, 2000
    covered = 0
    for _ in range(studies):
        d = draw.normal(size=(seeds, examples)) + by_example * draw.normal(size=examples)
        low, high = crossed_interval(d + by_seed * draw.normal(size=(seeds, 1)), 0.05)[0]
        covered += low <= 0 <= high
    assert 0.935 <= covered / studies <= 0.99


SEEDS, EXAMPLES = 5, 200
ACCURACY = Metric("accuracy", chance=0.1, examples=EXAMPLES)


def make_lines(study, jobs, spoil=None):
    """Final lines of nets that know some of the examples; `spoil` changes one."""
    draw, done = np.random.default_rng(0), {}
    hard = draw.random(EXAMPLES)
    for job in jobs:
        right = draw.random(EXAMPLES) < np.clip(0.9 - 0.4 * hard + 0.1 * job.cell, 0, 1)
        line = {
            "status": "finished", "test_accuracy": float(f"{right.mean():.9g}"),
            "test_correct": pack_bits(right),
        }  # fmt: skip
        done[job.key] = line
    if spoil:
        spoil(done[jobs[-1].key])
    return done


def found_over(spoil=None):
    study = make_study(TOY, vary={"rate": [0.03, 0.1], "noise": [0.0, 0.5]}, seeds=SEEDS)
    jobs = [make_job(study, "report", cell, {}, seed) for cell in range(4) for seed in range(SEEDS)]
    done = make_lines(study, jobs, spoil)
    grid = make_grid(study, jobs, done, "test_accuracy")
    analysis = analyse(grid, ACCURACY)
    correct = right_examples(ACCURACY, jobs, done)
    found = contrasts_crossed(grid, analysis, correct)
    return analysis, cells_crossed(grid, analysis, correct), done, found


def test_contrasts_average_the_other_factors_example_by_example():
    analysis, cells, done, found = found_over()
    assert [each.contrast for each in found] == [*analysis.simple_effects, *analysis.contrasts]
    right = np.array(
        [
            [unpack_bits(done["report", c, (), s]["test_correct"], EXAMPLES) for s in range(SEEDS)]
            for c in range(4)
        ]
    ).astype(float)
    for interval, scores in zip(cells, right, strict=True):
        assert interval == pytest.approx(crossed_interval(scores, 0.05)[0], rel=1e-10)
    rate, noise = found[-2:]
    for each, d in (
        (rate, (right[2] + right[3] - right[0] - right[1]) / 2),
        (noise, (right[1] + right[3] - right[0] - right[2]) / 2),
    ):
        assert (each.seeds, each.examples) == (SEEDS, EXAMPLES)
        assert each.contrast.estimate == pytest.approx(d.mean(), abs=1e-9)
        interval, share = crossed_interval(d, 0.05 / 2)
        np.testing.assert_allclose(each.interval, interval, rtol=1e-10)
        assert each.share == pytest.approx(share, rel=1e-10)


@pytest.mark.parametrize(
    "change",
    [
        {"test_accuracy": 0.5},  # a score that is not their share
        {"test_correct": pack_bits(np.ones(100, bool))},  # a test set of another size
        {"status": "diverged", "test_accuracy": None},
    ],
)
def test_without_every_net_of_a_contrast_there_is_none(change):
    _, cells, _, found = found_over(lambda line: line.update(change))
    assert [each is None for each in cells] == [False, False, False, True]
    assert not [each for each in found if not each.contrast.within]
    _, _, _, found = found_over(lambda line: line.pop("test_correct"))
    assert not [each for each in found if not each.contrast.within]


def test_a_study_tells_them(train):
    config = replace(mlp.EXPERIMENT.config, {"dataset": "digits", "width": (8,), "epochs": 6})
    outcome = train(mlp.EXPERIMENT, config, vary={"learning_rate": [0.01, 0.03]}, seeds=5)
    text = " ".join(outcome.text.split())
    assert "Over seeds and the 355 test examples, which are a sample, too" in text
    facts = read_facts(reopened(outcome.folder, outcome.study))
    assert facts.answer is not None
    (found,) = facts.answer.crossed
    right = {
        (cell, seed): unpack_bits(line["test_correct"], 355)
        for (_, cell, _, seed), line in outcome.lines.items()
    }
    for (_, cell, _, seed), line in outcome.lines.items():
        assert line["test_accuracy"] == pytest.approx(right[cell, seed].mean(), abs=1e-6)
    d = np.array([right[1, seed].astype(float) - right[0, seed] for seed in range(5)])
    np.testing.assert_allclose(found.interval, crossed_interval(d, 0.05)[0], rtol=1e-10)
    (sheet,) = (each for each in sheets(facts) if each.name == "examples")
    assert [entry.text for entry in sheet.rows[0]][-2:] == ["5", "355"]
