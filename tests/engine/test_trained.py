"""`load_trained`: a net of a study folder does in Python what was recorded of it."""

import csv

import pytest

from experiments.engine import load_trained
from experiments.engine.errors import UsageError
from tests.engine.toy import TOY


def test_metrics_are_those_recorded_at_the_tuned_values(train_toy):
    trained = train_toy(vary={"rate": [0.03, 0.1]}, tune={"decay": [0.0, 0.01]}, seeds=2)
    with (trained.folder / "results.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    for row in rows:
        place = int(row["cell"]), int(row["seed"])
        net = load_trained(trained.folder, *place, experiment=TOY)
        assert net.config == load_trained(trained, *place).config
        assert (f"{net.config.rate:g}", f"{net.config.decay:g}") == (row["rate"], row["decay"])
        for split in ("train", "test"):
            found = net.evaluate(split)["error"]
            assert found == pytest.approx(float(row[f"{split}_error"]), rel=1e-5)


def test_what_is_not_there_is_told(train_toy, tmp_path):
    folder = train_toy(vary={"rate": [0.03, 0.1]}, seeds=2).folder
    for place, said in (((2,), "--cell 2: the study has 0 to 1"), ((0, 5), "has seeds 0 to 1")):
        with pytest.raises(UsageError, match=said):
            load_trained(folder, *place, experiment=TOY)
    with pytest.raises(UsageError, match="belongs to the experiment 'toy'"):
        load_trained(folder)
    with pytest.raises(UsageError, match="is not a study folder"):
        load_trained(tmp_path, experiment=TOY)
