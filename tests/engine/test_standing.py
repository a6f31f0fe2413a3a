"""How replicas stand while they train, as the terminal shows it."""

import io

from rich.console import Console

from experiments.engine import progress
from experiments.engine.standing import Board, standing_text, standings
from experiments.engine.statistics import Metric
from experiments.engine.study import make_study
from tests.engine.toy import TOY

ACCURACY = Metric("accuracy", chance=0.1)
ERROR = Metric("error", higher_is_better=False)
STUDY = make_study(TOY, vary={"rate": [0.03, 0.1]}, seeds=3)


def line(cell, seed, value, *, name="accuracy", diverged=False, **rest):
    scored = {"epoch": 1, "step": 5, "diverged": diverged, f"validation_{name}": value}
    return {"phase": "report", "cell": cell, "tuned": {}, "seed": seed} | scored | rest


def test_the_best_mean_comes_first_and_what_diverged_last():
    lines = [line(0, 0, 0.5), line(0, 1, 0.7), line(1, 0, 0.9), line(1, 1, 0.8, diverged=True)]
    assert [each.cell for each in standings(lines, ACCURACY)] == [0, 1]
    lines[3] |= {"diverged": False}
    assert [each.cell for each in standings(lines, ACCURACY)] == [1, 0]
    lines = [line(cell, 0, 0.5 + cell, name="error") for cell in (1, 0)]
    assert [each.cell for each in standings(lines, ERROR)] == [0, 1]


def test_only_the_latest_score_of_a_seed_counts():
    lines = [line(0, 0, 0.1), line(0, 0, 0.6, epoch=2), line(0, 0, None, diagnosis={})]
    del lines[2]["diverged"]
    (only,) = standings(lines, ACCURACY)
    assert (only.summary.n, only.summary.mean) == (1, 0.6)


def test_text_of_several_cells_of_one_and_of_none():
    lines = [line(0, seed, 0.5) for seed in range(3)]
    lines += [line(1, seed, value) for seed, value in enumerate((0.6, 0.7, 0.8))]
    text = "6 of 6 alive, best rate=0.1: validation accuracy 70.0 % [45.2, 94.8] (3 seeds)"
    assert standing_text(STUDY, ACCURACY, lines) == text
    one = "1 of 1 alive, validation accuracy 50.0 % (1 seed)"
    assert standing_text(STUDY, ACCURACY, lines[:1]) == one
    tuned = [line(0, 0, 0.25, name="error", tuned={"decay": value}) for value in ("0.1", "1.0")]
    tuned[1]["validation_error"] = 0.5
    best = "2 of 2 alive, best rate=0.03 decay=0.1: validation error 0.25 (1 seed)"
    assert standing_text(STUDY, ERROR, tuned) == best
    nats = Metric("error", higher_is_better=False, unit="nats")
    assert standing_text(STUDY, nats, tuned) == best.replace("0.25", "0.25 nats")
    lost = [line(0, 0, None, diverged=True), line(1, 0, float("nan"), diverged=True)]
    assert standing_text(STUDY, ACCURACY, lost) == "0 of 2 alive"
    assert standing_text(STUDY, ACCURACY, []) == ""


def test_replicas_that_trained_before_count_but_not_those_that_tuned():
    tuned = line(1, 7, 0.9) | {"phase": "tune"}
    board = Board(STUDY, ACCURACY, [tuned, line(0, 0, 0.1), line(0, 1, 0.4)])
    assert board([line(0, 0, 0.6)]) == "2 of 2 alive, validation accuracy 50.0 % (2 seeds)"
    later = board([line(1, 0, 0.7)])
    assert later == "3 of 3 alive, best rate=0.1: validation accuracy 70.0 % (1 seed)"
    assert board([{**tuned, "diagnosis": {}}]).startswith("1 of 1 alive, validation accuracy 90.0")
    assert board([]) == ""


def test_the_meter_shows_it_in_plain_lines_and_on_a_terminal(monkeypatch, capsys):
    monkeypatch.setattr(progress, "PLAIN_SECONDS", -1.0)
    with progress.Meter(100) as meter:
        meter.advance(10, "training: program 1/2")
        meter.note("3 of 3 alive")
        meter.advance(10, "training: program 1/2")
    first, second = capsys.readouterr().err.splitlines()
    assert first == " 10 %  training: program 1/2"  # how fast is known after the second call
    assert second.startswith(" 20 %  training: program 1/2; 3 of 3 alive  ")
    assert second.endswith(" s left")
    screen = io.StringIO()
    terminal = Console(file=screen, force_terminal=True, width=100)
    monkeypatch.setattr(progress, "Console", lambda file: terminal)
    with progress.Meter(100) as meter:
        meter.note("3 of 3 alive")
        meter.advance(10, "training: program 1/2")
        assert meter._bar is not None
        meter._bar.refresh()
    shown = screen.getvalue()
    assert "training: program 1/2" in shown and "3 of 3 alive" in shown and "10 %" in shown


def test_a_quiet_meter_says_nothing(monkeypatch, capsys):
    monkeypatch.setattr(progress, "PLAIN_SECONDS", -1.0)
    with progress.Meter(10, quiet=True) as meter:
        meter.note("1 of 1 alive")
        meter.advance(5, "training")
    assert capsys.readouterr().err == ""
