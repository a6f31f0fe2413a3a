"""Every command of the README and of docs/, in order; those that train do so on something small.

And every link between them.
"""

import pathlib
import re
import shlex

import pytest

from experiments import EXPERIMENTS
from experiments.engine import run
from experiments.engine.cli import main

pytestmark = pytest.mark.usefixtures("one_build")
ROOT = pathlib.Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SMALL = {
    "--dataset": "digits", "--width": "8", "--epochs": "2", "--schedule": "constant",
    "--lanes": "4", "--devices": "2",
}  # fmt: skip
"""Of every `mlp`: with one layout, the same nets are the same programs."""

TRAINED_ELSEWHERE = (
    "convnet", "resnet", "features", "super_resolution", "detection", "memory",
    "sequence_classifier", "mnist1d-mlp",
)  # fmt: skip
"""What takes long to train: only its command line is read here, tests of its own train it."""
TEXT = {"--batch-size": "500", "--epochs": "1", "--embedding": "8", "--out": "TEXT"}
WORDS = {"--epochs": "1", "--dimension": "8", "--out": "WORDS"}
FOLDERS = ("runs/mlp-...", "DIR")


def commands():
    lines = [line.partition("#")[0] for page in PAGES for line in page.read_text().splitlines()]
    return [shlex.split(line)[2:] for line in lines if line.startswith("python launch.py ")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page):
    for link in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        path, _, place = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.is_file(), link
        assert not place or place in anchors(target), link


def anchors(page):
    """The names by which a page's headings are linked to."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in headings}


def smaller(words):
    """The same command on a small net and data set."""
    flags = {word for word in words if word.startswith("--")}
    if words[0] not in ("run", "study") or "--dry-run" in flags:
        return words
    small = SMALL
    if words[1] == "language_model":
        small, words = TEXT, ["8" if word == "128" else word for word in words]
    if words[1] == "word2vec":
        small = WORDS
    added = {flag: value for flag, value in small.items() if flag not in flags}
    return [*words, *(word for pair in added.items() for word in pair)]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A finished study that can be made longer, where the README says `DIR`."""
    monkeypatch.chdir(tmp_path)
    study = "study mlp --vary activation=relu,tanh --seeds 2 --extendable --out DIR"
    assert main(EXPERIMENTS, smaller(shlex.split(study)), prog="launch.py") == 0
    return tmp_path / "DIR"


class Asked(Exception):
    """Comes in the place of a training."""


@pytest.mark.slow
def test_every_command_works(folder, capsys, monkeypatch):
    done = []
    for words in commands():
        words = [str(folder) if word in FOLDERS else word for word in words]
        words = ["TEXT" if word.startswith("runs/language_model") else word for word in words]
        words = ["WORDS" if word.startswith("runs/word2vec") else word for word in words]
        if words[1:2] and words[1] in TRAINED_ELSEWHERE:
            with monkeypatch.context() as patch:
                patch.setattr(run, "train_study", _ask)
                with pytest.raises(Asked):
                    main(EXPERIMENTS, words, prog="launch.py")
            continue
        assert main(EXPERIMENTS, smaller(words), prog="launch.py") == 0, words
        done.append(words[0])
        assert capsys.readouterr().out
    assert {"list", "describe", "run", "study", "report", "resume", "reproduce"} <= set(done)
    assert {"merge", "pack", "claim", "sample", "nearest", "analogy", "export"} <= set(done)


def _ask(*args, **kwargs):
    raise Asked
