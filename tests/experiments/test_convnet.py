"""The experiment `convnet`: options reach the program, bad geometry is refused, and it runs."""

import csv
import functools
import pathlib

import jax
import numpy as np
import pytest

from experiments import EXPERIMENTS, convnet
from experiments.data.dataset import Spec
from experiments.data.patches import whitening_filters
from experiments.engine.cli import main
from experiments.engine.config import leaves, parse, replace
from experiments.engine.cost import estimate
from experiments.engine.errors import UsageError
from experiments.engine.experiment import Data
from experiments.engine.parameters import read_parameters
from tests.experiments.conftest import first_state, step_of

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


@pytest.mark.slow
@pytest.mark.parametrize("name", STATIC)
def test_every_option_changes_the_program(pieces, name):
    value = parse(leaves(convnet.Config)[name], STATIC[name])
    assert step_of(pieces(**{name: value})) != step_of(pieces())


def test_places_of_dropout_and_biases_change_the_program(pieces):
    base = {"dropout": 0.1, "layers": "4k3u max2 d6"}
    plain = step_of(pieces(**base))
    assert step_of(pieces(**base, dropout_at="pool")) != plain
    assert step_of(pieces(**base, bias_per_position=True)) != plain


def test_details_of_norms_outputs_and_rates_change_the_program(pieces):
    base = {"norm": "batch", "layers": "w2 4k3 max2", "bias_rate": 2.0}
    plain = step_of(pieces(**base))
    for name, value in DETAILS.items():
        assert step_of(pieces(**base, **{name: value})) != plain, name


DETAILS = {
    "norm_scale": False, "norm_momentum": 0.6, "norm_epsilon": 0.1, "output_bias": False,
    "output_scale": 0.1, "bias_rate_on": "norm", "patch_bias_epochs": 1,
}  # fmt: skip


def test_filters_are_those_of_the_replicas_own_rows_as_they_are_preprocessed(pieces):
    one, other = (pieces(layers="w2 d6", seed=seed, patch_epsilon=0.1) for seed in (0, 1))
    own = one.data.own
    x = one.dataset.splits["train"]["x"][own["train_rows"]] / 255.0
    want = whitening_filters(x - x.mean(0), 2, 0.1)
    np.testing.assert_allclose(own["filters"], want, rtol=1e-4, atol=1e-4)
    assert np.abs(own["filters"] - other.data.own["filters"]).max() > 1e-3
    assert "filters" not in pieces().data.own
    kept = convnet.EXPERIMENT.adapt(one.config, {"params": 1, "frozen": 2}, own)
    assert kept == {"params": 1, "frozen": {"whitening": {"kernel": own["filters"]}}}


def test_evaluation_averages_the_scores_of_views(pieces):
    made = pieces(layers="d6", test_views="mirror")
    alone = pieces(layers="d6")
    state = first_state(made)
    kept = made.trainer.current(state, made.replica)

    def loss(pieces, data):
        scored = jax.jit(lambda d: pieces.trainer.evaluate(kept, pieces.replica, d, "test")[0])
        return float(scored(data)["loss"])

    test = made.data.splits["test"]
    splits = {**made.data.splits, "test": {**test, "x": test["x"][:, :, ::-1]}}
    mean = jax.tree.map(lambda leaf: leaf[:, ::-1], made.data.own["stats"])
    turned = Data(splits, {**made.data.own, "stats": mean})
    assert loss(made, turned) == pytest.approx(loss(made, made.data), rel=1e-5)
    assert abs(loss(alone, turned) - loss(alone, made.data)) > 1e-3


def test_traced_fields_share_one_program(pieces):
    assert step_of(pieces(learning_rate=0.5, init_scale=2.0)) == step_of(pieces())


def test_replicas_with_convolutions_are_not_put_side_by_side(pieces):
    """Nor those whose convolutions go by tiles, as products."""
    for layers, convolves in {"4k3 max2 d6": True, "d6": False, "32k3u 32k3 max2": True}.items():
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


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"patch_epsilon": 0.0}, "--patch-epsilon 0: must be positive"),
        ({"patch_bias_epochs": -1}, "--patch-bias-epochs -1: must not be negative"),
        ({"patch_bias_epochs": 3}, "--patch-bias-epochs 3: there is no whitening layer; give"),
        ({"norm_momentum": 1.0}, "--norm-momentum 1: at least 0 and below 1"),
        ({"norm_epsilon": 0.0}, "--norm-epsilon 0: above 0 and below 1"),
        ({"dropout": 0.5, "dropout_at": "dense"}, "--dropout-at dense: --layers has no such layer"),
        ({"output_scale": -1.0}, "--output-scale -1: must be positive; none: 1"),
        (
            {"preprocess": "pca"},
            "--preprocess pca: principal components have no positions",
        ),
        ({"preprocess": "principal", "components": 8}, "--preprocess principal: principal compo"),
        ({"bias_rate_on": "norm"}, "--bias-rate-on norm: nothing is normalised; give --norm"),
        ({"bias_rate_on": "norm", "norm": "local_response"}, "--bias-rate-on norm: nothing is"),
        ({"bias_rate_on": "norm", "norm": "layer", "layers": "max2"}, "--bias-rate-on norm: noth"),
    ],
)
def test_values_that_cannot_work_are_refused(changes, message):
    with pytest.raises(UsageError) as caught:
        convnet.check(replace(convnet.Config(), {"layers": "4k3", **changes}), IMAGES)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("layers", ["4k3", "4k3b max2", "d6"])
def test_rates_of_normalisation_are_for_nets_that_have_it(layers):
    changes = {"layers": layers, "bias_rate_on": "norm"}
    if "b" not in layers:
        changes["norm"] = "layer"
    convnet.check(replace(convnet.Config(), changes), IMAGES)


def test_one_net_for_sequences_and_one_for_images():
    sequences = convnet.make_net(convnet.Config(), Spec((40,), 10))
    images = convnet.make_net(convnet.Config(), Spec((28, 28), 10))
    assert [block.kind for block in sequences.blocks] == ["conv"] * 3
    assert images.blocks[-1].kind == "dense"
    assert not sequences.channel_axis and not images.channel_axis
    assert convnet.make_net(convnet.Config(), IMAGES).channel_axis


@pytest.mark.slow
def test_it_learns_through_run(images_file, tmp_path, capsys):
    arguments = [
        "run", "convnet", "--dataset", "file", "--data-file", images_file, "--batch-size", "18",
        "--epochs", "40", "--learning-rate", "0.01", "--layers", "w2 4k3 max2 d6", "--flip",
        "random", "--test-views", "mirror",
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
    filters = kept["model_state/frozen/whitening/kernel"].reshape(12, 24)
    np.testing.assert_array_equal(filters[:, :12], -filters[:, 12:])
    assert np.ptp(np.linalg.norm(filters, axis=0)) > 1  # not those drawn at first
    kernel = kept["params/conv_1/kernel"]
    np.testing.assert_array_equal(pictures["filters_conv_1"], kernel)


def arrays_of(folder: pathlib.Path) -> dict[str, np.ndarray]:
    """The numbers behind a study's pictures, each of which is there as a file."""
    pictures = folder / "pictures" / "cell_0"
    with np.load(pictures / "arrays.npz") as file:
        arrays = {name: file[name] for name in file.files}
    assert {path.stem for path in pictures.glob("*.png")} == arrays.keys()
    return arrays
