"""Losses of short trainings, as they were when they were last meant to change.

`python -m tests.experiments.golden` trains them anew and writes what `test_golden.py` compares.
"""

import json
import shlex
import tempfile
from pathlib import Path

from experiments import EXPERIMENTS
from experiments.engine.cli import main

FILE = Path(__file__).with_name("golden.json")
TEXT = shlex.quote(str(Path(__file__).parents[2] / "LICENSE"))
COMMANDS = {
    "mlp": "--dataset digits --train-size 256 --batch-size 64 --width 24,16 --activation swish"
    " --norm batch --dropout 0.2 --l2 0.03 --label-noise 0.1 --learning-rate 0.01",
    "convnet": "--dataset mnist1d --train-size 256 --batch-size 64 --layers '6k5 max2 6k3 d10'"
    " --activation gelu --translate 2 --optimizer nesterov --learning-rate 0.02",
    "resnet": "--dataset digits --train-size 128 --batch-size 64 --depth 8 --width 4 --flip random"
    " --learning-rate 0.02",
    "sequence_classifier": "--dataset mnist1d --train-size 128 --batch-size 64 --cell gru"
    " --width 12 --dropout 0.1",
    "memory": "--task copy --length 5 --cell lstm --width 12 --train-rows 256 --test-rows 64",
    "language_model": f"--dataset text --text-file {TEXT} --width 12 --embedding 8 --window 32",
    "word2vec": f"--dataset text --text-file {TEXT} --dimension 8 --min-count 3 --batch-size 64",
}
Losses = dict[str, list[float]]


def train(name: str, folder: Path) -> Losses:
    """Every loss that two epochs of an experiment record, in order."""
    command = ["run", name, *shlex.split(COMMANDS[name]), "--epochs", "2", "--out", str(folder)]
    assert main(EXPERIMENTS, command, prog="launch.py") == 0
    losses: Losses = {}
    for line in (folder / "metrics.jsonl").read_text().splitlines():
        for key, value in json.loads(line).items():
            if key.endswith("_loss"):
                losses.setdefault(key, []).append(value)
    return losses


def write() -> None:
    """Trains all of them and keeps their losses."""
    with tempfile.TemporaryDirectory() as folder:
        found = {name: train(name, Path(folder) / name) for name in COMMANDS}
    FILE.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    write()
