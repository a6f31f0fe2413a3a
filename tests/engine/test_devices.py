"""XLA computes on a CPU as it is set up here."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from experiments.engine.devices import AXIS, replica_mesh


@pytest.mark.slow
def test_a_long_call_on_every_device_convolves_rightly():
    """With XLA's division of kernels (`devices.UNDIVIDED`) the convolutions from the 507th on were
    wrong by 100: always where every thread drove a device, and sometimes with more threads."""
    random, steps = np.random.default_rng(0), 1200
    x = random.normal(size=(2, 4, 40, 12, 12, 16)).astype(np.float32)
    kernel = random.normal(size=(2, 4, 7, 7, 16, 12)).astype(np.float32)

    def convolve(x, kernel):
        layout, padding = ("NHWC", "HWIO", "NHWC"), [(6, 6), (6, 6)]
        return jax.lax.conv_general_dilated(x, kernel, (1, 1), padding, dimension_numbers=layout)

    def errors(x, kernel):
        def step(i, found):
            off = convolve(x[0, i % 4], kernel[0, i % 4]) - first[i % 4]
            return found.at[i].set(jnp.max(jnp.abs(off)))

        first = jnp.stack([convolve(x[0, i], kernel[0, i]) for i in range(4)])
        return jax.lax.fori_loop(0, steps, step, jnp.zeros(steps))[None]

    each = PartitionSpec(AXIS)
    mapped = jax.shard_map(
        errors, mesh=replica_mesh(2), in_specs=each, out_specs=each, check_vma=False
    )
    placed = [jax.device_put(a, NamedSharding(replica_mesh(2), each)) for a in (x, kernel)]
    np.testing.assert_allclose(jax.jit(mapped)(*placed), 0, atol=1e-3)
