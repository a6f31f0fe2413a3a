"""`record.json`: where a study came from, and what each later session found different."""

import dataclasses
import hashlib
import importlib
import pathlib
import sys
import tarfile

import pytest

from experiments.engine import record
from experiments.engine.record import (
    begin_record,
    continue_record,
    differences,
    doubts,
    make_record,
    told,
)
from experiments.engine.sealed import read_json, write_json
from experiments.engine.sources import archive_sources, source_digests, sources
from tests.engine.toy import TOY, load

DATA = [load(None, None)]
STEP = "experiments/engine/step.py"


@pytest.fixture
def folder(tmp_path):
    begin_record(tmp_path, DATA)
    return tmp_path


def go_on(folder):
    said = []
    continue_record(folder, DATA, said.append)
    return read_json(folder / "record.json"), said


def alter(monkeypatch, **changes):
    """Another environment: the record that would be made is changed."""

    def made(datasets):
        now = make_record(datasets)
        for name, value in changes.items():
            now[name] = {**now[name], **value} if isinstance(value, dict) else value
        return now

    monkeypatch.setattr(record, "make_record", made)


def members(path):
    with tarfile.open(path) as archive:
        return {
            member.name: archive.extractfile(member).read()  # type: ignore[union-attr]
            for member in archive.getmembers()
        }


def test_a_new_record_archives_what_it_digests(folder):
    found = read_json(folder / "record.json")
    assert found["sessions"] == []
    assert found["data"] == [{"name": "line", "digest": DATA[0].digest}]
    kept = members(folder / "sources.tar.gz")
    assert kept.pop("uncommitted.patch") is not None
    assert {name: hashlib.sha256(c).hexdigest() for name, c in kept.items()} == found["sources"]
    assert {STEP, "tests/engine/toy.py"} <= set(kept)
    assert not any("site-packages" in name or name.startswith("jax/") for name in kept)
    assert set(map(str, sources())) == set(found["sources"])


def test_sources_are_those_that_were_imported_whatever_their_files_say_later(tmp_path, monkeypatch):
    name, file = "a_net_of_its_own", tmp_path / "a_net_of_its_own.py"
    monkeypatch.syspath_prepend(tmp_path)
    file.write_text("WIDTH = 1\n")
    module = importlib.import_module(name)
    monkeypatch.setitem(sys.modules, name, module)  # gone after the test
    dataclasses.replace(TOY, name="other")  # an experiment is declared
    digests = source_digests()
    file.write_text("WIDTH = 22\n")
    archive_sources(tmp_path / "x.tar.gz")
    assert members(tmp_path / "x.tar.gz")[f"outside/{name}.py"] == b"WIDTH = 1\n"
    assert source_digests() == digests
    assert importlib.reload(module).WIDTH == 22
    assert sources()[pathlib.PurePosixPath(f"outside/{name}.py")] == b"WIDTH = 22\n"
    assert source_digests() != digests


def test_every_session_is_noted_without_a_word_while_nothing_differs(folder):
    before = read_json(folder / "record.json")
    for count in (1, 2):
        found, said = go_on(folder)
        assert said == [] and len(found["sessions"]) == count
        assert found["sessions"][-1]["differs"] == {}
        assert found["sessions"][-1]["command"] == before["command"]
    assert {**found, "sessions": []} == before
    assert [path.name for path in folder.glob("sources*")] == ["sources.tar.gz"]


@pytest.mark.parametrize(
    ("changes", "name", "line"),
    [
        ({"packages": {"jax": "9.9"}}, "packages.jax", "here"),
        ({"packages": {"new": "1.0"}}, "packages.new", "packages.new: None there, 1.0 here"),
        ({"python": "4.0"}, "python", ", 4.0 here"),
        ({"device": {"kind": "abacus"}}, "device.kind", "device.kind: cpu there, abacus here"),
        ({"xla_flags": "--x"}, "xla_flags", ", --x here"),
        ({"jax_config": {"enable_x64": True}}, "jax_config.enable_x64", "False there, True here"),
    ],
)
def test_another_environment_is_told_and_noted(folder, monkeypatch, changes, name, line):
    alter(monkeypatch, **changes)
    found, said = go_on(folder)
    assert said[0].startswith("warning: begun in another environment") and len(said) == 3
    assert said[2].startswith("  ") and line in said[2]
    assert list(found["sessions"][0]["differs"]) == [name]
    assert found["packages"] == read_json(folder / "record.json")["packages"]
    assert {path.name for path in folder.glob("sources*")} == {"sources.tar.gz"}
    (told_again,) = doubts(folder)
    assert told_again == f"1 session differed from the first: {said[2].strip()}"


def test_changed_code_is_told_and_kept(folder, monkeypatch):
    alter(monkeypatch, sources={STEP: "0"}, python="4.0")
    found, said = go_on(folder)
    assert said[0].startswith("warning: the code has changed since this study began")
    assert said[2] == f"  source files: {STEP}"
    assert said[3].startswith("warning: begun in another environment") and len(said) == 6
    assert list(found["sessions"][0]["differs"]) == ["python", f"sources.{STEP}"]
    assert {path.name for path in folder.glob("sources*")} == {"sources.tar.gz", "sources-1.tar.gz"}
    go_on(folder)
    (text,) = doubts(folder)
    assert text.startswith("2 sessions differed from the first: python: ")
    assert text.endswith(f", 4.0 here; source files: {STEP}")


def test_what_does_not_decide_the_bits_is_no_difference(folder, monkeypatch):
    alter(
        monkeypatch, time="later", command=["x"], platform="y", git={"commit": "z"}, data=[],
        sources={"outside/more.py": "0"}, lock_sha256="0",
    )  # fmt: skip
    assert go_on(folder)[1] == []


def test_the_sources_of_every_session_are_kept(folder, monkeypatch):
    first = (folder / "sources.tar.gz").read_bytes()
    for number in (1, 2):
        alter(monkeypatch, sources={STEP: str(number)})
        go_on(folder)
        monkeypatch.undo()
    assert sorted(path.name for path in folder.glob("sources*")) == [
        "sources-1.tar.gz", "sources-2.tar.gz", "sources.tar.gz",
    ]  # fmt: skip
    assert (folder / "sources.tar.gz").read_bytes() == first
    assert STEP in members(folder / "sources-2.tar.gz")


@pytest.mark.parametrize("text", ["{}", "", None])
def test_a_damaged_record_begins_anew_and_keeps_the_first_sources(folder, text):
    path, first = folder / "record.json", (folder / "sources.tar.gz").read_bytes()
    path.unlink() if text is None else path.write_text(text)
    found, said = go_on(folder)
    assert len(said) == 1 and said[0].startswith(f"warning: {path} cannot be read (")
    assert found["data"] == [{"name": "line", "digest": DATA[0].digest}]
    assert [session["differs"] for session in found["sessions"]] == [{}]
    assert (folder / "sources.tar.gz").read_bytes() == first
    assert (folder / "sources-1.tar.gz").exists()
    assert found["begun_anew"] is True
    kept = folder / "record.damaged-1.json"
    assert kept.read_text() == text if text is not None else not kept.exists()
    assert ("kept as record.damaged-1.json" in said[0]) == (text is not None)


def test_differences_in_words():
    old = {"python": "1", "device": {"kind": "a"}, "sources": {f"{i}.py": "x" for i in range(6)}}
    new = {"python": "1", "device": {"kind": "b"}, "sources": {f"{i}.py": "y" for i in range(6)}}
    assert differences(old, old) == {}
    assert told(differences(old, new)) == [
        "device.kind: a there, b here",
        "source files: 0.py, 1.py, 2.py, 3.py and 2 more",
    ]
    gone = {**old, "sources": {"0.py": "x"}}
    assert differences(old, gone) == differences(gone, old) == {}


def test_a_user_s_file_that_was_renamed_and_changed_is_a_difference():
    def files(**outside):
        return {"sources": {f"outside/{name}.py": text for name, text in outside.items()}}

    assert differences(files(mine="x"), files(renamed="x")) == {}
    assert differences(files(mine="x", helper="z"), files(mine="x")) == {}
    assert differences(files(mine="x"), files(mine="x", helper="z")) == {}
    found = differences(files(mine="x"), files(renamed="y"))
    assert found == {"sources.outside/renamed.py": [None, "y"]}
    assert told(found) == ["source files: outside/renamed.py"]


def test_results_of_other_sources_are_told(tmp_path, train_toy):
    """Not only where something trains: a finished study answers with what was trained then."""
    said = []
    whole = train_toy(seeds=1).folder
    train_toy(seeds=1, out=whole, echo=said.append)
    assert not [line for line in said if "other" in line]
    path = whole / "record.json"
    begun = read_json(path)
    write_json(path, {**begun, "sources": {**begun["sources"], "tests/engine/toy.py": "0"}})
    train_toy(seeds=1, out=whole, echo=said.append)
    assert (
        "warning: these results are of other source files: tests/engine/toy.py; another --out "
        "trains by those of now"
    ) in said
