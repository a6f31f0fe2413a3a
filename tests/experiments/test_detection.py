"""The experiment `detection`: its loss and scores against loops, its picture, and a run of it."""

import csv
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import EXPERIMENTS, detection, found_objects, scenes
from experiments.data.dataset import Spec
from experiments.engine.cli import main
from experiments.engine.config import replace
from experiments.engine.errors import UsageError
from experiments.engine.keys import new_key
from nets import boxes as of_boxes
from nets.precision import THRESHOLDS
from tests.experiments.conftest import first_state
from tests.nets import coco
from tests.nets.test_boxes import reference

SMALL = {"layers": "4k3 max2 6k3 max2", "validation": 0.25, "objects": 3, "clutter": 2}


@pytest.fixture(scope="module")
def pieces(image_pieces):
    """The pieces of one replica of a small net."""
    return functools.partial(image_pieces, detection.EXPERIMENT, **SMALL)


@pytest.fixture(scope="module")
def scene(pieces):
    """A batch of scenes, and numbers that a net might give for it."""
    made = pieces()
    xs = detection.epoch_inputs(made.config, made.data, new_key(0), jnp.int32(0))
    batch = detection.make_batch(made.config, made.data, xs[0], new_key(3))
    random = np.random.default_rng(0)
    return batch, random.normal(size=(18, 8, 8, 3 + 4)).astype(np.float32)


def focal(logit, truth, gamma, alpha):
    logit += np.log(0.01 / 0.99)
    right = 1 / (1 + np.exp(-logit if truth else logit))
    return -(alpha if truth else 1 - alpha) * (1 - right) ** gamma * np.log(right)


@pytest.mark.parametrize("box_loss", ["giou", "iou", "diou", "l1"])
@pytest.mark.parametrize("assign", ["centre", "inside"])
def test_the_loss_is_that_of_loops_over_cells(scene, box_loss, assign):
    batch, outputs = scene
    reading = found_objects.Reading(assign, box_loss, 1.5, 1.2, 0.4)
    lost, cells = jax.jit(functools.partial(found_objects.losses, reading))(outputs, batch)
    wanted, answered = np.zeros(18), np.zeros(18, int)
    truth, labels, present = (np.asarray(batch[n]) for n in ("boxes", "labels", "present"))
    decoded = np.asarray(of_boxes.decode(jnp.asarray(outputs[..., 3:]), 4), np.float64)
    for i in range(18):
        owner = np.asarray(
            of_boxes.owners(batch["boxes"][i], batch["present"][i], (8, 8), 4, assign)
        )
        for row, column in np.ndindex(8, 8):
            own = owner[row, column]
            kind = labels[i, own] if own >= 0 else -1
            numbers = outputs[i, row, column].astype(float)
            wanted[i] += sum(focal(numbers[k], k == kind, 1.2, 0.4) for k in range(3))
            if own < 0:
                continue
            assert present[i, own]
            answered[i] += 1
            box = truth[i, own].astype(float)
            if box_loss == "l1":
                middle = (box[:2] + box[2:]) / 2 / 4 - [column + 0.5, row + 0.5]
                target = [*middle, *np.log((box[2:] - box[:2]) / 4)]
                wanted[i] += 1.5 * np.abs(numbers[3:] - target).sum()
            else:
                wanted[i] += 1.5 * (1 - reference(decoded[i, row, column], box, box_loss))
    np.testing.assert_allclose(lost, wanted, rtol=1e-4)
    np.testing.assert_array_equal(cells, answered)
    assert (answered > 0).all()


def test_the_loss_of_a_batch_is_that_of_each_answering_cell(pieces, scene):
    made, (batch, _) = pieces(), scene
    state, (config, net, _) = first_state(made), made.trainer.model(made.replica)

    def loss(params):
        return detection.loss_fn(config, net, params, state.model_state, batch, new_key(0))

    found, (_, measured) = jax.jit(loss)(state.params)
    outputs, _ = jax.jit(functools.partial(net.apply, train=True, mutable=["batch_stats"]))(
        {"params": state.params, **state.model_state}, batch["x"]
    )
    lost, cells = jax.jit(functools.partial(found_objects.losses, config.reading))(outputs, batch)
    assert found == pytest.approx(float(np.sum(lost) / np.sum(cells)), rel=1e-5)
    assert measured["loss"] == found


def listed(outputs, nms):
    """The boxes of one scene: box, class, score; what a better one overlaps left out."""
    logits = outputs[..., :3].astype(float) + np.log(0.01 / 0.99)
    decoded = np.asarray(of_boxes.decode(jnp.asarray(outputs[None, ..., 3:]), 4), float)[0]
    every = [
        (decoded[row, column], kind, 1 / (1 + np.exp(-logits[row, column, kind])))
        for row, column, kind in np.ndindex(8, 8, 3)
    ]
    every.sort(key=lambda each: -each[2])
    kept = []
    for box, kind, score in every[: found_objects.MOST_FOUND]:
        rivals = [each for each in kept if each[1] == kind]
        if all(coco.overlap(box, each[0]) <= nms for each in rivals):
            kept.append((box, kind, score))
    return kept


SPLITS = ["test", *(pytest.param(name, marks=pytest.mark.slow) for name in ("train", "validation"))]


@pytest.mark.parametrize("split", SPLITS)
def test_precision_is_that_of_loops_over_scenes(pieces, split):
    made = pieces()
    state, (config, net, _) = first_state(made), made.trainer.model(made.replica)
    bias = state.params["output"]["bias"].at[-2:].set(np.log(2.5))  # boxes of an object's size
    params = state.params | {"output": state.params["output"] | {"bias": bias}}

    @jax.jit
    def evaluated(params):
        found, right = detection.evaluate(config, net, params, state.model_state, made.data, split)
        assert right is None
        arrays, rows, layout = detection._laid_out(config, made.data, split)
        examples, labels = arrays["x"][rows], arrays["y"][rows[:, :3]]
        batch = scenes.compose(config.data, made.data.own["stats"], examples, labels, layout)
        outputs = net.apply({"params": params, **state.model_state}, batch["x"], train=False)
        return found, batch, outputs, *found_objects.losses(config.reading, outputs, batch)

    found, batch, outputs, lost, cells = evaluated(params)
    images = [
        (listed(one, 0.5), [(b, k) for b, k, p in zip(*truth, strict=True) if p])
        for one, *truth in zip(
            np.asarray(outputs),
            *(np.asarray(batch[n]) for n in ("boxes", "labels", "present")),
            strict=True,
        )
    ]
    assert len(images) == {"train": 45, "validation": 15, "test": 30}[split]
    by_class = np.array(
        [[coco.precision(images, kind, t) for t in THRESHOLDS] for kind in range(3)]
    )
    assert found["map"] == pytest.approx(np.nanmean(by_class), rel=1e-4)
    assert found["map_50"] == pytest.approx(np.nanmean(by_class[:, 0]), rel=1e-4)
    assert found["map_75"] == pytest.approx(np.nanmean(by_class[:, 5]), rel=1e-4)
    assert found["map_50"] > 0
    assert found["loss"] == pytest.approx(float(np.sum(lost) / np.sum(cells)), rel=1e-5)


def test_a_split_without_rows_has_no_scores(pieces):
    made = pieces(validation=0.0)
    state, (config, net, _) = first_state(made), made.trainer.model(made.replica)
    found = detection.evaluate(config, net, state.params, {}, made.data, "validation")
    assert found == ({}, None)


def test_what_is_there_is_found_in_full():
    """A net that knew everything: one cell of each object gives its box and class."""
    truth = jnp.array([[[2.0, 2, 12, 12], [17, 17, 30, 29]]])
    outputs = jnp.full((1, 8, 8, 6), -20.0).at[..., 2:].set(0)
    for box, kind in zip(truth[0], (1, 0), strict=True):
        column, row = ((box[:2] + box[2:]) / 2 // 4).astype(int).tolist()
        numbers = of_boxes.encode(jnp.broadcast_to(box, (8, 8, 4)), 4)[row, column]
        outputs = outputs.at[0, row, column, 2:].set(numbers).at[0, row, column, kind].set(20.0)
    batch = {
        "x": jnp.zeros((1, 32, 32, 1)), "boxes": truth, "labels": jnp.array([[1, 0]]),
        "present": jnp.ones((1, 2), bool),
    }  # fmt: skip

    @jax.jit
    def judged(outputs):
        seen = found_objects.judged(found_objects.Reading(), outputs, batch)
        return found_objects.precision(*seen, batch["labels"], batch["present"], 2)

    precision = judged(outputs)
    np.testing.assert_array_equal(precision, np.ones((2, 10)))


def test_every_step_has_scenes_of_its_own(pieces):
    made = pieces()
    inputs = functools.partial(detection.epoch_inputs, made.config, made.data, new_key(0))
    first, second = inputs(jnp.int32(0)), inputs(jnp.int32(1))
    assert first.shape == (2, 18, 5)
    assert (np.asarray(first) != np.asarray(second)).mean() > 0.8
    batches = [
        detection.make_batch(made.config, made.data, first[0], new_key(seed)) for seed in (0, 1)
    ]
    np.testing.assert_array_equal(batches[0]["labels"], batches[1]["labels"])
    assert (np.asarray(batches[0]["boxes"]) != np.asarray(batches[1]["boxes"])).mean() > 0.8
    own = made.dataset.splits["train"]["y"][np.asarray(made.data.own["train_rows"])]
    np.testing.assert_array_equal(batches[0]["labels"], own[np.asarray(first[0])][:, :3])


def test_the_picture_shows_what_is_there_and_what_is_found(pieces):
    made = pieces()
    state, (config, net, _) = first_state(made), made.trainer.model(made.replica)
    host = jax.tree.map(np.asarray, made.data)
    found = detection.pictures(config, net, state.params, state.model_state, host)
    picture = found["found"]
    assert picture.values.shape == (6, 100, 8)
    assert (np.diff(picture.values[..., 5]) <= 0).all()  # by score
    height, width = picture.pixels.shape[:2]
    assert height > 6 * 160 and width > 2 * 160
    yellow = (picture.pixels == (255, 200, 0)).all(-1)
    assert yellow[:, : width // 2].any() and not yellow[:, width // 2 :].any()


SPEC = Spec((8, 8), 3, train_rows=60)
REFUSED = {
    "weight": ({"box_weight": -1.0}, "--box-weight -1: must not be negative"),
    "gamma": ({"focal_gamma": -1.0}, "--focal-gamma -1: must not be negative"),
    "alpha": ({"focal_alpha": 1.0}, "--focal-alpha 1: above 0 and below 1"),
    "nms": ({"nms": 1.5}, "--nms 1.5: from 0 to 1"),
    "canvas": ({"canvas": 1}, "--canvas 1: from 2 to 64"),
    "dropout": ({"dropout": 1.0}, "--dropout 1.0: must be at least 0 and below 1"),
    "nothing dropped": (
        {"layers": "linear", "dropout": 0.5},
        "--dropout 0.5: --layers has no convolution",
    ),
    "scale": ({"init_scale": -1.0}, "--init-scale -1.0: must not be negative"),
    "word": ({"layers": "8k3 x"}, "--layers '8k3 x': 'x' is no layer"),
    "dense": ({"layers": "8k3 d8"}, "--layers '8k3 d8': the last layer has no positions"),
    "global": ({"layers": "8k3 global"}, "--layers '8k3 global': the last layer has no"),
    "whitening": (
        {"layers": "w2 8k3"},
        "--layers 'w2 8k3': a whitening layer has filters of images",
    ),
    "uneven": ({"layers": "8k3v"}, "--layers '8k3v': 30x30 cells do not divide scenes of 32x32"),
    "batch": ({"batch_size": 100}, "--batch-size 100 is larger than"),
}


@pytest.mark.parametrize(("changes", "message"), REFUSED.values(), ids=REFUSED)
def test_values_that_cannot_work_are_refused(changes, message):
    config = replace(detection.Config(), {"batch_size": 16, **changes})
    with pytest.raises(UsageError) as told:
        detection.check(config, SPEC)
    assert str(told.value).startswith(message)


@pytest.mark.slow
def test_a_study_finds_objects_and_reproduces(tmp_path, capsys):
    study = [
        "study", "detection", "--vary", "focal_gamma=2,0", "--seeds", "1", "--layers",
        "16k3 max2 32k3 max2 32k3", "--epochs", "4", "--diagnose", "--out",
        str(tmp_path / "study"),
    ]  # fmt: skip
    assert main(EXPERIMENTS, study, prog="launch.py") == 0
    said, told = capsys.readouterr()
    assert "warning" not in told
    assert "activation_3" in said
    with (tmp_path / "study" / "results.csv").open(newline="") as stream:
        lines = list(csv.DictReader(stream))
    assert all(float(line["test_map_50"]) > 0.2 for line in lines)
    assert (tmp_path / "study" / "pictures" / "cell_1" / "found.png").is_file()
    assert main(EXPERIMENTS, ["reproduce", str(tmp_path / "study")], prog="launch.py") == 0
    assert "identical" in capsys.readouterr().out
