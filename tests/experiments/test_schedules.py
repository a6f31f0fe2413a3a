"""Schedules against their definition, alone and times a traced rate."""

import dataclasses
from typing import Any, get_args, get_type_hints

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.optimizers import Optimizer, schedule_factor
from tests.experiments.updating import assert_lanes_match, schedule

KINDS = get_args(get_type_hints(Optimizer)["schedule"])


def factors(config: Optimizer, total: int, steps: int | None = None) -> np.ndarray:
    """The factors of all steps, computed as in training: inside one program."""
    count = jnp.arange(total if steps is None else steps)
    return np.asarray(jax.jit(jax.vmap(lambda step: schedule_factor(config, step, total)))(count))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("warmup", [0.0, 0.4])
def test_every_schedule_scales_the_traced_rate(kind, warmup):
    config = Optimizer(optimizer="momentum", schedule=kind, warmup=warmup)
    lanes = [
        {"learning_rate": 0.1, "end_factor": 0.0, "start_factor": 0.0},
        {"learning_rate": 0.02, "end_factor": 0.3, "start_factor": 0.5},
    ]
    assert_lanes_match(config, lanes)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("warmup", "total"), [(0.0, 1), (0.0, 40), (0.1, 40), (0.95, 40)])
@pytest.mark.parametrize(("start", "end"), [(None, 0.0), (None, 0.25), (0.2, 0.07)])
def test_schedule_factors_lie_in_0_1_and_start_and_end_where_they_should(
    kind, warmup, total, start, end
):
    config = Optimizer(schedule=kind, warmup=warmup, start_factor=start, end_factor=end)
    got = factors(config, total, total + 10)
    assert got.dtype == np.float32
    assert (got >= 0).all() and (got <= 1).all() and got[:total].min() > 0
    expected = [schedule(config, step, total) for step in range(total + 10)]
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)
    warm = round(warmup * total)
    assert got[warm] == 1.0
    assert (np.diff(got[: warm + 1]) > 0).all() and (np.diff(got[warm:]) <= 0).all()


CLOSED_FORMS: list[tuple[dict[str, Any], dict[int, float]]] = [
    ({"schedule": "constant"}, {0: 1, 50: 1, 99: 1, 100: 1}),
    ({"schedule": "constant", "warmup": 0.09}, {0: 0.1, 4: 0.5, 9: 1, 99: 1}),
    ({"schedule": "constant", "warmup": 0.1, "start_factor": 0.0}, {0: 0, 5: 0.5, 10: 1, 99: 1}),
    ({"schedule": "linear"}, {0: 1, 50: 0.5, 99: 0.01, 100: 0}),
    ({"schedule": "linear", "end_factor": 0.2}, {0: 1, 50: 0.6, 100: 0.2, 120: 0.2}),
    ({"schedule": "cosine"}, {0: 1, 50: 0.5, 75: (1 - 0.5**0.5) / 2, 100: 0}),
    ({"schedule": "cosine", "end_factor": 0.2}, {0: 1, 50: 0.6, 100: 0.2}),
    (
        {"schedule": "triangle", "warmup": 0.2, "start_factor": 0.2, "end_factor": 0.07},
        {0: 0.2, 10: 0.6, 20: 1, 60: 0.535, 100: 0.07, 120: 0.07},
    ),
    ({"schedule": "step"}, {0: 1, 49: 1, 50: 0.1, 74: 0.1, 75: 0.01, 100: 0.01}),
    (
        {"schedule": "step", "step_at": (0.2, 0.4, 0.9), "step_factor": 0.5},
        {0: 1, 19: 1, 20: 0.5, 40: 0.25, 89: 0.25, 90: 0.125, 100: 0.125},
    ),
    ({"schedule": "step", "step_at": ()}, {0: 1, 100: 1}),
]


@pytest.mark.parametrize(("fields", "points"), CLOSED_FORMS)
def test_schedules_at_their_start_peak_middle_and_end(fields, points):
    got = factors(Optimizer(**fields), 100, 121)
    for step, value in points.items():
        assert got[step] == pytest.approx(value, rel=1e-6, abs=1e-7), step


def test_the_triangle_is_that_of_airbench94():
    """Its table, 476 steps: from 0.2 to 1 at step 109 = int(0.23 * 476), to 0.07 at step 476."""
    config = Optimizer(schedule="triangle", warmup=0.23, start_factor=0.2, end_factor=0.07)
    table = np.interp(np.arange(476), [0, 109, 476], [0.2, 1, 0.07])
    np.testing.assert_allclose(factors(config, 476), table, rtol=1e-5)


def test_the_steps_are_those_of_the_residual_nets():
    """He et al. 2015, section 4.2: 64k steps, divided by 10 at 32k and 48k."""
    got = factors(Optimizer(schedule="step"), 64_000)
    changes = np.flatnonzero(np.diff(got)) + 1
    assert changes.tolist() == [32_000, 48_000]
    np.testing.assert_array_equal(got[[0, 32_000, 48_000]], np.array([1, 0.1, 0.01], np.float32))


@pytest.mark.parametrize("total", [10, 30, 100, 166, 244, 35_906, 62_952])
def test_steps_begin_when_their_share_is_done_whatever_the_length(total):
    """In float32, step / total is below 1/2 for 83 of 166 steps, as XLA divides."""
    config = Optimizer(schedule="step", step_at=(0.1, 0.5, 0.75))
    changes = np.flatnonzero(np.diff(factors(config, total))) + 1
    assert changes.tolist() == [-(-total // 10), total // 2, -(-3 * total // 4)]


@pytest.mark.parametrize("kind", KINDS)
def test_traced_ends_give_what_fixed_ones_give(kind):
    config = Optimizer(schedule=kind, warmup=0.3)
    starts, ends = jnp.array([0.0, 0.2, 1.0]), jnp.array([0.0, 0.07, 1.0])

    def every_step(start: jax.Array, end: jax.Array) -> jax.Array:
        traced = dataclasses.replace(config, start_factor=start, end_factor=end)
        return jax.vmap(lambda step: schedule_factor(traced, step, 50))(jnp.arange(50))

    together = jax.jit(jax.vmap(every_step))(starts, ends)
    for lane, (start, end) in enumerate(((0.0, 0.0), (0.2, 0.07), (1.0, 1.0))):
        fixed = dataclasses.replace(config, start_factor=start, end_factor=end)
        np.testing.assert_allclose(together[lane], factors(fixed, 50), rtol=1e-6, atol=1e-7)
