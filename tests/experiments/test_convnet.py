"""The experiment `convnet`: options reach the program, bad geometry is refused, and it runs."""

import csv
import functools
import pathlib

import numpy as np
import pytest

from experiments import EXPERIMENTS, convnet
from experiments.data.dataset import Spec
from experiments.engine.cli import main
from experiments.engine.config import leaves, parse, replace
from experiments.engine.cost import estimate
from experiments.engine.errors import UsageError
from experiments.engine.parameters import read_parameters
from tests.experiments.conftest import step_of

IMAGES = Spec((8, 8, 3), 3, train_rows=600)


@pytest.fixture(scope="module")
def pieces(image_pieces):
    """The pieces of one replica of a small net."""
    return functools.partial(image_pieces, convnet.EXPERIMENT, layers="4k3 max2 d6")


STATIC = {
    "layers": "4k3 max2", "activation": "tanh", "norm": "local_response", "dropout": "0.1",
    "init": "lecun_normal", "bias_init": "fan_in_uniform", "compute_dtype": "bfloat16",
    "translate": "1", "flip": "alternating", "cutout": "2", "mixup": "0.5",
}  # fmt: skip


@pytest.mark.parametrize("name", STATIC)
def test_every_option_changes_the_program(pieces, name):
    value = parse(leaves(convnet.Config)[name], STATIC[name])
    assert step_of(pieces(**{name: value})) != step_of(pieces())


def test_places_of_dropout_and_biases_change_the_program(pieces):
    base = {"dropout": 0.1, "layers": "4k3u max2 d6"}
    plain = step_of(pieces(**base))
    assert step_of(pieces(**base, dropout_at="pool")) != plain
    assert step_of(pieces(**base, bias_per_position=True)) != plain


def test_traced_fields_share_one_program(pieces):
    assert step_of(pieces(learning_rate=0.5, init_scale=2.0)) == step_of(pieces())


def test_replicas_with_convolutions_are_not_put_side_by_side(pieces):
    for layers, convolves in {"4k3 max2 d6": True, "d6": False}.items():
        made = pieces(layers=layers)
        assert estimate(made.trainer, made.replica, made.data).convolves == convolves


REFUSED = {
    "8k9v": "kernel 9 is larger than the padded input of 8",
    "6k3s0": "stride 0",
    "7k3g2": "3 channels do not divide into 2 groups",
    "mean2": "'mean2' is no layer",
    "d6 4k3": "'4k3' follows a layer whose output has no positions",
}


@pytest.mark.parametrize("layers", REFUSED)
def test_geometry_that_cannot_work_is_refused_by_name(layers):
    with pytest.raises(UsageError, match=f"--layers '{layers}': .*{REFUSED[layers]}"):
        convnet.check(replace(convnet.Config(), {"layers": layers}), IMAGES)


def test_max_norm_is_refused_where_a_unit_has_weights_of_its_own_at_each_position():
    config = replace(convnet.Config(), {"layers": "4k3u", "max_norm": 1.0})
    with pytest.raises(UsageError, match="--max-norm: not with layers without weight sharing"):
        convnet.check(config, IMAGES)
    convnet.check(replace(config, {"layers": "4k3"}), IMAGES)


def test_one_net_for_sequences_and_one_for_images():
    sequences = convnet.make_net(convnet.Config(), Spec((40,), 10))
    images = convnet.make_net(convnet.Config(), Spec((28, 28), 10))
    assert [block.kind for block in sequences.blocks] == ["conv"] * 3
    assert images.blocks[-1].kind == "dense"
    assert not sequences.channel_axis and not images.channel_axis
    assert convnet.make_net(convnet.Config(), IMAGES).channel_axis


def test_it_learns_through_run(images_file, tmp_path, capsys):
    arguments = [
        "run", "convnet", "--dataset", "file", "--data-file", images_file, "--batch-size", "18",
        "--epochs", "40", "--learning-rate", "0.01", "--layers", "4k3 max2 d6", "--flip", "random",
        "--out", str(tmp_path / "run"),
    ]  # fmt: skip
    assert main(EXPERIMENTS, arguments, prog="launch.py") == 0
    assert "1 replica in 1 program, one trace" in capsys.readouterr().err
    with (tmp_path / "run" / "results.csv").open(newline="") as stream:
        (row,) = csv.DictReader(stream)
    assert row["status"] == "finished"
    assert float(row["test_accuracy"]) > 0.9
    assert main(EXPERIMENTS, ["reproduce", str(tmp_path / "run")], prog="launch.py") == 0
    assert "identical" in capsys.readouterr().out
    pictures, again = (arrays_of(tmp_path / name) for name in ("run", "run-reproduced"))
    assert pictures.keys() == again.keys()
    for name, values in pictures.items():
        np.testing.assert_array_equal(again[name], values)
    kept = read_parameters(tmp_path / "run", 0, 0)
    assert kept is not None
    kernel = kept["params/conv_1/kernel"]
    np.testing.assert_array_equal(pictures["filters_conv_1"], kernel)


def arrays_of(folder: pathlib.Path) -> dict[str, np.ndarray]:
    """The numbers behind a study's pictures, each of which is there as a file."""
    pictures = folder / "pictures" / "cell_0"
    with np.load(pictures / "arrays.npz") as file:
        arrays = {name: file[name] for name in file.files}
    assert {path.stem for path in pictures.glob("*.png")} == arrays.keys()
    return arrays
