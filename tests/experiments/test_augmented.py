"""Augmentation in an experiment: what a step sees, the loss of mixtures, and a study of it."""

import csv
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import classification, convolutional, mlp
from experiments.data.augment import Augmentation, augment
from experiments.engine.config import replace
from experiments.engine.errors import UsageError
from experiments.engine.experiment import Data
from experiments.engine.keys import key_of
from experiments.engine.run import run_study
from tests.experiments.conftest import Pieces, first_state, make_pieces, reference_losses

ROWS = 150


@dataclasses.dataclass(frozen=True)
class Config(mlp.Config):
    """A perceptron of augmented images.

    Attributes:
        augmentation: of the training images.
    """

    augmentation: Augmentation = Augmentation()


AUGMENTED = dataclasses.replace(
    mlp.EXPERIMENT,
    name="augmented",
    config=Config(),
    check=convolutional.check_augmented,
    epoch_inputs=convolutional.augmented_epoch_inputs,
    make_batch=convolutional.augmented_batch,
)


@pytest.fixture(scope="module")
def images_file(tmp_path_factory) -> str:
    """150 training and 40 test images of 5x4x3 in three classes; the left side is darker."""
    random = np.random.default_rng(0)
    arrays = {}
    for name, rows in {"train": ROWS, "test": 40}.items():
        arrays[f"x_{name}"] = random.integers(0, 128, (rows, 5, 4, 3), dtype=np.uint8)
        arrays[f"x_{name}"][:, :, 2:] += 128
        arrays[f"y_{name}"] = np.arange(rows) % 3
    path = tmp_path_factory.mktemp("images") / "images.npz"
    np.savez(path, **arrays)
    return str(path)


@pytest.fixture(scope="module")
def make(images_file):
    """Builds the pieces of one replica from changes of the config."""

    def build(seed: int = 0, **changes: Any) -> Pieces:
        small = {"dataset": "file", "data_file": images_file, "width": (7,), "batch_size": 20}
        changes = small | {"preprocess": "none"} | changes
        return make_pieces(AUGMENTED, seed, **changes)

    return build


def epoch(made: Pieces, number: int) -> dict[str, Any]:
    drawn = jax.jit(made.trainer.epoch_inputs)(made.replica, made.data, number)
    return {name: np.asarray(leaf) for name, leaf in drawn.items()}


def batch(made: Pieces, x: Any, seed: int = 0) -> dict[str, jax.Array]:
    make_batch = jax.jit(lambda x, key: AUGMENTED.make_batch(made.config, made.data, x, key))
    return make_batch(x, jax.random.key(seed))


def test_rows_are_those_of_plain_training_and_flips_come_only_where_they_alternate(make):
    made = make(flip="alternating", validation=0.2)
    inputs = epoch(made, 3)
    assert set(inputs) == {"rows", "flip"}
    assert inputs["flip"].shape == inputs["rows"].shape == (6, 20)
    assert inputs["flip"].dtype == bool
    key = key_of(jnp.int32(0), "order")
    plain = classification.epoch_inputs(made.config, made.data, key, jnp.int32(3))
    np.testing.assert_array_equal(inputs["rows"], plain)
    for other in ("none", "random"):
        assert set(epoch(make(flip=other), 0)) == {"rows"}


def test_alternating_flips_alternate_for_each_example_though_they_are_shuffled(make):
    made = make(flip="alternating", batch_size=27, validation=0.0)
    assert ROWS % 27
    seen: dict[int, dict[int, bool]] = {row: {} for row in range(ROWS)}
    for number in range(6):
        inputs = epoch(made, number)
        for rows, flips in zip(inputs["rows"], inputs["flip"], strict=True):
            x = np.asarray(batch(made, {"rows": rows, "flip": flips}, number)["x"])
            mirrored = x[:, :, 0].mean((1, 2)) > x[:, :, -1].mean((1, 2))
            np.testing.assert_array_equal(mirrored, flips)
            for row, flipped in zip(rows.tolist(), mirrored.tolist(), strict=True):
                seen[row][number] = flipped
    starts = set()
    for flipped in seen.values():
        (start,) = {bool(flip) ^ bool(number % 2) for number, flip in flipped.items()}
        starts.add(start)
    assert starts == {False, True}
    assert sum(map(len, seen.values())) == 6 * 5 * 27


def test_a_batch_is_the_plain_one_augmented_after_preprocessing(make):
    made = make(translate=2, flip="random", cutout=2, preprocess="centre_channel", label_noise=0.2)
    rows = jnp.array([3, 0, 77])
    plain = classification.make_batch(made.config, made.data, rows, jax.random.key(1))
    found = batch(made, {"rows": rows}, 1)
    expected = augment(made.config.augmentation, plain["x"], jax.random.key(1))
    np.testing.assert_allclose(found["x"], expected, atol=1e-6)
    np.testing.assert_array_equal(found["y"], plain["y"])
    assert set(found) == {"x", "y"}
    assert (np.asarray(found["x"]) == 0).sum() > (np.asarray(plain["x"]) == 0).sum()


@pytest.mark.slow
@pytest.mark.parametrize("objective", [{}, {"l2": 0.1}])
def test_the_loss_of_a_mixture_is_that_of_both_labels_by_their_shares(make, objective):
    made = make(mixup=0.8, **objective)
    params = first_state(made).params
    mixed = batch(made, {"rows": jnp.arange(20)})
    _, net, _ = made.trainer.model(made.replica)
    loss, (_, measured) = jax.jit(
        lambda batch, key: AUGMENTED.loss_fn(made.config, net, params, {}, batch, key)
    )(mixed, jax.random.key(0))
    hidden = np.asarray(mixed["x"], np.float64).reshape(20, -1)
    for name in ("layer_1", "output"):
        layer = {key: np.asarray(value, np.float64) for key, value in params[name].items()}
        hidden = hidden @ layer["kernel"] + layer["bias"]
        hidden = np.maximum(hidden, 0) if name == "layer_1" else hidden
    weight, labels = float(mixed["weight"]), [np.asarray(mixed[n]) for n in ("y", "y_other")]
    assert (labels[0] != labels[1]).any() and 0.02 < weight < 0.98
    shares = (weight, 1 - weight)
    expected = sum(
        s * reference_losses(hidden, y).mean() for s, y in zip(shares, labels, strict=True)
    )
    right = sum(s * (hidden.argmax(1) == y).mean() for s, y in zip(shares, labels, strict=True))
    assert float(measured["loss"]) == pytest.approx(expected, rel=1e-5)
    assert float(measured["accuracy"]) == pytest.approx(right, rel=1e-5)
    kernels = sum((np.asarray(layer["kernel"], np.float64) ** 2).sum() for layer in params.values())
    added = objective.get("l2", 0) * kernels
    assert float(loss) == pytest.approx(expected + added, rel=1e-5)


def test_evaluation_is_never_augmented(make):
    plain = make()
    strong = make(translate=3, fill="reflect", flip="alternating", cutout=4, mixup=1.0)
    state = first_state(plain)
    for rows in ("train", "validation", "test"):
        scores = [
            jax.jit(made.trainer.evaluate, static_argnums=3)(
                made.trainer.current(state, made.replica), made.replica, made.data, rows
            )
            for made in (plain, strong)
        ]
        jax.tree.map(np.testing.assert_array_equal, *scores)


@pytest.mark.slow
def test_replicas_side_by_side_train_as_each_alone(make):
    """Two seeds, two traced alphas: a vmapped step is that of each replica."""
    made = [
        make(seed=seed, translate=2, flip="alternating", cutout=2, mixup=alpha)
        for seed, alpha in enumerate((0.3, 2.0))
    ]
    trainer = made[0].trainer
    assert trainer == made[1].trainer

    def seen(replica, own, splits):
        data = Data(splits, own)
        xs = trainer.epoch_inputs(replica, data, jnp.int32(1))
        config, *_ = trainer.model(replica)
        x = jax.tree.map(lambda leaf: leaf[0], xs)
        return AUGMENTED.make_batch(config, data, x, key_of(replica.seed, "noise"))

    def stack(*leaves):
        return jnp.stack(leaves)

    lanes = [jax.tree.map(stack, *(pick(m) for m in made)) for pick in (
        lambda m: m.replica, lambda m: m.data.own,
    )]  # fmt: skip
    together = jax.jit(jax.vmap(seen, in_axes=(0, 0, None)))(*lanes, made[0].data.splits)
    for lane, one in enumerate(made):
        alone = jax.jit(seen)(one.replica, one.data.own, one.data.splits)
        for name, array in alone.items():
            np.testing.assert_allclose(together[name][lane], array, atol=1e-6)
    assert float(together["weight"][0]) != float(together["weight"][1])


@pytest.mark.slow
def test_a_study_of_augmentation(images_file, tmp_path):
    result = run_study(
        AUGMENTED,
        replace(Config(), {
            "dataset": "file", "data_file": images_file, "width": (), "batch_size": 20,
            "epochs": 2, "translate": 1, "cutout": 2, "mixup": 0.2,
        }),
        vary={"flip": ["none", "alternating"], "mixup": [0.2, 0.5]},
        seeds=2,
        out=tmp_path / "study",
    )  # fmt: skip
    assert result.folder == tmp_path / "study"
    with (tmp_path / "study" / "results.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 8 and {row["status"] for row in rows} == {"finished"}
    assert {(row["flip"], row["mixup"]) for row in rows} == {
        (flip, mixup) for flip in ("none", "alternating") for mixup in ("0.2", "0.5")
    }
    assert len({row["parameters_sha256"] for row in rows}) == 8


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"translate": 4}, "--translate 4: must be 1 to 3, for inputs of 5x4x3"),
        ({"batch_size": 1000}, "--batch-size 1000 is larger than the training set"),
        ({"preprocess": "pca", "flip": "random"}, "--preprocess pca: principal components have no"),
        ({"preprocess": "principal", "cutout": 1}, "--preprocess principal: principal components"),
    ],
)
def test_what_cannot_be_augmented_is_refused(make, changes, message):
    with pytest.raises(UsageError) as caught:
        make(**changes)
    assert str(caught.value).startswith(message)


def test_mixup_goes_with_principal_components(make):
    """It needs no positions; nothing is raised."""
    made = make(preprocess="pca", components=5, mixup=0.4)
    assert batch(made, {"rows": jnp.arange(4)})["x"].shape == (4, 5)
