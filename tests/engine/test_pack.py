"""`pack`: one archive that is complete, verifies, and says in words what was done."""

import hashlib
import os
import shutil
import stat
import tarfile

import pytest

from experiments import Entry
from experiments.engine import cli
from experiments.engine.errors import UsageError
from experiments.engine.log import read_lines
from experiments.engine.pack import methods, pack
from experiments.engine.parameters import parameters_path
from experiments.engine.reopen import reopen
from experiments.engine.sealed import read_json, write_json
from experiments.engine.sources import ROOT
from experiments.engine.study import make_study
from tests.engine.toy import TOY, Config, load

ENTRIES = {"toy": Entry(TOY.summary, lambda: TOY)}
GRID = {"vary": {"rate": [0.03, 0.1]}, "tune": {"decay": [0.0, 0.01]}, "tune_seeds": 2, "seeds": 3}
LEFT_OUT = {"MANIFEST.sha256", "METHODS.md", "requirements.lock"}


@pytest.fixture(scope="module")
def recorded(train_toy):
    return train_toy(config=Config(epochs=3), **GRID).folder


@pytest.fixture
def copy(recorded, tmp_path):
    return shutil.copytree(recorded, tmp_path / "study")


def packed(folder, out=None):
    return pack(reopen(ENTRIES, folder), out)


def files_of(archive):
    with tarfile.open(archive) as opened:
        return {
            member.name: opened.extractfile(member).read()  # type: ignore[union-attr]
            for member in opened.getmembers()
        }


def test_the_archive_holds_everything_and_verifies(copy, tmp_path):
    (copy / "checkpoints" / "000001").mkdir(parents=True)
    (copy / "checkpoints" / "000001" / "x").write_text("x")
    (copy / "lease.json.0a1b").write_text("{}")
    target, paragraph = packed(copy)
    assert target == tmp_path / "study.tar.gz"
    inside = {name.removeprefix("study/"): content for name, content in files_of(target).items()}
    wanted = {
        str(path.relative_to(copy)): path.read_bytes()
        for path in copy.rglob("*")
        if path.is_file() and "checkpoints" not in path.parts and "lease" not in path.name
    }
    assert {"parameters/cell_1-seed_2.npz", "sources.tar.gz", "report.txt"} <= set(wanted)
    assert {n: c for n, c in inside.items() if n not in LEFT_OUT} == wanted
    assert inside["requirements.lock"] == (ROOT / "requirements.lock").read_bytes()
    assert " ".join(inside["METHODS.md"].decode().split()) == f"# Methods {paragraph}"
    sums = {
        f"{hashlib.sha256(content).hexdigest()}  {name}"
        for name, content in inside.items()
        if name != "MANIFEST.sha256"
    }
    assert set(inside["MANIFEST.sha256"].decode().splitlines()) == sums
    with tarfile.open(target) as opened:
        opened.extractall(tmp_path / "read", filter="data")
    assert reopen(ENTRIES, tmp_path / "read" / "study").report(100) + "\n" == (
        (copy / "report.txt").read_text()
    )


def test_what_was_unpacked_can_be_packed_again(copy, tmp_path):
    """Without the checksums of the first archive, which has others."""
    with tarfile.open(packed(copy)[0]) as opened:
        opened.extractall(tmp_path / "read", filter="data")
    again = files_of(packed(tmp_path / "read" / "study", tmp_path / "again.tar.gz")[0])
    sums = again["study/MANIFEST.sha256"].decode().splitlines()
    assert len(sums) == len(again) - 1
    for line in sums:
        digest, name = line.split("  ")
        assert hashlib.sha256(again[f"study/{name}"]).hexdigest() == digest


def test_equal_folders_give_equal_bytes(copy, tmp_path):
    first, _ = packed(copy, tmp_path / "a.tar.gz")
    twin = shutil.copytree(copy, tmp_path / "elsewhere" / "study", copy_function=shutil.copyfile)
    second, _ = packed(twin, tmp_path / "b.tar.gz")
    assert first.read_bytes() == second.read_bytes()
    (twin / "notes.txt").write_text("other")
    assert packed(twin, tmp_path / "c.tar.gz")[0].read_bytes() != first.read_bytes()


def test_the_paragraph_says_what_was_done(recorded, copy, tmp_path):
    _, text = packed(recorded, tmp_path / "x.tar.gz")
    record = read_json(recorded / "record.json")
    for part in (
        "the grid of rate (0.03, 0.1) of the experiment toy",
        f"line (sha256 {load(None, None).digest[:12]})",
        "2 cells with 3 seeds each",
        "decay from {0, 0.01} was chosen by its mean validation score over 2 seeds of their own",
        "Settings beside the defaults: epochs 3.",
        "trained afresh. The test split was evaluated once, at the end.",
        "All 6 fields of every replica",
        f"Python {record['python']} with jax {record['packages']['jax']}, flax ",
        "on 2 devices of kind cpu",
        f"under commit {record['git']['commit'][:12]}",
    ):
        assert part in text, part
    assert "session" not in text and "\n" not in text
    record["git"] = {"commit": "f" * 40, "dirty": True}
    record["sessions"] = [{"differs": {"packages.jax": ["1", "2"]}}, {"differs": {}}]
    write_json(copy / "record.json", record)
    _, text = packed(copy)
    assert "under commit ffffffffffff, with uncommitted changes kept in its archive" in text
    assert "1 session differed from the first: packages.jax: 1 there, 2 here." in text
    assert "damaged" not in text
    write_json(copy / "record.json", record | {"begun_anew": True})
    assert f"before {record['time']} was damaged." in packed(copy)[1]
    assert "requirements.lock" in "".join(files_of(copy.with_name("study.tar.gz")))


def test_another_lock_file_is_not_that_of_the_record(copy):
    record = read_json(copy / "record.json")
    write_json(copy / "record.json", record | {"lock_sha256": "0" * 64})
    assert "study/requirements.lock" not in files_of(packed(copy)[0])


def test_a_study_of_one_cell_and_per_seed_tuning_in_words(train_toy, tmp_path):
    plain = train_toy(seeds=1).folder
    _, text = packed(plain, tmp_path / "x.tar.gz")
    assert "one configuration of the experiment toy" in text and "chosen by" not in text
    assert "Settings beside" not in text
    inside = train_toy(**GRID | {"tune_per_seed": True}).folder
    _, text = packed(inside, tmp_path / "y.tar.gz")
    assert "mean validation score within each reporting seed" in text


def test_arms_with_grids_of_their_own_are_told_apart(train_toy, tmp_path):
    arms = {"plain": {}, "decayed": {"decay": [0.0, 0.01]}, "slow": {"rate": [0.01, 0.03]}}
    _, text = packed(train_toy(arms=arms, seeds=1, tune_seeds=1).folder, tmp_path / "x.tar.gz")
    decayed, slow = "of arm=decayed decay from {0, 0.01}", "of arm=slow rate from {0.01, 0.03}"
    assert f"were chosen, {decayed}; {slow}; the reporting seeds" in text


def test_an_unfinished_study_is_refused(copy):
    path = copy / "metrics.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-1]))
    with pytest.raises(UsageError, match=rf"1 replica not finished; `resume {copy}` goes on"):
        packed(copy)
    assert not copy.with_name("study.tar.gz").exists()


@pytest.mark.parametrize("text", ["{}", "", "{"])
def test_a_damaged_record_is_refused(copy, text):
    (copy / "record.json").write_text(text)
    with pytest.raises(UsageError, match=r"record.json cannot be read"):
        packed(copy)
    (copy / "record.json").unlink()
    with pytest.raises(UsageError, match=r"record.json cannot be read"):
        packed(copy)


def test_parameters_that_are_not_those_of_the_record_are_refused(copy):
    path = parameters_path(copy, 1, 2)
    whole = path.read_bytes()
    path.write_bytes(parameters_path(copy, 1, 1).read_bytes())
    with pytest.raises(UsageError, match=r"seed_2.npz is missing, damaged or not what was"):
        packed(copy)
    path.unlink()
    with pytest.raises(UsageError, match=r"seed_2.npz is missing, damaged or not what was"):
        packed(copy)
    path.write_bytes(whole)
    packed(copy)


def test_a_table_that_is_not_that_of_the_lines_is_refused(copy):
    path = copy / "results.csv"
    text = path.read_text()
    number = text.splitlines()[1].split(",")[-2]
    for damaged in (text.replace(number, "0.125"), "".join(text.splitlines(keepends=True)[:-1])):
        path.write_text(damaged)
        with pytest.raises(UsageError, match=r"results.csv does not hold .* `resume .* anew"):
            packed(copy)
    assert cli.main(ENTRIES, ["resume", str(copy)], prog="launch.py") == 0
    assert path.read_text() == text and packed(copy)


@pytest.mark.parametrize("name", ["analysis.json", "report.txt"])
@pytest.mark.parametrize("damage", ["altered", "gone"])
def test_an_answer_that_is_not_that_of_the_lines_is_refused(copy, name, damage):
    path = copy / name
    whole = path.read_text()
    path.unlink() if damage == "gone" else path.write_text(whole.replace("0.", "1.", 1))
    with pytest.raises(UsageError, match=rf"{name} is missing, damaged or not .* writes it anew"):
        packed(copy)
    assert cli.main(ENTRIES, ["resume", str(copy)], prog="launch.py") == 0
    assert packed(copy)[0].exists()


def test_an_answer_sealed_with_other_numbers_is_refused(copy):
    saved = read_json(copy / "analysis.json")
    saved["cells"][0]["summary"]["mean"] += 1
    write_json(copy / "analysis.json", saved)
    with pytest.raises(UsageError, match=r"analysis.json is missing, damaged or not"):
        packed(copy)


def test_an_older_folder_has_no_digest_of_its_report(copy):
    contents = read_json(copy / "study.json")
    del contents["report_sha256"]
    write_json(copy / "study.json", contents)
    (copy / "report.txt").write_text("as another version had it")
    assert packed(copy)[0].exists()


def test_damaged_sources_are_refused_and_lost_ones_told(copy):
    path = copy / "sources.tar.gz"
    content = path.read_bytes()
    half = len(content) // 2
    flipped = [content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :] for at in (half, -6)]
    for damaged in (content[:half], *flipped):
        path.write_bytes(damaged)
        with pytest.raises(UsageError, match=r"sources.tar.gz is damaged .*: restore it, or rem"):
            packed(copy)
    path.unlink()
    assert packed(copy)[1].endswith(" The archive of its sources is lost.")
    path.write_bytes(content)
    assert "lost" not in packed(copy)[1]
    with tarfile.open(path, "w:gz") as other:
        other.add(__file__, "experiments/mlp.py")
    assert packed(copy)[1].endswith(" The archive of its sources is lost.")


@pytest.mark.parametrize("kind", ["a link", "a broken link", "a folder link", "a pipe", "a\nb"])
def test_what_an_archive_cannot_hold_is_refused(copy, kind):
    path = copy / kind
    match kind:
        case "a link":
            path.symlink_to(__file__)
        case "a broken link":
            path.symlink_to(copy / "nowhere")
        case "a folder link":
            path.symlink_to(copy.parent)
        case "a pipe":
            os.mkfifo(path)
        case _:
            path.write_text("x")
    with pytest.raises(UsageError, match="is no plain file with a plain name: move it away"):
        packed(copy)


def test_targets_that_cannot_be(copy, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("x")
    os.mkfifo(tmp_path / "pipe")
    for out, why in (
        (tmp_path / "no" / "x.tar.gz", "cannot be written: No such file or directory"),
        (tmp_path / "file" / "x.tar.gz", "cannot be written: Not a directory"),
        (tmp_path, "is a folder; name a file"),
        (tmp_path / "pipe", "is a device or a pipe; name a file"),
        ("~nobody-of-this-name/x", "there is no such user's home folder"),
        ("\udcff", "names of files must be text"),
    ):
        with pytest.raises(UsageError, match=why):
            packed(copy, out)
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
    (tmp_path / "link").symlink_to(tmp_path / "linked.tar.gz")
    assert packed(copy, tmp_path / "link")[0] == tmp_path / "linked.tar.gz"
    assert (tmp_path / "link").is_symlink()
    with pytest.raises(UsageError, match="is inside the study; choose another --out"):
        packed(copy, copy / "x.tar.gz")
    monkeypatch.chdir(copy)
    assert packed(type(copy)("."))[0] == tmp_path / "study.tar.gz"
    assert len(read_lines(copy)) > 0


def test_the_paragraph_tells_what_was_pinned():
    study = make_study(TOY, vary={"rate": [0.1, 0.3]}, fix=("split", "labels"))
    record = {
        "data": [], "device": {"count": 1, "kind": "cpu", "processor": "x"}, "python": "3",
        "packages": dict.fromkeys(("jax", "flax", "optax"), "1"),
        "git": {"commit": None, "dirty": False},
    }  # fmt: skip
    text = methods(study, record, "error", "")
    assert "evaluated once" in methods(study, record, "error", "", [{"seeds": 10, "time": "now"}])
    looks = [{"seeds": 4, "epochs": 1}, {"seeds": 4}, {"seeds": 10}]
    grown = methods(study, record, "error", "", looks)
    assert "evaluated once" not in grown
    said = "looked at 3 times: 4 seeds after 1 epoch, 4 seeds after 2 epochs and 10 seeds after 2"
    assert said in grown
    looks = [{"seeds": 10, "margin": 0.5}, {"seeds": 10}]
    said = "10 seeds after 2 epochs by the margin 0.5 and 10 seeds after 2 epochs without a margin."
    assert said in methods(study, record, "error", "", looks)
    assert "seed s drives initial weights, data order and noise through" in text
    assert "(the choice of rows and label noise are those of seed 0 in all of them)" in text
