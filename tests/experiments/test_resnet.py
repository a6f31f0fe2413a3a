"""The experiment `resnet`: options reach the program, odd depths are refused, and it runs."""

import csv
import dataclasses
import functools

import numpy as np
import pytest

from experiments import Entry, resnet
from experiments.data.dataset import Spec
from experiments.engine.cli import main
from experiments.engine.config import leaves, parse, replace
from experiments.engine.errors import UsageError
from nets.residual import Stage
from tests.experiments.conftest import step_of

pytestmark = pytest.mark.usefixtures("one_build")

IMAGES = Spec((32, 32, 3), 10, train_rows=600)


@pytest.fixture(scope="module")
def pieces(image_pieces):
    """The pieces of one replica of the smallest net."""
    return functools.partial(image_pieces, resnet.EXPERIMENT, depth=8, width=4)


STATIC = {
    "depth": "14", "width": "8", "stem": "7x7", "preactivation": "true", "shortcut": "none",
    "activation": "tanh", "norm": "group", "dropout": "0.1", "init": "lecun_normal",
    "compute_dtype": "bfloat16", "translate": "1",
}  # fmt: skip


@pytest.fixture(scope="module")
def plain(pieces) -> str:
    """The step without a change."""
    return step_of(pieces())


@pytest.mark.slow
@pytest.mark.parametrize("name", STATIC)
def test_every_option_changes_the_program(pieces, plain, name):
    value = parse(leaves(resnet.Config)[name], STATIC[name])
    assert step_of(pieces(**{name: value})) != plain


@pytest.mark.slow
def test_options_of_other_options_change_the_program(pieces):
    for base, change in (
        ({"dropout": 0.1}, {"dropout_at": "block"}),
        ({"norm": "none"}, {"bias_init": "fan_in_uniform"}),
        ({"depth": 14, "shortcut": "B"}, {"shortcut": "C"}),
    ):
        assert step_of(pieces(**base | change)) != step_of(pieces(**base))


def net(**changes):
    return resnet.make_net(replace(resnet.Config(), changes), IMAGES)


def test_a_form_chooses_what_was_published_with_it():
    cifar, deep = net(), net(form="imagenet", depth=50)
    assert (cifar.stages, cifar.stem, cifar.shortcut, cifar.bottleneck) == (
        (Stage(3, 16), Stage(3, 32), Stage(3, 64)), "3x3", "A", False,
    )  # fmt: skip
    assert (deep.stages[0], deep.stem, deep.shortcut, deep.bottleneck) == (
        Stage(3, 256), "7x7", "B", True,
    )  # fmt: skip
    assert not net(form="imagenet", depth=34).bottleneck
    assert net(depth=20, block="bottleneck").stages[0] == Stage(2, 64)
    assert net(depth=110).stages[0] == Stage(18, 16)
    assert not resnet.make_net(resnet.Config(), Spec((28, 28), 10)).channel_axis


REFUSED = {
    ("depth", 21): r"--depth 21: three stages have 6n \+ 2 layers",
    ("form", "imagenet"): "--depth 20: four stages are published with 18, 34, 50, 101, 152 layers",
    ("width", 0): "--width 0: at least 1 filter",
    ("dropout", 1.0): "--dropout 1.0: must be at least 0 and below 1",
    ("preprocess", "principal"): "--preprocess principal: principal components have no positions",
}


@pytest.mark.parametrize("change", REFUSED, ids=str)
def test_what_cannot_train_is_refused_by_name(change):
    config = replace(resnet.Config(), dict([change]))
    with pytest.raises(UsageError, match=REFUSED[change]):
        resnet.check(config, IMAGES)


@pytest.mark.parametrize(
    ("depth", "block", "message"),
    [
        (
            50,
            "basic",
            "--depth 50: this net has bottlenecks; with basic blocks its depth",
        ),
        (18, "bottleneck", "--depth 18: this net has basic blocks; with bottlenecks its depth is"),
    ],
)
def test_blocks_that_give_an_imagenet_net_another_depth_are_refused(depth, block, message):
    fields = {"form": "imagenet", "depth": depth, "block": block}
    with pytest.raises(UsageError, match=message):
        resnet.check(replace(resnet.Config(), fields), IMAGES)


@pytest.mark.slow
def test_it_learns_and_reproduces_to_the_bit(images_file, tmp_path, capsys):
    """On a column of the images, and without pictures: either would take long to compile."""
    with np.load(images_file) as images:
        arrays = {n: a[:, :, 3, 0] if n.startswith("x") else a for n, a in images.items()}
    np.savez(tmp_path / "columns.npz", **arrays)
    bare = dataclasses.replace(resnet.EXPERIMENT, pictures=None)
    experiments = {"resnet": Entry(bare.summary, lambda: bare)}
    arguments = [
        "run", "resnet", "--dataset", "file", "--data-file", str(tmp_path / "columns.npz"),
        "--batch-size", "18", "--epochs", "20", "--learning-rate", "0.01",
        "--depth", "8", "--width", "4",
        "--out", str(tmp_path / "run"),
    ]  # fmt: skip
    assert main(experiments, arguments, prog="launch.py") == 0
    assert "1 replica in 1 program, one trace" in capsys.readouterr().err
    with (tmp_path / "run" / "results.csv").open(newline="") as stream:
        (row,) = csv.DictReader(stream)
    assert float(row["test_accuracy"]) > 0.9
    assert main(experiments, ["reproduce", str(tmp_path / "run")], prog="launch.py") == 0
    assert "identical" in capsys.readouterr().out
