import dataclasses
import zlib
from collections.abc import Callable

import jax
import numpy as np
import pytest

from experiments.data import mnist1d, preprocess
from experiments.data.dataset import Dataset, Spec, make_dataset
from experiments.data.split import Data, check, prepare, select
from experiments.engine import config
from experiments.engine.errors import UsageError


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return mnist1d.load()


def streams(seed: int) -> Callable[[str], np.random.Generator]:
    return lambda name: np.random.default_rng([seed, zlib.crc32(name.encode())])


def test_rows_are_a_partition(dataset):
    own = prepare(Data(validation=0.25), dataset, streams(3))
    assert (len(own["train_rows"]), len(own["validation_rows"])) == (3000, 1000)
    together = np.concatenate([own["train_rows"], own["validation_rows"]])
    np.testing.assert_array_equal(np.sort(together), np.arange(4000))
    assert {own[name].dtype.name for name in ("train_rows", "validation_rows", "labels")} == {
        "int32"
    }
    np.testing.assert_array_equal(own["labels"], dataset.splits["train"]["y"][own["train_rows"]])


def test_seeds_give_other_rows_and_the_same_seed_the_same(dataset):
    one, same, other = (prepare(Data(), dataset, streams(s)) for s in (1, 1, 2))
    jax.tree.map(np.testing.assert_array_equal, one, same)
    assert set(one["validation_rows"]) != set(other["validation_rows"])


def test_smaller_training_sets_are_nested_and_leave_validation_alone(dataset):
    sizes = (None, 900, 100)
    full, middle, small = (prepare(Data(train_size=n), dataset, streams(0)) for n in sizes)
    assert (len(full["train_rows"]), len(middle["train_rows"])) == (3600, 900)
    assert set(small["train_rows"]) < set(middle["train_rows"]) < set(full["train_rows"])
    for own in (middle, small):
        np.testing.assert_array_equal(own["validation_rows"], full["validation_rows"])


def test_statistics_see_neither_validation_nor_test_nor_left_out_rows(dataset):
    data = Data(train_size=500, preprocess="pca", whitening_epsilon=1e-3)
    own = prepare(data, dataset, streams(0))
    spoilt = {s: {k: v.copy() for k, v in a.items()} for s, a in dataset.splits.items()}
    hidden = np.setdiff1d(np.arange(4000), own["train_rows"])
    spoilt["train"]["x"][hidden] = 1e3
    spoilt["test"]["x"][:] = -1e3
    other = prepare(data, make_dataset("spoilt", spoilt, dataset.spec), streams(0))
    jax.tree.map(np.testing.assert_array_equal, own, other)
    expected = preprocess.fit("pca", dataset.splits["train"]["x"][own["train_rows"]], epsilon=1e-3)
    jax.tree.map(np.testing.assert_array_equal, own["stats"], expected)


def test_label_noise_has_its_rate_and_spares_validation(dataset):
    own = prepare(Data(label_noise=0.3), dataset, streams(0))
    clean = dataset.splits["train"]["y"][own["train_rows"]]
    wrong = own["labels"] != clean
    assert abs(wrong.mean() - 0.3) < 4 * np.sqrt(0.3 * 0.7 / 3600)
    shifts = np.bincount((own["labels"] - clean)[wrong] % 10, minlength=10)
    expected = wrong.sum() / 9  # every other class equally often: chi-squared, 8 degrees
    assert shifts[0] == 0
    assert ((shifts[1:] - expected) ** 2 / expected).sum() < 26.1  # p = 0.001


def test_label_noise_is_nested_across_rates_and_sizes(dataset):
    def labels(rate: float | None, size: int | None = None) -> np.ndarray:
        return prepare(Data(label_noise=rate, train_size=size), dataset, streams(0))["labels"]

    clean, low, high = labels(None), labels(0.1), labels(0.6)
    np.testing.assert_array_equal(labels(0.0), clean)
    changed = low != clean
    assert changed.any()
    np.testing.assert_array_equal(low[changed], high[changed])
    np.testing.assert_array_equal(labels(0.1, 200), low[:200])


def test_binary_keeps_two_classes_numbered_in_the_order_given(dataset):
    chosen = select(Data(binary=(5, 3)), dataset)
    for split, arrays in dataset.splits.items():
        expected = [
            (x, {5: 0, 3: 1}[y]) for x, y in zip(*arrays.values(), strict=True) if y in (3, 5)
        ]
        np.testing.assert_array_equal(chosen.splits[split]["x"], [x for x, _ in expected])
        np.testing.assert_array_equal(chosen.splits[split]["y"], [y for _, y in expected])
    assert chosen.spec.classes == 2
    assert chosen.spec.train_rows == len(chosen.splits["train"]["y"])
    assert chosen.splits["test"]["y"].dtype == np.int32
    assert chosen.digest != dataset.digest


def test_permute_moves_positions_alike_in_all_rows(dataset):
    shuffled = select(Data(permute=True), dataset)
    order = np.random.RandomState(0).permutation(40)
    for split, arrays in dataset.splits.items():
        np.testing.assert_array_equal(shuffled.splits[split]["x"], arrays["x"][:, order])
        np.testing.assert_array_equal(shuffled.splits[split]["y"], arrays["y"])
    assert (order != np.arange(40)).any()
    assert shuffled.digest != dataset.digest


def test_permute_keeps_the_colours_of_a_pixel_together():
    x = np.arange(2 * 4 * 5 * 3).reshape(2, 4, 5, 3).astype(np.uint8)
    arrays = {"x": x, "y": np.array([0, 1], np.int32)}
    dataset = make_dataset("some", {"train": arrays, "test": arrays}, Spec((4, 5, 3), 2))
    moved = select(Data(permute=True), dataset).splits["train"]["x"]
    before, after = x.reshape(2, 20, 3).tolist(), moved.reshape(2, 20, 3).tolist()
    for row in range(2):
        assert sorted(after[row]) == sorted(before[row])
        assert after[row] != before[row]


def test_nothing_selected_is_the_same_data_set(dataset):
    assert select(Data(), dataset) is dataset


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"validation": -0.1}, "--validation -0.1: must be at least 0 and below 1"),
        ({"validation": 1.0}, "--validation 1: must be at least 0"),
        ({"validation": float("nan")}, "--validation nan"),
        ({"validation": 1e-6}, "leaves 0 rows for validation and 4000 for training"),
        ({"validation": 0.9999}, "leaves 4000 rows for validation and 0 for training"),
        ({"train_size": 0}, "--train-size 0: must be 1 to 3,600"),
        ({"train_size": 3601}, "--train-size 3601: must be 1 to 3,600"),
        ({"preprocess": "pca", "components": 40}, "--components 40: must be 1 to 39; none keeps"),
        ({"preprocess": "principal", "components": 0}, "--components 0: must be 1 to 39"),
        ({"whitening_epsilon": 0.0}, "--whitening-epsilon 0: must be above 0 and below 1"),
        ({"whitening_epsilon": float("nan")}, "--whitening-epsilon nan: must be above 0"),
        ({"components": 3}, "--components 3: only with --preprocess pca or principal"),
        ({"label_noise": 1.0}, "--label-noise 1: must be at least 0 and below 1"),
        ({"label_noise": -0.1}, "--label-noise -0.1"),
    ],
)
def test_values_that_cannot_work_name_their_flag(dataset, changes, message):
    data = dataclasses.replace(Data(), **changes)
    with pytest.raises(UsageError, match=message):
        check(data, dataset.spec)
    with pytest.raises(UsageError, match=message):
        prepare(data, dataset, streams(0))


@pytest.mark.parametrize("size", [1, 3600, None])
def test_values_at_the_edge_work(dataset, size):
    data = Data(train_size=size, label_noise=0.0)
    check(data, dataset.spec)
    assert len(prepare(data, dataset, streams(0))["train_rows"]) == (size or 3600)


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ((3,), "--binary 3: name at least two different classes"),
        ((3, 3), "--binary 3,3: name at least two different classes"),
        ((3, 10), "--binary 3,10: there is no class 10; the classes are 0 to 9"),
        ((-1, 3), "there is no class -1"),
    ],
)
def test_binary_classes_must_exist_and_differ(dataset, classes, message):
    with pytest.raises(UsageError, match=message):
        select(Data(binary=classes), dataset)


@pytest.mark.parametrize(
    ("split", "labels", "message"),
    [
        ("test", [0, 0], "--binary 1,2: the test split has no examples of class 1 or 2; name"),
        ("train", [0, 1], "--binary 1,2: the train split has no examples of class 2; name"),
    ],
)
def test_binary_classes_must_be_in_each_split(split, labels, message):
    x, whole = np.zeros((6, 4), np.float32), np.arange(6) % 3
    splits = {name: {"x": x, "y": whole} for name in ("train", "test")}
    splits[split] = {"x": x[:2], "y": np.array(labels)}
    with pytest.raises(UsageError, match=message):
        select(Data(binary=(1, 2)), make_dataset("some", splits, Spec((4,), 3)))


def test_only_label_noise_is_traced_and_every_field_is_documented():
    leaves = config.leaves(Data)
    assert [name for name, leaf in leaves.items() if leaf.is_float] == ["label_noise"]
    assert all(leaf.doc for leaf in leaves.values())


def test_no_validation_rows_train_on_everything(dataset):
    own = prepare(Data(validation=0.0), dataset, streams(0))
    assert own["validation_rows"].shape == (0,)
    np.testing.assert_array_equal(np.sort(own["train_rows"]), np.arange(4000))
    assert (np.diff(own["train_rows"]) < 0).any()


def test_the_order_of_the_file_keeps_the_rows_and_their_labels(dataset):
    shuffled, filed = (
        prepare(Data(order=order, train_size=900, label_noise=0.2), dataset, streams(5))
        for order in ("shuffled", "file")
    )
    np.testing.assert_array_equal(filed["train_rows"], np.sort(shuffled["train_rows"]))
    np.testing.assert_array_equal(filed["validation_rows"], shuffled["validation_rows"])
    given = dict(zip(shuffled["train_rows"], shuffled["labels"], strict=True))
    assert [given[row] for row in filed["train_rows"]] == filed["labels"].tolist()
