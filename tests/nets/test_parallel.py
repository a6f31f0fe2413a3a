"""Functions of a batch that devices share compute what they compute alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from nets.parallel import BATCH, map_batch, piece_size, sharers, split_batch, sum_over_batch

LANES = PartitionSpec("replica")


@pytest.fixture(scope="module")
def mesh():
    return Mesh(np.array(jax.devices()[:2]).reshape(1, 2), ("replica", BATCH))


def shared(function, mesh, *args):
    """The function as a program calls it: lanes are mapped, the batch is left to XLA."""
    mapped = jax.shard_map(
        jax.vmap(function), mesh=mesh, in_specs=LANES, out_specs=LANES, axis_names={"replica"},
        check_vma=False,
    )  # fmt: skip
    whole = NamedSharding(mesh, LANES)
    return jax.jit(mapped, out_shardings=whole)(*jax.device_put(args, whole))


def test_alone_nothing_is_cut():
    x = jnp.arange(6.0).reshape(3, 2)
    assert sharers() == 1
    assert split_batch({"x": x})["x"] is x
    assert float(sum_over_batch(jnp.sum, x)) == 15
    assert map_batch(lambda x, y: x * y, x, jnp.float32(2)).tolist() == (2 * x).tolist()


def test_devices_are_counted_where_the_compiler_may_use_them(mesh):
    found = []

    def look(x):
        found.append(sharers())
        return x

    shared(look, mesh, jnp.ones((1, 4)))
    assert found == [2]
    with jax.sharding.use_abstract_mesh(
        jax.sharding.AbstractMesh((2,), (BATCH,), axis_types=(AxisType.Explicit,))
    ):
        assert sharers() == 1


@pytest.mark.slow
@pytest.mark.parametrize("examples", [8, 7])
def test_sums_and_statistics_are_those_of_the_whole_batch(mesh, examples):
    x = jax.random.normal(jax.random.key(0), (1, examples, 3))

    def function(x):
        x = split_batch({"x": x, "scalar": jnp.float32(2), "key": jax.random.key(1)})["x"]
        noise = jax.random.uniform(jax.random.key(2), x.shape)
        total = sum_over_batch(lambda a, b: a.T @ b, x, x)
        return {"mean": x.mean(0), "total": total, "noise": noise, "order": x[::-1]}

    found, expected = shared(function, mesh, x), jax.vmap(function)(x)
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(found["noise"], expected["noise"])


@pytest.mark.parametrize("examples", [8, 7])
def test_each_device_goes_through_its_own_examples(mesh, examples):
    x = jax.random.normal(jax.random.key(0), (1, examples, 3))
    seen = []

    def one_by_one(x, weights):
        seen.append(len(x))
        return jax.lax.map(lambda row: row @ weights, x)

    def function(x):
        return map_batch(one_by_one, split_batch(x), jnp.arange(6.0).reshape(3, 2))

    found, expected = shared(function, mesh, x), jax.vmap(function)(x)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert seen == [4 if examples == 8 else 7, examples]


def test_a_piece_divides_the_batch_and_holds_one_example_at_least():
    assert piece_size(100, 10, 300) == 25
    assert piece_size(6, 10, 40) == 3
    assert piece_size(7, 10, 50) == 1
    assert piece_size(8, 100, 10) == 1
