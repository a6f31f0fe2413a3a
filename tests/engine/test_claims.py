"""Claims: intervals, judgements, verdicts, and a tiny claim from the command line to its table."""

import dataclasses
import json
import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from experiments import EXPERIMENTS, Entry, claims
from experiments.engine import claim_text, claiming, cli
from experiments.engine.claims import (
    Claim,
    Published,
    Quantity,
    Rule,
    judge,
    mean_interval,
    median_interval,
    verdicts,
)
from experiments.engine.reopen import reopen
from tests.engine.toy import TOY

pytestmark = pytest.mark.usefixtures("one_build")

ERROR = Quantity("error", "%", lambda lines: 100 * lines[-1]["test_error"], decimals=1)
PAPER = Published(10.0, "paper", "nowhere")
CODE = Published(12.0, "code", "nowhere")


def claim(*rules: Rule, seeds: int = 5, **changes) -> Claim:
    rows = {row: {} for rule in rules for row in rule.rows}
    return Claim(
        "A title", "toy", "A recipe.", rows, rules, ERROR, "seconds", seeds=seeds, **changes
    )


def verdict(rule: Rule, seeds: int = 5, looks: int = 1, **values: Any):
    (finding,) = judge(claim(rule, seeds=seeds), {k: np.array(v) for k, v in values.items()}, looks)
    return finding


# ---------------------------------------------------------------- intervals


def test_the_t_interval_of_a_mean():
    """t(0.95, 4) = 2.131847 from tables; sd of 1 .. 5 is sqrt(2.5)."""
    low, high = mean_interval(np.arange(1.0, 6.0), 0.1) or (0, 0)
    half = 2.131847 * math.sqrt(2.5 / 5)
    np.testing.assert_allclose([low, high], [3 - half, 3 + half], rtol=1e-6)
    assert mean_interval(np.array([1.0, 2.0]), 0.1) is None


def test_the_median_interval_is_a_pair_of_order_statistics():
    """Chance that all five lie on one side of the median: 2 / 32; one of nine or none: 20 / 512."""
    assert median_interval(np.array([5.0, 1, 4, 2, 3]), 0.1) == (1, 5)
    assert median_interval(np.array([4.0, 1, 2, 3]), 0.1) is None
    assert median_interval(np.array([5.0, 1, 4, 2, 3]), 0.06) is None
    assert median_interval(np.arange(9.0), 0.1) == (1, 7)
    assert median_interval(np.arange(9.0), 0.03) == (0, 8)
    assert median_interval(np.array([5.0, 1, np.inf, 2, 3]), 0.1) == (1, np.inf)


@pytest.mark.parametrize("n", [3, 5, 8])
def test_intervals_cover_what_they_say(n):
    """Over 4,000 draws: the mean of a normal, the median of a skewed sample (n >= 5)."""
    random = np.random.default_rng(n)
    normal, skewed = random.normal(size=(4000, n)), random.exponential(size=(4000, n))
    found = [mean_interval(sample, 0.1) for sample in normal]
    share = np.mean([low <= 0 <= high for low, high in filter(None, found)])
    assert abs(share - 0.9) < 4 * math.sqrt(0.09 / 4000)
    if n >= 5:
        found = [median_interval(sample, 0.1) for sample in skewed]
        share = np.mean([low <= math.log(2) <= high for low, high in filter(None, found)])
        exact = 1 - 2 * stats.binom.cdf({5: 0, 8: 1}[n], n, 0.5)
        assert exact >= 0.9 and abs(share - exact) < 4 * math.sqrt(exact * (1 - exact) / 4000)


# ---------------------------------------------------------------- rules


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [
        ((9, 11), "reproduced"),
        ((9.95, 11), "inconclusive"),
        ((10.05, 11), "inconclusive"),
        ((10.2, 11), "not reproduced"),
        ((8, 9.8), "not reproduced"),
        ((-math.inf, 10.2), "reproduced"),
        ((10.2, math.inf), "not reproduced"),
    ],
)
def test_a_mean_is_judged_by_its_interval(bounds, expected):
    values = [9.9, 10.1, 10.0, 9.9, 10.1]  # 10 +- 0.0953
    finding = verdict(Rule("mean", ("a",), *bounds), a=values)
    assert (finding.verdict, finding.n, finding.reason) == (expected, 5, "")
    assert finding.estimate == pytest.approx(10)
    np.testing.assert_allclose(finding.interval or 0, [9.9047, 10.0953], atol=1e-4)


def test_differences_and_ratios_are_paired():
    first = np.array([10.0, 20, 30, 40, 50])
    shift = np.array([0.9, 1.1, 1.0, 0.9, 1.1])
    finding = verdict(Rule("difference", ("a", "b"), high=-0.5), a=first, b=first + shift)
    assert finding.verdict == "reproduced" and finding.estimate == pytest.approx(-1)
    np.testing.assert_allclose(finding.interval or 0, [-1.0953, -0.9047], atol=1e-4)
    finding = verdict(Rule("ratio", ("a", "b"), 2, 4), a=3 * first * shift, b=first)
    logs = np.log(shift)
    half = 2.131847 * logs.std(ddof=1) / math.sqrt(5)
    expected = 3 * np.exp([logs.mean() - half, logs.mean() + half])
    np.testing.assert_allclose(finding.interval or 0, expected, rtol=1e-6)
    assert finding.verdict == "reproduced"


def test_a_seed_without_its_pair_is_left_out():
    rule = Rule("difference", ("a", "b"), high=0)
    values: dict[str, Any] = {"a": [1.0, 2, 3, 4, np.nan], "b": [2.0, 3.1, 4, np.nan, 9]}
    finding = verdict(rule, seeds=3, **values)
    assert (finding.n, finding.verdict) == (3, "reproduced")
    assert verdict(rule, seeds=4, **values).reason == "3 of 4 seeds"


@pytest.mark.parametrize("values", [[], [10.0], [10.0, 10.1, 9.9, 10.0]])
def test_fewer_seeds_than_declared_give_no_verdict(values):
    finding = verdict(Rule("mean", ("a",), 9, 11), a=values)
    assert finding.verdict == "inconclusive" and finding.reason == f"{len(values)} of 5 seeds"


def test_without_an_interval_there_is_no_verdict():
    finding = verdict(Rule("mean", ("a",), 0, 99), seeds=2, a=[10.0, 10.1])
    assert (finding.verdict, finding.reason) == ("inconclusive", "no interval from n 2")
    assert finding.estimate == pytest.approx(10.05)
    for statistic in ("mean", "difference", "ratio"):
        rows = ("a",) if statistic == "mean" else ("a", "b")
        lost = verdict(Rule(statistic, rows, 0, 99), a=[10.0, 10, 10, 10, np.inf], b=[1.0] * 5)
        assert (lost.verdict, lost.reason) == (
            "inconclusive",
            "a replica diverged, or never got there",
        )
    median = verdict(Rule("median", ("a",), 0, 99), a=[10.0, 11, 10, 10, np.inf])
    assert (median.verdict, median.estimate) == ("inconclusive", 10)


def test_every_further_look_widens_the_interval():
    values: dict[str, Any] = {"a": [9.9, 10.1, 10.0, 9.9, 10.1]}
    rule = Rule("mean", ("a",), 9.9, 10.1)
    assert verdict(rule, **values).verdict == "reproduced"
    assert verdict(rule, looks=2, **values).verdict == "inconclusive"


def test_the_worst_rule_decides_and_each_source_is_judged_by_itself():
    values = {"a": np.array([9.9, 10.1, 10.0, 9.9, 10.1]), "b": np.full(5, 20.0)}
    paper = Rule("mean", ("a",), 9, 11, PAPER)
    code = Rule("mean", ("a",), 11, 13, CODE)
    order, wrong = (Rule("difference", rows, high=0) for rows in (("a", "b"), ("b", "a")))

    def judged(*rules):
        return verdicts(judge(claim(*rules), values))

    assert judged(paper, code) == {"paper": "reproduced", "code": "not reproduced"}
    assert judged(paper, code, order) == judged(paper, code)
    assert judged(paper, wrong) == {"paper": "not reproduced"}
    assert judged(order) == {"": "reproduced"} and judged(order, wrong) == {"": "not reproduced"}


# ---------------------------------------------------------------- lines


def recorded(cell, seed, error, *, status="finished", final=True, phase="report"):
    own = {"phase": phase, "cell": cell, "tuned": {}, "seed": seed}
    curve = [{**own, "epoch": e, "train_loss": 1 / e} for e in (1, 2)]
    last = {**own, "final": True, "lines": 2, "status": status, "test_error": error}
    return [*curve, last][: 2 + final]


def test_values_come_from_the_recorded_lines_of_finished_replicas():
    lines = [
        *recorded(0, 3, 0.1), *recorded(1, 3, 0.2), *recorded(0, 4, None, status="diverged"),
        *recorded(1, 4, 0.3, final=False), *recorded(0, 5, 0.9, phase="tune"),
    ]  # fmt: skip
    two = claim(Rule("difference", ("a", "b")))
    values = claiming.values_of(two, lines)
    np.testing.assert_array_equal(values["a"], [10, np.inf])
    np.testing.assert_array_equal(values["b"], [20, np.nan])
    overflowed = [*recorded(1, 3, 0.2), *recorded(1, 4, None)]
    np.testing.assert_array_equal(claiming.values_of(two, overflowed)["b"], [20, np.inf])
    chance = dataclasses.replace(two, quantity=dataclasses.replace(ERROR, worst=90.0))
    np.testing.assert_array_equal(claiming.values_of(chance, lines)["a"], [10, 90])

    def epochs_to_a_loss(own):
        return next(line["epoch"] for line in own if line["train_loss"] <= 0.5)

    steps = dataclasses.replace(two, quantity=Quantity("epochs", "", epochs_to_a_loss))
    assert claiming.values_of(steps, lines)["b"][0] == 2


# ---------------------------------------------------------------- the command


TINY = Claim(
    "A line through sixty points",
    "toy",
    "Gradient descent.",
    rows={"slow": {"rate": "0.001"}, "fast": {"rate": "0.03|0.1"}},
    rules=(
        Rule("mean", ("fast",), 0, 50, Published(10, "paper", "table 9 (from memory)")),
        Rule("mean", ("fast",), 1000, 1001, Published(1000, "authors' code", "a README (read)")),
        Rule("difference", ("fast", "slow"), high=0),
    ),
    quantity=ERROR,
    cost="seconds",
    config={"epochs": "4"},
    seeds=3,
    tune_seeds=1,
)
TOYS = {"toy": Entry("a line", lambda: TOY)}


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    """Runs `claim ...` on two tiny claims, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    slow = dataclasses.replace(TINY, needs_gpu=True, cost="9 h", seeds=4)
    monkeypatch.setattr(claims, "CLAIMS", {"tiny": TINY, "huge": slow})

    def run(*argv: str, experiments=TOYS) -> tuple[int, str, str]:
        code = cli.main(experiments, ["claim", *argv], prog="launch.py")
        return code, *capsys.readouterr()

    return run


@pytest.mark.slow
def test_a_claim_is_a_study_that_is_judged_listed_and_taken_up(command, tmp_path):
    code, out, err = command()
    assert (code, err) == (0, "")
    assert (
        "10.0 % (paper), 1000.0 % (authors' code) error. not run; seconds: launch.py claim tiny"
        in (" ".join(out.split()))
    )
    code, out, err = command("tiny")
    assert code == 0 and "8 replicas in 1 program" in err
    assert "paper: reproduced, authors' code: not reproduced" in out
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder.name.startswith("toy-tiny-") and f"folder: runs/{folder.name}\n" in out
    contents = json.loads((folder / "study.json").read_text())
    assert contents["question"] == claim_text.question(TINY)
    assert "mean of fast in [0.0, 50.0] % for 10.0 % (paper)" in contents["question"]
    assert list(contents["arms"]) == ["slow", "fast"] and contents["seeds"] == 3
    assert contents["arms"]["fast"]["rate"] == ["0.03", "0.1"]
    again = command("tiny")
    assert again[1] == out and "every replica was trained before" in again[2]
    listed = " ".join(command()[1].split())
    assert "error. paper: reproduced, authors' code: not reproduced" in listed
    assert command("--out", "runs")[1] == command("--out", f"runs/{folder.name}")[1]
    assert "error. paper: reproduced" in " ".join(command("--out", "runs")[1].split())
    assert "error. paper: reproduced" not in command("--out", "nowhere")[1]
    (tmp_path / "runs" / "a_damaged_one").mkdir()
    (tmp_path / "runs" / "a_damaged_one" / "study.json").write_text("{")
    assert "error. paper: reproduced" in " ".join(command("--out", "runs")[1].split())
    reported = reopen(TOYS, folder).report(100)
    assert "fast" in reported and claim_text.question(TINY)[:40] in reported


@pytest.mark.slow
def test_the_table_has_a_row_per_rule(command, tmp_path):
    command("tiny", "--out", "here")
    code, out, err = command("--table", "--out", "here")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert len(lines) == 2 + 2 * len(TINY.rules)
    assert {line.count("|") for line in lines} == {7}
    assert lines[0].startswith("| claim | published | accepted | measured (90 % interval) | n |")
    assert lines[2].startswith("| `tiny`, error | 10.0 % (paper) | mean of fast in [0.0, 50.0] % |")
    assert lines[2].endswith("| 3 | reproduced |")
    assert lines[3].endswith("| 3 | not reproduced |")
    assert "| fast minus slow <= 0.0 pp |" in lines[4]
    assert lines[5].startswith("| `huge`") and lines[5].endswith("| not run (9 h) |")


@pytest.mark.slow
def test_fewer_seeds_end_inconclusive_and_more_are_a_further_look(command):
    text = command("tiny", "--seeds", "2")[1]
    assert "tiny, error (90 % intervals): inconclusive\n" in text
    assert text.count("\n      2 of 3 seeds\n") == 3
    first = command("tiny")[1].partition("Claim tiny")[2]
    assert "paper: reproduced" in first
    more = command("tiny", "--seeds", "4")[1].partition("Claim tiny")[2]
    assert "  4      reproduced" in more and more != first


@pytest.mark.slow
def test_rules_changed_after_a_run_began_are_named(command, monkeypatch):
    assert "declared differently" not in command("tiny")[1]
    easier = (Rule("mean", ("fast",), 0, 5000, PAPER),)
    monkeypatch.setattr(claims, "CLAIMS", {"tiny": dataclasses.replace(TINY, rules=easier)})
    text = " ".join(command("tiny")[1].split())
    assert f"declared differently when this was begun: {claim_text.question(TINY)}" in text


def test_a_claim_that_needs_a_gpu_is_not_started_on_a_cpu(command, tmp_path):
    code, out, err = command("huge")
    assert (code, out) == (2, "")
    assert err == (
        "launch.py: huge needs a GPU (9 h); launch.py claim huge --force trains it on this CPU\n"
    )
    code, out, _ = command("huge", "--dry-run")
    assert code == 0 and "2 cells x 4 seeds" in out and not (tmp_path / "runs").exists()
    assert command("huge", "--force")[0] == 0


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["tinny"], "unknown claim 'tinny'; did you mean 'tiny'?"),
        (["zzz"], "unknown claim 'zzz'; known: tiny, huge"),
        (["tiny", "--seed", "3"], "unknown option --seed; did you mean --seeds?"),
        (["tiny", "--seeds", "0"], "--seeds 0: at least one seed"),
        (["tiny", "--rate", "0.1"], "unknown option --rate"),
        (["--tabel"], "unknown option --tabel; did you mean --table?"),
        (["--table", "tiny"], "--table: expected true or false"),
        (["--out", "nowhere"], "nowhere: there is no such folder"),
        (["--table", "--out", "nowhere"], "nowhere: there is no such folder"),
    ],
)
def test_mistakes_get_one_line(command, tmp_path, argv, message):
    code, out, err = command(*argv)
    assert (code, out) == (2, "") and err.startswith("launch.py: ") and message in err
    assert not (tmp_path / "runs").exists()


def test_help_and_a_script_of_ones_own(command):
    code, out, err = command("--help")
    assert (code, err) == (0, "") and "tiny  A line through sixty points" in out
    assert "--force" in command("tiny", "--help")[1] and "--seeds" in command("tiny", "--help")[1]
    code, _, err = command(experiments={"mine": EXPERIMENTS["mlp"]})
    assert code == 2 and "python launch.py claim" in err
