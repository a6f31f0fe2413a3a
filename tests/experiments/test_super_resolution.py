"""The experiment `super_resolution`: its pairs, scores and gain in NumPy, and a run of it."""

import csv
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import EXPERIMENTS, image_pairs, images, super_resolution
from experiments.data.dataset import Spec
from experiments.engine.cli import main
from experiments.engine.config import replace
from experiments.engine.errors import UsageError
from nets.upscaling import bicubic
from tests.experiments.conftest import first_state

SMALL = {"layers": "4k3", "validation": 0.25}


@pytest.fixture(scope="module")
def pieces(image_pieces):
    """The pieces of one replica of a small net."""
    return functools.partial(image_pieces, super_resolution.EXPERIMENT, **SMALL)


def bright(images):
    """The luma of colour images, float64 [n, height, width, 1]."""
    weights = np.array([65.481, 128.553, 24.966]) / 255
    return 16 / 255 + (images / 255.0 @ weights)[..., None]


def made_of(made, split):
    """Small and large images of a split, the first as float32 arrays."""
    rows = slice(None) if split == "test" else np.asarray(made.data.own[f"{split}_rows"])
    arrays = made.dataset.splits["test" if split == "test" else "train"]
    factor, large = made.config.data.factor, bright(arrays["x"][rows])
    side = large.shape[1] // factor
    large = large[:, : side * factor, : side * factor]
    return bicubic(jnp.asarray(large, jnp.float32), side, side), large


def decibels(found, truth, border):
    inner = slice(border, -border)
    error = (np.asarray(found, np.float64) - truth)[:, inner, inner] ** 2
    return np.mean(-10 * np.log10(error.mean((1, 2, 3))))


@pytest.mark.parametrize("split", ["train", "validation", "test"])
@pytest.mark.parametrize("changes", [{}, {"upscale": "start", "skip": True}])
def test_scores_are_those_of_the_large_images(pieces, split, changes):
    made = pieces(**changes)
    state, (config, net, _) = first_state(made), made.trainer.model(made.replica)
    evaluate = jax.jit(functools.partial(super_resolution.evaluate, config, net, split=split))
    found, right = evaluate(state.params, state.model_state, made.data)
    small, large = made_of(made, split)
    upscaled = net.apply({"params": state.params}, small)
    assert right is None
    assert found["psnr"] == pytest.approx(decibels(upscaled, large, 2), rel=1e-4)
    error = np.mean((np.asarray(upscaled, np.float64) - large) ** 2)
    assert found["loss"] == pytest.approx(error, rel=1e-4)


def test_what_the_factor_does_not_divide_is_cut_off(pieces):
    made = pieces()
    images = made.dataset.splits["test"]["x"][:3, :7, :5]
    batch = image_pairs.pairs(made.config.data, made.data.own["stats"], jnp.asarray(images))
    assert batch["x"].shape == (3, 3, 2, 1)
    np.testing.assert_allclose(batch["y"], bright(images[:, :6, :4]), rtol=1e-5)


def test_a_split_without_rows_has_no_scores(pieces):
    made = pieces(validation=0.0)
    state, (config, net, _) = first_state(made), made.trainer.model(made.replica)
    found = super_resolution.evaluate(config, net, state.params, {}, made.data, "validation")
    assert found == ({}, None)


def test_the_gain_is_over_bicubic_interpolation(pieces):
    made = pieces()
    state, (config, net, _) = first_state(made), made.trainer.model(made.replica)
    measure = jax.jit(functools.partial(super_resolution.measure, config, net))
    found = measure(state.params, state.model_state, made.data)
    small, large = made_of(made, "test")
    plain = decibels(bicubic(small, 8, 8), large, 2)
    own = decibels(net.apply({"params": state.params}, small), large, 2)
    assert found["bicubic"] == pytest.approx(plain, rel=1e-4)
    assert found["gain"] == pytest.approx(own - plain, abs=2e-3)
    assert found["parameters"] == 9 * 4 + 4 + 9 * 4 * 4 + 4
    told = super_resolution.remark(config, {"gain": -0.5, "bicubic": 20.0})
    assert told == "0.50 dB below bicubic interpolation (20.00 dB)"


def test_the_picture_shows_small_smooth_net_and_whole(pieces):
    made = pieces()
    state, (config, net, _) = first_state(made), made.trainer.model(made.replica)
    host = jax.tree.map(np.asarray, made.data)
    found = super_resolution.pictures(config, net, state.params, state.model_state, host)
    picture = found["upscaled"]
    small, _ = made_of(made, "test")
    shown = net.apply({"params": state.params}, small[: super_resolution.SHOWN])
    np.testing.assert_allclose(picture.values, shown, rtol=1e-4, atol=1e-5)
    height, width = picture.pixels.shape[:2]
    assert height > 6 * 80 and width > 4 * 80


SPEC = Spec((8, 8, 3), 3, train_rows=60)
REFUSED = {
    "factor of one": ({"factor": 1}, "--factor 1: from 2 to 2 with images of 8x8"),
    "factor": ({"factor": 3}, "--factor 3: from 2 to 2 with images of 8x8"),
    "word": ({"layers": "8k3 x"}, "--layers '8k3 x': 'x' is no layer"),
    "pool": ({"layers": "8k3 max2"}, "--layers '8k3 max2': only convolutions, such as 64k5"),
    "size": ({"layers": "8k3s2"}, "--layers '8k3s2': layer 1 changes the size"),
    "groups": ({"layers": "8k3 9k3g4"}, "--layers '8k3 9k3g4': "),
    "last": ({"last_kernel": 4}, "--last-kernel 4: an odd number, e.g. 3"),
    "scale": ({"init_scale": -1.0}, "--init-scale -1.0: must not be negative"),
    "validation": ({"validation": 1.5}, "--validation 1.5: must be at least 0 and below 1"),
    "rows": ({"train_size": 70}, "--train-size 70: must be 1 to 54"),
    "batch": ({"batch_size": 100}, "--batch-size 100 is larger than"),
}


@pytest.mark.parametrize(("changes", "message"), REFUSED.values(), ids=REFUSED)
def test_values_that_cannot_work_are_refused(changes, message):
    config = replace(super_resolution.Config(), {"batch_size": 16, **changes})
    with pytest.raises(UsageError) as told:
        super_resolution.check(config, SPEC)
    assert str(told.value).startswith(message)


def test_images_too_small_to_be_made_smaller_are_refused():
    with pytest.raises(UsageError, match="--dataset digits: images of 5x8 are too small: 6x6 at"):
        super_resolution.check(super_resolution.Config(), Spec((5, 8), 3, train_rows=60))


def test_what_are_no_images_is_refused(tmp_path):
    numbers = np.linspace(-1, 1, 4 * 36).reshape(4, 6, 6).astype(np.float32)
    labels = np.arange(4) % 2
    named = {"x_train": numbers, "y_train": labels, "x_test": numbers, "y_test": labels}
    np.savez(tmp_path / "numbers.npz", allow_pickle=False, **named)
    config = super_resolution.Config()
    told = {"mnist1d": "has no grey or colour", "file": "images are bytes, or numbers from 0 to 1"}
    for name, message in told.items():
        file = str(tmp_path / "numbers.npz") if name == "file" else ""
        chosen = replace(config, {"dataset": name, "data_file": file})
        with pytest.raises(UsageError, match=f"--dataset {name}: {message}"):
            images.load(chosen.data, None)


@pytest.mark.slow
def test_a_study_learns_more_than_interpolation_and_reproduces(tmp_path, capsys):
    study = [
        "study", "super_resolution", "--vary", "skip=false,true", "--seeds", "2", "--layers",
        "16k3", "--epochs", "6", "--learning-rate", "3e-3", "--diagnose", "--out",
        str(tmp_path / "study"),
    ]  # fmt: skip
    assert main(EXPERIMENTS, study, prog="launch.py") == 0
    said, told = capsys.readouterr()
    assert "warning" not in told
    assert said.count("dB above bicubic interpolation") == 2
    assert "activation_1" in said
    with (tmp_path / "study" / "results.csv").open(newline="") as stream:
        lines = list(csv.DictReader(stream))
    assert all(float(line["gain"]) > 1 for line in lines)
    assert (tmp_path / "study" / "pictures").is_dir()
    assert main(EXPERIMENTS, ["reproduce", str(tmp_path / "study")], prog="launch.py") == 0
    assert "identical" in capsys.readouterr().out
