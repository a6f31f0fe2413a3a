"""Blocks of text: what is kept, where it lies, and how close neighbours are."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import word_blocks as blocks

BLOCK, BATCH, WINDOW = 8, 2, 3


def text(words: int = 1000, vocabulary: int = 20) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    x = np.minimum(random.geometric(0.2, words), vocabulary).astype(np.int32) - 1
    return {"x": x, "lines": np.sort(random.integers(0, 40, words)).astype(np.int32)}


def cut(shares, seed=0):
    arrays = text()
    numbers = blocks.block_numbers(arrays["x"], shares, BLOCK, BATCH)
    found = blocks.cut_text(
        jax.random.key(seed), jax.tree.map(jnp.asarray, arrays), jnp.asarray(shares),
        jnp.asarray(numbers), BLOCK, WINDOW,
    )  # fmt: skip
    assert found["words"].shape == (*numbers.shape, BLOCK + 2 * WINDOW)
    return arrays, {name: np.asarray(leaf).reshape(-1, 14) for name, leaf in found.items()}


def test_shares_are_those_of_word2vec():
    counts = np.array([90_000, 9_000, 1_000])
    found = blocks.kept_shares(counts, 1e-2)
    np.testing.assert_allclose(found, [np.sqrt(1 / 90) + 1 / 90, np.sqrt(1 / 9) + 1 / 9, 1], 1e-6)
    np.testing.assert_array_equal(blocks.kept_shares(counts, 0), 1)


@pytest.mark.slow
def test_blocks_are_the_text_and_its_surroundings():
    arrays, found = cut(np.ones(20, np.float32))
    middle = {name: leaf[:, WINDOW:-WINDOW] for name, leaf in found.items()}
    by_first_line = np.argsort(
        np.where(middle["lines"] < 0, 99, middle["lines"]).min(1), kind="stable"
    )
    assert not np.array_equal(by_first_line, np.arange(len(by_first_line)))  # shuffled
    held = middle["lines"] >= 0
    assert held.sum() == len(arrays["x"])
    pairs = np.stack([middle["lines"][held], middle["words"][held]], 1)
    expected = np.stack([arrays["lines"], arrays["x"]], 1)
    np.testing.assert_array_equal(pairs[np.lexsort(pairs.T)], expected[np.lexsort(expected.T)])
    stretched = np.concatenate([np.full(WINDOW, -1), arrays["x"], np.full(WINDOW, -1)])
    for row, lines in zip(found["words"], found["lines"], strict=True):
        if (lines >= 0).all():
            windows = np.lib.stride_tricks.sliding_window_view(stretched, len(row))
            assert (windows == row).all(1).any()  # its surroundings are those of the text


@pytest.mark.slow
def test_words_are_kept_as_often_as_their_shares_say():
    shares = np.linspace(0.2, 1, 20).astype(np.float32)
    kept, whole = np.zeros(20), np.bincount(text()["x"], minlength=20)
    for seed in range(20):
        _, found = cut(shares, seed)
        held = found["lines"][:, WINDOW:-WINDOW] >= 0
        kept += np.bincount(found["words"][:, WINDOW:-WINDOW][held], minlength=20)
    sd = np.sqrt(20 * whole * shares * (1 - shares))
    assert (np.abs(kept - 20 * whole * shares) <= 4 * sd + 1e-9).all()
    assert (kept < 20 * whole)[:5].all()


@pytest.mark.parametrize("words", [1, 1000])
def test_blocks_have_room_for_what_is_kept(words):
    x = np.zeros(words, np.int32)
    numbers = blocks.block_numbers(x, np.array([0.5], np.float32), BLOCK, BATCH)
    most = words / 2 + 6 * np.sqrt(words) / 2
    assert numbers.size * BLOCK >= most and (len(numbers) - 1) * BATCH * BLOCK < most
    np.testing.assert_array_equal(numbers.ravel(), np.arange(numbers.size))


@pytest.mark.slow
def test_closeness_counts_pairs_that_beat_a_stranger():
    random = np.random.default_rng(0)
    words = random.integers(0, 6, (5, 12))
    lines = random.integers(-1, 2, (5, 12))
    table = random.normal(size=(6, 4))
    unit = table / np.linalg.norm(table, axis=1, keepdims=True)
    won = compared = 0.0
    for b, i, j in np.ndindex(5, 12, 12):
        one, two, stranger = (int(words[b - k, n]) for k, n in ((0, i), (0, j), (1, j)))
        if not (i != j and abs(i - j) <= 2 and lines[b, i] == lines[b, j] >= 0):
            continue
        if one in {two, stranger} or lines[b - 1, j] < 0:
            continue
        compared += 1
        like, unlike = unit[one] @ unit[two], unit[one] @ unit[stranger]
        won += 0.5 if two == stranger else like > unlike
    found = blocks.closer(jnp.asarray(table[words]), jnp.asarray(words), jnp.asarray(lines), 2)
    assert compared > 10
    np.testing.assert_allclose(found, [won, compared])
