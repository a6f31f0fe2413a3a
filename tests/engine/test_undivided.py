"""Convolutions are right however long a call is: nothing is left undone beside them on a CPU."""

import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from experiments.engine.devices import AXIS, replica_mesh
from experiments.engine.program import compiled

EACH = PartitionSpec(AXIS)


def convolve(x, kernel):
    layout, padding = ("NHWC", "HWIO", "NHWC"), [(6, 6), (6, 6)]
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), padding, dimension_numbers=layout)


def trace(function, *args):
    """What traces `function` for a device of its own for each row of its arguments, and those."""
    mesh = replica_mesh(len(args[0]))
    mapped = jax.shard_map(function, mesh=mesh, in_specs=EACH, out_specs=EACH, check_vma=False)
    placed = [jax.device_put(a, NamedSharding(mesh, EACH)) for a in args]
    return jax.jit(mapped).trace(*placed), placed


def divided(compiled):
    """Of how many kernels XLA leaves parts to other threads."""
    return compiled.as_text().count('"outer_dimension_partitions":["')


def test_only_what_convolves_is_undivided():
    if jax.default_backend() != "cpu" or os.cpu_count() == 1:
        pytest.skip("only a CPU of several cores divides kernels")
    x, kernel = np.ones((1, 40, 24, 24, 64), np.float32), np.ones((1, 7, 7, 64, 64), np.float32)
    traced = {
        "plain": trace(lambda x: jnp.sin(x) * x, x)[0],
        "convolves": trace(lambda x, kernel: jnp.sin(convolve(x[0], kernel[0])), x, kernel)[0],
    }
    found = compiled(traced)
    assert divided(traced["convolves"].lower().compile())
    assert not divided(found["convolves"])
    assert divided(found["plain"])


@pytest.mark.slow
def test_a_long_call_on_every_device_convolves_rightly():
    """Where kernels were divided, the convolutions from the 507th on were wrong by 100: always if
    every thread drove a device, and sometimes with more threads."""
    random, steps = np.random.default_rng(0), 1200
    x = random.normal(size=(2, 4, 40, 12, 12, 16)).astype(np.float32)
    kernel = random.normal(size=(2, 4, 7, 7, 16, 12)).astype(np.float32)

    def errors(x, kernel):
        def step(i, found):
            off = convolve(x[0, i % 4], kernel[0, i % 4]) - first[i % 4]
            return found.at[i].set(jnp.max(jnp.abs(off)))

        first = jnp.stack([convolve(x[0, i], kernel[0, i]) for i in range(4)])
        return jax.lax.fori_loop(0, steps, step, jnp.zeros(steps))[None]

    traced, placed = trace(errors, x, kernel)
    np.testing.assert_allclose(compiled({"it": traced})["it"](*placed), 0, atol=1e-3)
