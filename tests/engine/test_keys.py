"""Named random streams: a function of seed and name alone."""

import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from experiments.engine.keys import GENERATOR, STREAMS, Streams, key_of, permutation


def bits(key):
    return tuple(jax.random.key_data(key).tolist())


def test_a_stream_is_the_seed_folded_with_the_checksum_of_its_name():
    for seed in (0, 7):
        for stream in STREAMS:
            expected = jax.random.fold_in(jax.random.key(seed), zlib.crc32(stream.encode()))
            assert bits(key_of(jnp.int32(seed), stream)) == bits(expected)


def test_streams_and_seeds_differ_and_fix_pins_one():
    keys = {bits(key_of(jnp.int32(seed), stream)) for seed in range(20) for stream in STREAMS}
    assert len(keys) == 20 * len(STREAMS)
    pinned = [bits(key_of(jnp.int32(seed), "init", ("init",))) for seed in range(3)]
    assert set(pinned) == {bits(key_of(jnp.int32(0), "init"))}
    assert bits(key_of(jnp.int32(3), "order", ("init",))) == bits(key_of(jnp.int32(3), "order"))


def test_the_default_generator_is_another_s_choice():
    """Side by side, numbers of others than Threefry depend on the replicas beside."""
    usual = bits(key_of(jnp.int32(7), "init"))
    with jax.default_prng_impl("rbg"):
        key = key_of(jnp.int32(7), "init")
        assert jax.random.key_impl(key) == GENERATOR == "threefry2x32"
    assert bits(key) == usual


def test_a_traced_seed_gives_the_same_key():
    traced = jax.jit(jax.vmap(lambda seed: key_of(seed, "noise", ("init",))))(jnp.arange(3))
    assert [bits(key) for key in traced] == [bits(key_of(jnp.int32(s), "noise")) for s in range(3)]


def test_the_host_streams_are_fresh_generators_of_the_same_names():
    def draw(seed, name, fix=()):
        return Streams(seed, fix)(name).integers(1 << 60)

    stream = Streams(3)
    assert stream("split").integers(1 << 60) == stream("split").integers(1 << 60)
    expected = np.random.default_rng([3, zlib.crc32(b"split")]).integers(1 << 60)
    assert draw(3, "split") == expected
    assert len({draw(seed, name) for seed in range(9) for name in STREAMS}) == 9 * len(STREAMS)
    assert draw(3, "split", ("split",)) == draw(0, "split")
    assert draw(3, "labels", ("split",)) == draw(3, "labels")
    assert Streams(3) == Streams(3) and hash(Streams(3)) == hash(Streams(3)) != hash(Streams(4))


@pytest.mark.parametrize("n", [1, 2, 3, 1000, 65_536, 70_000])
def test_a_permutation_holds_every_number_once(n):
    order = np.asarray(permutation(jax.random.key(n), n))
    assert order.dtype == np.int32
    np.testing.assert_array_equal(np.sort(order), np.arange(n))
    if n > 100:
        assert abs(np.corrcoef(order, np.arange(n))[0, 1]) < 5 / n**0.5


def test_permutations_are_uniform():
    """All 24 orders of four, equally often: chi-squared at one in a thousand."""
    keys = jax.random.split(jax.random.key(1), 24_000)
    orders = np.asarray(jax.vmap(lambda key: permutation(key, 4))(keys))
    counts = np.unique(orders @ [64, 16, 4, 1], return_counts=True)[1]
    assert len(counts) == 24
    assert scipy.stats.chisquare(counts).pvalue > 1e-3
