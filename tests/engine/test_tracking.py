"""TensorBoard events: every recorded number of every replica once, whatever happens to the log."""

import struct

import pytest

from experiments.engine.errors import UsageError
from experiments.engine.log import Log, line_key, read_lines
from experiments.engine.trackers import TensorBoard, trackers
from experiments.engine.tracking import Feed, tracked
from tests.engine.page_folder import write_folder

pytest.importorskip("tensorboardX", reason="needs the extra `track`")

GRID = {"vary": {"rate": [0.03, 0.1]}, "seeds": 2}


def events(folder):
    """(run, tag, step) -> value, and run -> hyper-parameters, of all event files."""
    from tensorboardX.proto.event_pb2 import Event  # pyright: ignore[reportAttributeAccessIssue]
    from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData  # pyright: ignore[reportAttributeAccessIssue]

    scalars, hyper = {}, {}
    for path in sorted((folder / "tensorboard").rglob("events*")):
        run, content = str(path.parent.relative_to(folder / "tensorboard")), path.read_bytes()
        while content:
            (size,) = struct.unpack("<Q", content[:8])
            event, content = Event.FromString(content[12 : 12 + size]), content[16 + size :]
            for value in event.summary.value:
                if value.tag == "_hparams_/session_start_info":
                    known = HParamsPluginData.FromString(value.metadata.plugin_data.content)
                    hyper[run] = known.session_start_info.hparams
                elif not value.tag.startswith("_hparams_"):
                    assert (run, value.tag, event.step) not in scalars
                    scalars[run, value.tag, event.step] = value.simple_value
    return scalars, hyper


def said_by(folder, study, **wanted):
    said = []
    with tracked(folder, trackers(folder, study, **wanted), said.append):
        pass
    return said


def test_every_number_of_every_replica_is_there_once(tmp_path):
    opened = write_folder(tmp_path / "study", **GRID, epochs=3)
    assert said_by(opened.folder, opened.study, tensorboard=True) == []
    scalars, hyper = events(opened.folder)
    assert set(hyper) == {f"report/cell_{c}/seed_{s}" for c in (0, 1) for s in (0, 1)}
    run = hyper["report/cell_1/seed_1"]
    assert (run["rate"].number_value, run["seed"].number_value) == (0.1, 1.0)
    assert run["phase"].string_value == "report"
    for line in read_lines(opened.folder):
        name = f"report/cell_{line['cell']}/seed_{line['seed']}"
        if line.get("final"):
            assert scalars[name, "final/test_error", 15] == pytest.approx(line["test_error"])
        else:
            tag = (name, "validation_error", line["step"])
            assert scalars[tag] == pytest.approx(line["validation_error"])
    assert len(scalars) == 4 * (3 * 3 + 4)


def test_a_log_that_was_rewritten_is_told_anew(tmp_path):
    opened = write_folder(tmp_path / "study", **GRID, epochs=3)
    first = ("report", 0, (), 0)

    def rewrite():
        feed = Feed(opened.folder, TensorBoard(opened.folder, opened.study))
        feed.read()
        lines = read_lines(opened.folder)
        again = [line | {"train_loss": 7.25} for line in lines if line_key(line) == first]
        with Log(opened.folder) as log:
            log.keep({line_key(line) for line in lines} - {first})
            log.write([{n: v for n, v in line.items() if n != "crc"} for line in again])
        feed.read()
        feed.read()
        feed.close()

    rewrite()
    scalars, hyper = events(opened.folder)
    assert len(hyper) == 4 and len(scalars) == 4 * (3 * 3 + 4) + 1
    assert scalars["report/cell_0/seed_0", "train_loss", 5] == 7.25
    assert scalars["report/cell_0/seed_1", "train_loss", 5] != 7.25


def test_they_are_off_unless_asked_for_and_go_on_where_they_were(tmp_path):
    opened = write_folder(tmp_path / "study", **GRID)
    said_by(opened.folder, opened.study)
    assert not (opened.folder / "tensorboard").exists()
    said_by(opened.folder, opened.study, tensorboard=True)
    before = events(opened.folder)
    said_by(opened.folder, opened.study)
    assert events(opened.folder) == before


def test_what_fails_is_told_and_does_not_stop_the_study(tmp_path, monkeypatch):
    opened = write_folder(tmp_path / "study", **GRID)

    def fail(self, line):
        raise OSError("no space")

    monkeypatch.setattr(TensorBoard, "begin", fail)
    (said,) = said_by(opened.folder, opened.study, tensorboard=True)
    assert said == "warning: no further TensorBoard events: OSError: no space"


def test_without_tensorboardx_it_says_what_to_install(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    opened = write_folder(tmp_path / "study", **GRID)
    with pytest.raises(UsageError, match="--tensorboard needs the extra `track`: python -m pip"):
        said_by(opened.folder, opened.study, tensorboard=True)
