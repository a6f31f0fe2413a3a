"""Rendering: it fits, it says the numbers, it explains itself."""

import dataclasses
import itertools
import re
from typing import Any

import numpy as np
import pytest

from experiments.engine.analysis import analyse
from experiments.engine.answer import answer, methods
from experiments.engine.measures import others_text
from experiments.engine.statistics import Grid, Metric
from experiments.engine.text import render, render_exploratory, table

ACCURACY = Metric("accuracy", chance=0.1)
LOSS = Metric("loss", higher_is_better=False)
FACTORS = {"activation": ("relu", "gelu", "leaky_relu:0.2"), "dropout": ("0", "0.2")}


def make(seeds=10, interaction=0.0, collapse=False, factors=None):
    factors = factors or FACTORS
    cells = tuple(itertools.product(*factors.values()))
    rng = np.random.default_rng(0)
    values = 0.9 + 0.01 * rng.normal(size=seeds) + 0.004 * rng.normal(size=(len(cells), seeds))
    values[2:4] += 0.02
    values[3] += interaction
    diverged = np.zeros(values.shape, bool)
    if collapse:
        diverged[1, 0], values[4, 1], values[0, 2] = True, 0.1, np.nan
    return Grid(factors, cells, tuple(range(seeds)), values, diverged)


@pytest.mark.parametrize("width", [60, 80, 100])
@pytest.mark.parametrize("metric", [ACCURACY, LOSS])
@pytest.mark.parametrize("seeds", [1, 2, 3, 10, 18])
@pytest.mark.parametrize("collapse", [False, True])
def test_no_line_exceeds_the_width(width, metric, seeds, collapse):
    grid = make(seeds, 0.05, collapse and seeds > 2)
    analysis = analyse(grid, metric, margin=0.01, looks=2, edge_cells=(3,))
    extra = {"train": [0.95] * 6, "gap": [0.05] * 5 + [None]}
    text = render(analysis, width=width, extra=extra) + render_exploratory([analysis], width=width)
    assert max(map(len, text.splitlines())) <= width
    assert "nan" not in text
    assert "inf" not in text


def test_numbers_beside_far_larger_ones_keep_their_digits():
    """One arm lost all control: the typical spread is that of its thousands."""
    values = np.array([[0.17, 0.18, 0.172], [0.12, 0.125, 0.121], [4e3, 5e3, 7e3], [6e3, 5e3, 4e3]])
    levels = ("0.01", "0.02", "1e5", "2e5")
    cells = tuple((level,) for level in levels)
    grid = Grid({"rate": levels}, cells, (0, 1, 2), values, np.zeros(values.shape, bool))
    text = render(analyse(grid, LOSS), width=120)
    assert "0.122" in text and "rate 0.02 - 0.01: values -0.05 -0.055 -0.051" in text
    assert "best cell: rate 0.02 (0.122)" in text.splitlines()[0]


def test_where_only_ranks_are_left_the_exploratory_table_says_who_won():
    grid = make()
    grid.values[4:], grid.diverged[4:] = np.nan, True
    text = render_exploratory([analyse(grid, LOSS, exploratory=True)], width=100)
    assert re.search(r"activation leaky_relu:0.2 - relu +0 better, 10 worse +- +0.002 +10", text)


def test_wide_characters_keep_the_columns_in_line():
    """A terminal gives each two places."""
    lines = table(["arm", "n"], [["基线", "10"], ["plain", "9"], ["é", "100"]], 80, left=1)
    assert lines == ["  arm      n", "  基线    10", "  plain    9", "  é      100"]


def test_the_means_of_other_metrics_stand_in_one_table():
    accuracy, loss = analyse(make(), ACCURACY), analyse(make(), LOSS)
    lines = others_text([accuracy, loss], 80)
    assert lines[1].split() == ["activation", "dropout", "accuracy", "%", "loss"]
    mean: Any = loss.cells[3].summary.mean
    assert lines[5].split() == ["gelu", "0.2", f"{100 * mean:.2f}", f"{mean:.4f}"]
    assert others_text([], 80) == []


def test_long_levels_are_stacked_instead_of_cut():
    factors = {"first_factor": tuple("x" * 50 + f" {i}" for i in range(3)), "second": ("0", "1")}
    text = render(analyse(make(factors=factors), ACCURACY), width=80)
    assert max(map(len, text.splitlines())) <= 80
    joined = " ".join(text.split())
    assert all(" ".join(level.split()) in joined for level in factors["first_factor"])


def test_the_verdict_line_and_the_answer():
    analysis = analyse(make(), ACCURACY)
    text = render(analysis, width=200)
    gelu: Any = analysis.contrasts[0]
    low, high = (100 * bound for bound in gelu.interval)
    line = (
        f"activation gelu - relu: {100 * gelu.estimate:+.2f} pp [{low:+.2f}, {high:+.2f}], "
        "p <0.001 (Holm of 3), sign-flip p 0.002, n 10: better"
    )
    assert line in text
    first = text.splitlines()[0]
    assert first.startswith("accuracy, 6 cells x 10 seeds: best cell: activation gelu, dropout")
    assert f"gelu better than relu by {100 * gelu.estimate:.2f} pp" in first
    assert f"seed correlation {gelu.correlation:.2f}, smallest detectable difference" in text
    assert "leaky_relu:0.2 - relu" in text
    assert "undecided (" in text
    assert "No replica diverged" in text


def test_a_cell_that_diverged_whole_is_not_the_best():
    """Guessing scores 10 %, and the other cell less."""
    values, diverged = np.stack([0.08 + 0.001 * np.arange(5), np.full(5, np.nan)]), np.zeros((2, 5))
    diverged = diverged.astype(bool)
    diverged[1] = True
    grid = Grid({"rate": ("1", "9")}, (("1",), ("9",)), tuple(range(5)), values, diverged)
    assert answer(analyse(grid, ACCURACY)).startswith("best cell: rate 1 (8.20 %)")
    diverged[1, 0], values[1, 0] = False, 0.95
    assert answer(analyse(grid, ACCURACY)).startswith("best cell: rate 9 (27.0 %)")


def test_where_nothing_but_divergence_is_left_the_answer_says_so():
    grid = make()
    assert answer(analyse(grid, LOSS)).startswith("best cell")
    grid.values[:], grid.diverged[:] = np.nan, True
    alone = dataclasses.replace(grid, factors={}, cells=((),), values=grid.values[:1])
    alone = dataclasses.replace(alone, diverged=grid.diverged[:1])
    assert answer(analyse(alone, LOSS)) == "every finished replica diverged."
    alone.diverged[:] = False
    assert answer(analyse(alone, LOSS)) == "no results yet."


def test_interactions_and_simple_effects_lead():
    text = render(analyse(make(interaction=0.05), ACCURACY), width=200)
    assert text.index("Simple effects") < text.index("Averaged over the other factors")
    assert "activation gelu x dropout 0.2: +5." in text
    assert "(max-|t| of 2)" in text
    assert "gelu better than relu by" in text.splitlines()[0]
    assert "at dropout 0.2" in text.splitlines()[0]
    assert "2 of 2 two-way interactions not shown" in render(analyse(make(), ACCURACY), width=200)


def test_collapsed_replicas_are_told():
    text = render(analyse(make(collapse=True), ACCURACY), width=200)
    assert "1 diverged; survivors only: n 9" in text
    assert "1 did not train; survivors only: n 9" in text
    assert "diverged: 1 of 27 against 0 of 27, exact McNemar p 1.000 (Holm of 3)" in text
    assert "by exact sign-flip, not t" in text
    assert "1 replica missing" in text
    text = render(analyse(make(collapse=True), LOSS), width=200)
    assert "by exact signed-rank, not t" in text
    assert "better in" in text


def test_where_every_replica_diverged_the_exact_test_decides():
    cells = (("relu",), ("gelu",))
    grid = Grid({"activation": ("relu", "gelu")}, cells, tuple(range(10)), np.ones((2, 10)),
                np.zeros((2, 10), bool))  # fmt: skip
    grid.diverged[1] = True
    text = render(analyse(grid, ACCURACY), width=200)
    assert "p 0.002 (Holm of 1), by exact sign-flip, not t (10 replicas diverged" in text
    grid.values[1], grid.diverged[1] = 0.75, False
    text = render(analyse(grid, ACCURACY), width=200)
    assert "by exact sign-flip, not t (the same at every seed), n 10: worse" in text


def test_few_seeds_show_their_values():
    grid = make(2)
    text = render(analyse(grid, ACCURACY), width=200)
    shown = " ".join(f"{100 * value:.2f}" for value in grid.values[0])
    assert shown in text
    assert "mean" not in text.split("Level minus")[0]
    assert "n 2: no verdict (5 seeds or more give one)" in text


def test_units_and_digits():
    grid = make()
    large = Grid(grid.factors, grid.cells, grid.seeds, 1000 * grid.values, grid.diverged)
    tiny = Grid(grid.factors, grid.cells, grid.seeds, 1e-9 * grid.values, grid.diverged)
    assert f" {1000 * grid.values[0].mean():.1f} " in render(analyse(large, LOSS)).split("Level")[0]
    assert f"{1e-9 * grid.values[0].mean():.4g}" in render(analyse(tiny, LOSS))
    assert "pp" not in render(analyse(large, LOSS))
    assert "%  " not in render(analyse(large, LOSS))


def test_methods_explain_family_looks_and_margin():
    text = methods(analyse(make(interaction=0.05), ACCURACY, margin=0.005, looks=2))
    look = "at look 2 at the growing study, multiplied by 4"
    for part in ("family of 3", look, "+-0.5 pp", "Holm family of 7", "max-|t|"):
        assert part in text
    assert "corrected for nothing" in methods(analyse(make(), ACCURACY, exploratory=True))


def test_exploratory_metrics_are_marked():
    text = render_exploratory([analyse(make(), LOSS, exploratory=True)])
    assert text.startswith("Exploratory")
    assert "no verdicts" in text
    assert "better" not in text
    assert render_exploratory([]) == ""


def test_a_metrics_unit_stands_beside_its_numbers():
    grid = dataclasses.replace(make(), values=20 + make().values)
    decibels = Metric("psnr", unit="dB")
    text = render(analyse(grid, decibels, margin=0.5), width=100)
    first = text.splitlines()[0]
    assert re.search(r"best cell: .* \(\d+\.\d+ dB\)", " ".join(text.split()))
    assert "mean dB" in text and "+-0.5 dB" in text
    assert re.search(r"gelu - relu: \+0\.\d+ dB \[", text)
    assert "dB" not in render(analyse(grid, dataclasses.replace(decibels, unit="")), width=100)
    assert "%" not in first
