"""Weights & Biases runs: each replica's curves, hyper-parameters and results, once."""

import json
import sys

import pytest

from experiments.engine.errors import UsageError
from experiments.engine.log import read_lines
from experiments.engine.sealed import write_json
from experiments.engine.trackers import WeightsAndBiases, trackers
from experiments.engine.tracking import Feed, tracked
from tests.engine.page_folder import write_folder

GRID = {"vary": {"rate": [0.03, 0.1]}, "seeds": 2}


class FakeRun:
    """What a W&B run was told; `step` is the next that it would take."""

    def __init__(self, known, **given):
        self.given, self.logged, self.summary, self.ended = given, {}, {}, False
        self.step = known.get(given["id"], 0)

    def log(self, values, *, step):
        assert step not in self.logged
        self.logged[step] = values

    def finish(self):
        self.ended = True


class FakeModule:
    """The few names of `wandb` that are used."""

    def __init__(self, *, logged_in=True, known=None):
        self.runs, self._in, self._known = [], logged_in, known or {}

    def login(self, *, prompt, verify):
        assert not prompt and not verify
        return self._in

    def Settings(self, **given):
        return given

    def init(self, **given):
        self.runs.append(FakeRun(self._known, **given))
        return self.runs[-1]


@pytest.fixture
def opened(tmp_path):
    folder = write_folder(tmp_path / "study", **GRID, epochs=3)
    record = {"command": ["python"], "sessions": [], "time": "2026-01-02T03:04:05Z"}
    write_json(folder.folder / "record.json", record)
    return folder


def follow(opened, fake, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", fake)
    said = []
    with tracked(opened.folder, trackers(opened.folder, opened.study, wandb=True), said.append):
        pass
    return said


def test_every_replica_is_a_run_with_its_curves_and_results(opened, monkeypatch):
    fake = FakeModule()
    monkeypatch.setenv("WANDB_PROJECT", "mine")
    assert follow(opened, fake, monkeypatch) == []
    by_name = {run.given["name"]: run for run in fake.runs}
    assert set(by_name) == {f"report/cell_{c}/seed_{s}" for c in (0, 1) for s in (0, 1)}
    assert len({run.given["id"] for run in fake.runs}) == 4
    for line in read_lines(opened.folder):
        run = by_name[f"report/cell_{line['cell']}/seed_{line['seed']}"]
        assert run.given["project"] == "mine" and run.given["group"] == "study" and run.ended
        assert run.given["config"]["rate"] == (0.03, 0.1)[line["cell"]]
        if line.get("final"):
            assert run.summary["final/test_error"] == line["test_error"]
        else:
            assert run.logged[line["step"]]["validation_error"] == line["validation_error"]


def test_a_run_goes_on_where_w_and_b_knows_it_to_be(opened, monkeypatch):
    first = FakeModule()
    follow(opened, first, monkeypatch)
    again = FakeModule(known={run.given["id"]: 11 for run in first.runs})
    follow(opened, again, monkeypatch)
    assert [run.given["id"] for run in again.runs] == [run.given["id"] for run in first.runs]
    assert all(set(run.logged) == {15} for run in again.runs)
    assert all(set(run.logged) == {5, 10, 15} for run in first.runs)


def test_not_logged_in_is_said_before_anything_is_trained(opened, monkeypatch):
    monkeypatch.delenv("WANDB_MODE", raising=False)
    with pytest.raises(UsageError, match=r"`wandb login`, or WANDB_API_KEY; WANDB_MODE=offline"):
        follow(opened, FakeModule(logged_in=False), monkeypatch)
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert follow(opened, FakeModule(logged_in=False), monkeypatch) == []


def test_without_wandb_it_says_what_to_install(opened, monkeypatch):
    with pytest.raises(UsageError, match="--wandb needs the extra `track`: python -m pip install"):
        follow(opened, None, monkeypatch)


def test_the_real_one_keeps_its_runs_in_the_folder(opened, monkeypatch):
    pytest.importorskip("wandb", reason="needs wandb, of the extra `track`")
    monkeypatch.setenv("WANDB_MODE", "offline")
    feed = Feed(opened.folder, WeightsAndBiases(opened.folder, opened.study))
    feed.read()
    feed.close()
    files = sorted((opened.folder / "wandb").glob("offline-run-*/*.wandb"))
    assert len(files) == 4
    content = b"".join(path.read_bytes() for path in files)
    for line in read_lines(opened.folder):
        if not line.get("final"):
            assert json.dumps(line["validation_error"]).encode() in content
