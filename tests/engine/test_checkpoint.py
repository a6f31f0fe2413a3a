"""Checkpoints: every kind of array comes back to the bit, and a damaged one never does."""

import collections
import dataclasses
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.engine import checkpoint
from experiments.engine.checkpoint import Checkpoints
from experiments.engine.errors import AblaxError
from experiments.engine.step import State

Disk = collections.namedtuple("Disk", "total used free")


def make_tree(seed=0):
    """A state with a leaf of every kind."""
    values = np.random.default_rng(seed).normal(size=(2, 5)).astype(np.float32)
    params = {
        "float": jnp.asarray(values),
        "half": jnp.asarray(values, jnp.bfloat16),
        "nan": jnp.array([np.nan, -np.inf, -0.0, 1e-45], jnp.float32),
        "mask": jnp.asarray(values > 0),
        "wide": jnp.asarray((values * 1e6).astype(np.int32)),
        "byte": jnp.asarray(values.view(np.uint8)[:, :3]),
        "none": jnp.zeros((0, 3)),
    }
    keys = {"one": jax.random.key(seed), "many": jax.random.split(jax.random.key(seed, impl="rbg"))}
    step = jnp.asarray(seed, jnp.int32)
    return State(step, params, (keys, (), [jnp.float32(seed)]), {}, step - 1), {"loss": values[0]}


def shapes(tree):
    return jax.eval_shape(lambda tree: tree, tree)


def bits(leaf):
    if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return jax.random.key_impl(leaf), np.asarray(jax.random.key_data(leaf)).tobytes()
    return str(leaf.dtype), leaf.shape, np.asarray(leaf).tobytes()


def assert_same(found, wanted):
    assert jax.tree.structure(found) == jax.tree.structure(wanted)
    assert list(map(bits, jax.tree.leaves(found))) == list(map(bits, jax.tree.leaves(wanted)))


@pytest.fixture
def warned():
    return []


@pytest.fixture
def checkpoints(tmp_path, warned):
    return Checkpoints(tmp_path / "checkpoints", 2, warned.append)


def save(checkpoints, number):
    checkpoints.save(make_tree(number), {"number": number})
    checkpoints.wait()


def numbers(checkpoints):
    return [description["number"] for _, description in checkpoints.described()]


def newest(checkpoints, like):
    """What a resumed training would take: the first that loads, and its number."""
    for path, description in checkpoints.described():
        loaded = checkpoints.load(path, description, like)
        if loaded is not None:
            return loaded, description["number"]
    return None, None


def test_every_kind_of_leaf_comes_back_to_the_bit(checkpoints, warned):
    tree = make_tree(3)
    checkpoints.save(tree, {"jobs": [["report", 0, [["rate", "0.1"]], 7]], "epoch": 2})
    checkpoints.wait()
    ((path, description),) = checkpoints.described()
    assert description["jobs"] == [["report", 0, [["rate", "0.1"]], 7]]
    assert description["epoch"] == 2
    assert_same(checkpoints.load(path, description, shapes(tree)), tree)
    assert_same(checkpoints.load(path, description, tree), tree)  # arrays have shapes, too
    assert warned == []


def test_what_is_saved_is_what_was_there_at_the_call(checkpoints):
    """Training goes on in the very buffers while the save is under way."""
    arrays = {"a": jnp.arange(1 << 16, dtype=jnp.float32)}
    wanted = np.asarray(arrays["a"]).copy()
    overwrite = jax.jit(lambda tree: jax.tree.map(lambda x: x * 0 - 1, tree), donate_argnums=0)
    checkpoints.save(arrays, {})
    after = jax.block_until_ready(overwrite(arrays))
    assert arrays["a"].is_deleted()
    checkpoints.wait()
    ((path, description),) = checkpoints.described()
    np.testing.assert_array_equal(checkpoints.load(path, description, after)["a"], wanted)
    host = {"a": np.zeros(1 << 16, np.float32)}
    checkpoints.save(host, {})
    host["a"][:] = 1
    checkpoints.wait()
    path, description = checkpoints.described()[0]
    assert not checkpoints.load(path, description, host)["a"].any()


def test_the_last_few_are_kept_and_the_newest_comes_first(tmp_path, checkpoints):
    for number in range(1, 4):
        save(checkpoints, number)
    assert numbers(checkpoints) == [3, 2]
    again = Checkpoints(tmp_path / "checkpoints", 1, print)  # a later process numbers on
    save(again, 4)
    assert numbers(again) == [4]
    loaded, _ = newest(again, make_tree(4))
    assert_same(loaded, make_tree(4))
    again.clear()
    assert again.described() == [] and list(tmp_path.iterdir()) == []


def test_the_newest_is_the_highest_number_not_the_last_name(tmp_path, checkpoints):
    save(checkpoints, 1)
    for end in ("", ".json"):
        old, new = (tmp_path / "checkpoints" / f"{name}{end}" for name in ("000001", "999999"))
        old.rename(new)
    save(checkpoints, 2)
    assert numbers(checkpoints) == [2, 1]
    save(checkpoints, 3)
    assert numbers(checkpoints) == [3, 2]


def test_what_a_killed_save_leaves_is_ignored(tmp_path, checkpoints, warned):
    save(checkpoints, 1)
    folder = tmp_path / "checkpoints"
    for name in ("000002.orbax-checkpoint-tmp", "000002.orbax-checkpoint-tmp-17", "tmp"):
        shutil.copytree(folder / "000001", folder / name)
    assert numbers(checkpoints) == [1]
    save(checkpoints, 2)
    assert numbers(checkpoints) == [2, 1] and warned == []
    (folder / "000009").mkdir()  # numbered, but without a description: never finished
    assert numbers(checkpoints) == [2, 1] and warned == []
    (folder / "000009.json").write_text("{")
    assert numbers(checkpoints) == numbers(checkpoints) == [2, 1]
    assert warned == [f"warning: {folder / '000009'} is damaged (its description): passed over"]


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Two checkpoints; the tests damage the newer one."""
    folder = tmp_path_factory.mktemp("pair")
    checkpoints = Checkpoints(folder / "checkpoints", 2, print)
    for number in (1, 2):
        save(checkpoints, number)
    newer = folder / "checkpoints" / "000002"
    description = newer.with_name("000002.json")
    files = [*sorted(path for path in newer.rglob("*") if path.is_file()), description]
    assert len(files) >= 5
    return folder, files


def flip(content, place):
    damaged = bytearray(content)
    damaged[place] ^= 1 << (place % 8)
    return bytes(damaged)


DAMAGES = {
    "first byte": lambda content: flip(content, 0),
    "one third": lambda content: flip(content, len(content) // 3),
    "the end": lambda content: flip(content, len(content) - 1),
    "cut": lambda content: content[: len(content) // 2],
    "removed": lambda content: None,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_falls_back_and_never_loads_other_values(pair, damage):
    """Orbax itself reads most flipped bits back without noticing; a few do not matter to it."""
    folder, files = pair
    like, fell_back = shapes(make_tree()), 0
    for path in files:
        content = path.read_bytes()
        if not content:
            continue
        damaged = DAMAGES[damage](content)
        path.unlink() if damaged is None else path.write_bytes(damaged)
        warned = []
        loaded, number = newest(Checkpoints(folder / "checkpoints", 2, warned.append), like)
        path.write_bytes(content)
        assert number in (1, 2), path
        assert_same(loaded, make_tree(number))
        never_finished = damaged is None and path.suffix == ".json"
        assert len(warned) == (number == 1 and not never_finished), (path, warned)
        fell_back += number == 1
    assert fell_back >= 3
    assert newest(Checkpoints(folder / "checkpoints", 2, print), like)[1] == 2


def test_arrays_swapped_under_a_sound_description_are_noticed(pair, tmp_path):
    folder, _ = pair
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    newer, older = (tmp_path / "checkpoints" / name for name in ("000002", "000001"))
    for path in older.rglob("*"):
        if path.is_dir() and path.parent == older:
            shutil.rmtree(newer / path.name)
            shutil.copytree(path, newer / path.name)
    warned = []
    loaded, number = newest(
        Checkpoints(tmp_path / "checkpoints", 2, warned.append), shapes(make_tree())
    )
    assert number == 1
    assert_same(loaded, make_tree(1))
    assert warned == [f"warning: {newer} is damaged: passed over"]


def changed(name):
    state, sums = make_tree(1)
    params, half = dict(state.params), state.params["half"]
    if name == "shape":
        params["float"] = params["float"].T
    elif name == "dtype":
        params["half"] = half.astype(jnp.float16)
    elif name == "renamed":
        params["other"] = params.pop("float")
    elif name == "fewer":
        del params["float"]
    elif name == "empty":
        params["none"] = jnp.zeros((3, 0))
    elif name == "key":
        return dataclasses.replace(state, step=jax.random.key(1)), sums
    return dataclasses.replace(state, params=params), sums


@pytest.mark.parametrize("name", ["shape", "dtype", "renamed", "fewer", "empty", "key"])
def test_a_checkpoint_of_other_code_is_passed_over(pair, name):
    """Also where all shapes agree and only a name tells which array is which."""
    warned = []
    checkpoints = Checkpoints(pair[0] / "checkpoints", 2, warned.append)
    assert newest(checkpoints, shapes(changed(name))) == (None, None)
    assert len(warned) == 2 and all("was written by other code" in text for text in warned)
    assert newest(checkpoints, shapes(make_tree(1)))[1] == 2


def one_line(caught):
    text = str(caught.value)
    assert text.startswith("a checkpoint could not be written: ") and "\n" not in text
    assert caught.value.code == 1
    return text


def test_a_full_disk_is_told_in_one_line(checkpoints, monkeypatch):
    save(checkpoints, 1)
    monkeypatch.setattr(checkpoint.shutil, "disk_usage", lambda path: Disk(10**9, 10**9, 10_000))
    with pytest.raises(AblaxError) as caught:
        save(checkpoints, 2)
    assert "0.0 MB free; what was recorded is kept: put that right" in one_line(caught)
    monkeypatch.undo()
    assert numbers(checkpoints) == [1]
    save(checkpoints, 3)
    assert numbers(checkpoints) == [3, 1]


def test_a_folder_that_is_a_file_is_told_in_one_line(tmp_path, checkpoints):
    (tmp_path / "checkpoints").write_text("x")
    with pytest.raises(AblaxError) as caught:
        save(checkpoints, 1)
    one_line(caught)
    assert checkpoints.described() == []


def test_a_save_that_fails_later_is_told_at_the_next_question(checkpoints, monkeypatch):
    class Failed:
        def result(self):
            raise OSError(28, "No space left on device\nand much more")

    save(checkpoints, 1)
    for ask in (checkpoints.wait, checkpoints.clear, lambda: save(checkpoints, 2)):
        checkpoints._pending = Failed()
        with pytest.raises(AblaxError) as caught:
            ask()
        assert "No space left on device; what was recorded" in one_line(caught)
        assert numbers(checkpoints) == [1]
    save(checkpoints, 3)
    assert numbers(checkpoints) == [3, 1]
