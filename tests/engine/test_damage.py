"""A hundred damaged folders: never a traceback, never a silently wrong result."""

import contextlib
import io
import random
import shutil

import pytest

from experiments import Entry
from experiments.engine.cli import main
from experiments.engine.control import Control
from experiments.engine.log import read_lines
from experiments.engine.page.facts import read_facts
from experiments.engine.parameters import digest_of, read_parameters
from experiments.engine.reopen import reopen
from tests.engine.selective import SELECTIVE

pytestmark = pytest.mark.usefixtures("one_build")

STUDY = [
    "study", "--vary", "rate=0.03,0.1", "--seeds", "6", "--epochs", "6", "--keep", "best",
    "--lanes", "4", "--devices", "2", "--steps-per-call", "2", "--checkpoint-every", "1",
]  # fmt: skip
FOLDERS = 100
ANSWERS = ("results.csv", "report.txt", "analysis.json")


def run(arguments):
    """The exit code of a command, and all it printed."""
    said = io.StringIO()
    entries = {"selective": Entry("", lambda: SELECTIVE)}
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = main(entries, [str(a) for a in arguments], prog="toy.py", only="selective")
    return code, said.getvalue()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "study"
    assert run([*STUDY, "--out", folder])[0] == 0
    return folder


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """Asked to stop in the middle of an epoch of the second lane group."""
    folder, asked = tmp_path_factory.mktemp("stopped") / "study", iter(range(1000))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Control, "reason", lambda self: "test" if next(asked) == 25 else "")
        assert run([*STUDY, "--out", folder])[0] == 75
    return folder


def damage(folder, draw):
    """Flips bits of one file, or cuts it short, or removes it; says what it did."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.stat().st_size)
    path, how = draw.choice(files), draw.choice(["flip", "flip", "cut", "remove"])
    content = bytearray(path.read_bytes())
    if how == "flip":
        for _ in range(draw.choice([1, 1, 5])):
            content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        path.write_bytes(content)
    elif how == "cut":
        path.write_bytes(content[: draw.randrange(len(content))])
    else:
        path.unlink()
    return f"{how} {path.relative_to(folder)}"


def state_of(folder):
    answers = {name: (folder / name).read_text() for name in ANSWERS}
    return sorted(map(str, read_lines(folder))), answers


@pytest.mark.slow
@pytest.mark.parametrize("number", range(FOLDERS))
def test_a_damaged_folder_is_mended_or_refused(whole, stopped, tmp_path, number):
    draw, folder = random.Random(number), tmp_path / "study"
    shutil.copytree(whole if number % 2 else stopped, folder)
    done = [damage(folder, draw) for _ in range(draw.choice([1, 1, 2]))]
    code, said = run(["resume", folder])
    if code == 2:  # the study itself is lost: said in one line, nothing overwritten
        assert "study.json" in said.strip() and said.count("\n") == 1, (done, said)
        assert any("study.json" in each for each in done)
        return
    assert code == 0, (done, said)
    assert state_of(folder) == state_of(whole), done
    sound = [is_sound(folder, line) for line in read_lines(folder) if line.get("final")]
    assert all(sound) or "final parameters of" in said, (done, said)


def is_sound(folder, line):
    kept = read_parameters(folder, line["cell"], line["seed"])
    return kept is not None and digest_of(kept) == line["parameters_sha256"]


@pytest.mark.parametrize("lost", [1, 7])
def test_lines_that_a_power_cut_lost_are_trained_again(whole, stopped, tmp_path, lost):
    """The checkpoint survived, the last lines before it did not."""
    folder = tmp_path / "study"
    shutil.copytree(stopped, folder)
    path = folder / "metrics.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-lost]))
    code, said = run(["resume", folder])
    assert code == 0, said
    assert state_of(folder) == state_of(whole)


@pytest.mark.slow
def test_damaged_lines_are_trained_again_where_states_are_kept(tmp_path):
    folder, reference = tmp_path / "study", tmp_path / "reference"
    for each in (folder, reference):
        assert run([*STUDY, "--extendable", "--out", each])[0] == 0
    path = folder / "metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines[:3], *lines[4:]]))
    for _ in range(2):
        assert run(["resume", folder])[0] == 0
    assert state_of(folder) == state_of(reference)


@pytest.mark.parametrize("how", ["cut", "remove"])
def test_a_lost_record_of_a_finished_study_is_told(whole, tmp_path, how):
    folder = tmp_path / "study"
    shutil.copytree(whole, folder)
    path = folder / "record.json"
    assert "record.json" not in run(["report", folder])[1]
    if how == "cut":
        path.write_bytes(path.read_bytes()[:500])
    else:
        path.unlink()
    for command in ("report", "resume"):
        code, said = run([command, folder])
        assert code == 0 and f"warning: {path} cannot be read" in said


def test_fewer_seeds_than_before_are_a_further_look(whole, tmp_path):
    folder = tmp_path / "study"
    shutil.copytree(whole, folder)
    assert "look 2" in run(["resume", folder, "--seeds", "5"])[1]
    rows = (folder / "results.csv").read_text().splitlines()
    assert {row.split(",")[2] for row in rows[1:]} == {"0", "1", "2", "3", "4"}
    facts = read_facts(reopen({"selective": Entry("", lambda: SELECTIVE)}, folder))
    assert {line["seed"] for line in facts.lines} == {0, 1, 2, 3, 4}
    assert "look 2" in run(["resume", folder])[1]
    assert (folder / "results.csv").read_bytes() == (whole / "results.csv").read_bytes()


def test_a_study_that_lacks_replicas_again_has_no_verdict(whole, tmp_path):
    """A line was lost, or epochs are being added: what is left is not what was looked at."""
    folder = shutil.copytree(whole, tmp_path / "study")
    assert "no verdict until it has" not in run(["report", folder])[1]
    path = folder / "metrics.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    assert "The study has not finished: no verdict until it has." in run(["report", folder])[1]
