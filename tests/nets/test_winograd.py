"""3x3 convolutions by tiles: where they are used, in pieces, and how far from float64 they are."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nets import winograd
from nets.convolution import convolve
from nets.geometry import windows
from tests.nets import compiled
from tests.nets.test_convolution import looped, made


def kernel_of(inputs=32, outputs=32, size=3, dtype=jnp.float32):
    return jnp.zeros((size, size, inputs, outputs), dtype)


def test_it_is_for_3x3_windows_over_many_channels_and_even_sizes():
    plain = windows((8, 6), 3)
    assert winograd.suits(kernel_of(), plain, (8, 6))
    assert not winograd.suits(kernel_of(), plain, (8, 5))
    assert not winograd.suits(kernel_of(inputs=31), plain, (8, 6))
    assert not winograd.suits(kernel_of(outputs=31), plain, (8, 6))
    assert not winograd.suits(kernel_of(dtype=jnp.bfloat16), plain, (8, 6))
    assert not winograd.suits(kernel_of(size=5), windows((8, 6), 5), (8, 6))
    assert not winograd.suits(kernel_of(), windows((8, 6), 3, dilation=2), (8, 6))
    assert not winograd.suits(jnp.zeros((3, 32, 32)), windows((8,), 3), (8,))
    assert winograd.suits(kernel_of(64, 64), plain, (32, 32))
    assert not winograd.suits(kernel_of(64, 64), plain, (32, 34)), "beyond a core's caches"


@pytest.mark.slow
@pytest.mark.parametrize(("batch", "fit", "turns"), [(6, 1 << 21, 1), (6, 1 << 17, 2), (5, 1, 5)])
def test_pieces_of_the_batch_are_convolved_one_after_another(batch, fit, turns, monkeypatch):
    """An example of 6x4 with 32 and 32 channels takes 4 * 24 * 64 * 4 bytes: 24 KiB."""
    monkeypatch.setattr(winograd, "WORK_BYTES", fit)
    x, kernel, g, window, _ = made("tiles", batch)
    padding = [w.padding for w in window]

    def by_tiles(x, kernel):
        return winograd.by_tiles(padding, x, kernel)

    x, kernel = (np.asarray(a, np.float32) for a in (x, kernel))
    found = compiled.with_gradients(by_tiles, g, x, kernel)
    for mine, theirs in zip(found, looped(x, kernel, g, window, 1), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-4)
    loops = [e for e in jax.make_jaxpr(by_tiles)(x, kernel).eqns if e.primitive.name == "scan"]
    assert [e.params["length"] for e in loops] == [turns] * (turns > 1)


def test_a_cpu_computes_no_convolution_there():
    x, kernel, _, window, groups = made("tiles")
    x, kernel = (np.asarray(a, np.float32) for a in (x, kernel))
    run = jax.jit(lambda x, k: convolve(x, k, window, groups))
    assert "convolution(" not in str(run.lower(x, kernel).compile().as_text())
    odd = jax.jit(lambda x, k: convolve(x[:, 1:], k, windows((5, 4), 3), groups))
    assert "convolution(" in str(odd.lower(x, kernel).compile().as_text())


def test_it_is_as_near_to_float64_as_the_convolution_itself():
    random = np.random.default_rng(0)
    window = windows((8, 8), 3)
    x = jnp.asarray(random.normal(size=(4, 8, 8, 64)), jnp.float32)
    kernel = jnp.asarray(random.normal(size=(3, 3, 64, 64)) / 24, jnp.float32)
    wide = [np.asarray(a, np.float64) for a in (x, kernel)]
    exact, *_ = looped(wide[0], wide[1], np.zeros((4, 8, 8, 64)), window, 1)
    padding = [(1, 1), (1, 1)]
    tiles = winograd.by_tiles(padding, x, kernel)
    direct = jax.lax.conv_general_dilated(
        x, kernel, (1, 1), padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    mine, theirs = (np.sqrt(np.mean((np.asarray(y) - exact) ** 2)) for y in (tiles, direct))
    assert mine < 1.2 * theirs
