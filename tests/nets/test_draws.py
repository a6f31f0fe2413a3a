"""Random bits against the published answers of Threefry, and against JAX's."""

import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
import pytest

from nets.draws import short_draws, threefry_2x32

ANSWERS = [
    ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
    ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
    ((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0)),
]
"""Key, counters and words of the file kat_vectors of Random123, 20 rounds."""


def words(*values):
    return jnp.asarray(np.array(values, np.uint32))


@pytest.mark.parametrize(("key", "counters", "wanted"), ANSWERS)
def test_known_answers(key, counters, wanted):
    found = threefry_2x32(words(*key), *words(*counters))
    assert tuple(int(word) for word in found) == wanted


def test_the_words_of_jax():
    key, counters = jax.random.key_data(jax.random.key(5)), jnp.arange(14, dtype=jnp.uint32)
    found = jnp.concatenate(jax.jit(threefry_2x32)(key, counters[:7], counters[7:]))
    np.testing.assert_array_equal(found, jax.extend.random.threefry_2x32(key, counters))


@pytest.mark.parametrize("generator", ["threefry2x32", "rbg"])
def test_short_draws_are_uniform_and_apart(generator):
    key = jax.random.key(3, impl=generator)
    draws = np.stack(jax.jit(lambda key: short_draws(key, 128, 512))(key))
    assert draws.shape == (4, 128, 512)
    assert draws.max() < 65_536
    for bit in range(16):
        share = ((draws >> bit) & 1).mean(axis=(1, 2))
        assert np.all(np.abs(share - 0.5) < 4.5 * 0.5 / 256), bit
    flat = draws.reshape(4, -1) / 65_536 - 0.5
    correlation = np.corrcoef(flat) - np.eye(4)
    assert np.all(np.abs(correlation) < 4.5 / 256)
    assert len(np.unique(draws.reshape(4, -1), axis=1).T) == 128 * 512  # no block comes twice


def test_short_draws_of_equal_keys_alone():
    first, same, other = (short_draws(jax.random.key(seed), 2, 50) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, same)
    assert np.mean(np.stack(first) == np.stack(other)) < 0.05
