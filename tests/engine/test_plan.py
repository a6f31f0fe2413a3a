"""The plan: a deterministic function of cost, machine and batches that keeps its bounds."""

import dataclasses
import itertools
import math

import jax
import jax.numpy as jnp
import pytest

from experiments.engine.cost import Cost, loops_products, repeated_flops
from experiments.engine.errors import UsageError
from experiments.engine.plan import (
    KINDS,
    MEMORY_SHARE,
    Override,
    Plan,
    alternatives,
    fastest,
    make_plan,
)
from experiments.engine.program import Layout

GIB = 1 << 30
SMALL, LARGE = Cost(1e6, 1 << 20), Cost(1e12, 4 << 30)


def plan(cost=SMALL, batches=(60,), override=Override(), platform="cpu", devices=2, memory=8 * GIB):
    return make_plan(
        cost, batches, override, platform=platform, device_count=devices, memory=memory
    )


CASES = [
    {"cost": Cost(flops, size), "batches": batches, "platform": platform, "devices": devices}
    for flops, size, batches, platform, devices in itertools.product(
        (0.0, 1e4, 1e7, 1e12), (1 << 10, 1 << 27), ((1,), (3, 7), (60, 300)), KINDS, (1, 2, 3, 8)
    )
]


@pytest.mark.parametrize("platform", [*KINDS, "rocm"])
def test_the_same_question_gets_the_same_plan(platform):
    for case in CASES:
        if case["platform"] == platform:
            assert plan(**case) == plan(**case)
    assert plan(platform=platform) == plan(platform=platform)


def test_every_plan_keeps_its_bounds():
    for case in CASES:
        found = plan(**case)
        layout, most, kind = found.layout, max(case["batches"]), KINDS[case["platform"]]
        assert layout.lanes % layout.devices == 0
        assert 1 <= layout.devices <= min(case["devices"], most)
        per_device = layout.lanes // layout.devices
        assert per_device <= kind.most_lanes
        assert (per_device - 1) * layout.devices < most  # no device trains copies only
        share = MEMORY_SHARE * 8 * GIB
        resident = layout.lanes if case["platform"] == "cpu" else per_device
        assert per_device == 1 or resident * case["cost"].bytes_per_lane <= share
        seconds = found.steps_per_call * case["cost"].flops_per_step * per_device / kind.flops
        assert found.steps_per_call == 1 or seconds <= 2


def test_large_nets_train_one_by_one_and_small_ones_side_by_side():
    assert plan(LARGE).layout == Layout(2, 2)
    assert plan(LARGE).steps_per_call == 1
    lanes = [plan(Cost(flops, 1 << 10)).layout.lanes for flops in (1e4, 1e6, 3e6, 1e7, 1e9)]
    assert lanes == sorted(lanes, reverse=True) and lanes[0] > lanes[-1]
    assert plan(platform="gpu", batches=(5000,), devices=1).layout.lanes > 16
    tight = plan(Cost(1e4, GIB), memory=4 * GIB)
    assert tight.layout == Layout(2, 2)
    with pytest.raises(UsageError, match="take 5 GiB, and there are 4 GiB of memory"):
        plan(Cost(1e4, 10 * GIB), memory=4 * GIB)


def test_few_replicas_leave_devices_idle_unless_asked():
    assert plan(batches=(1,), devices=8).layout == Layout(1, 1)
    assert plan(batches=(3,), devices=8).layout == Layout(3, 3)
    assert plan(batches=(1,), devices=8, override=Override(devices=4)).layout == Layout(4, 4)


def test_devices_without_a_replica_share_the_batch_of_a_large_convolution():
    conv = Cost(1e11, 1 << 20, convolves=True, batch=128)
    assert plan(conv, (1,)).layout == Layout(1, 1, 2)
    assert plan(conv, (2,)).layout == Layout(2, 2)
    few = dataclasses.replace(conv, flops_per_step=2e10)
    assert [plan(few, (n,)).steps_per_call for n in (1, 2)] == [10, 5]
    assert plan(conv, (3,), devices=8).layout == Layout(3, 3, 2)
    assert plan(dataclasses.replace(conv, batch=100), (1,), devices=8).layout == Layout(1, 1, 5)
    assert plan(dataclasses.replace(conv, batch=127), (1,)).layout == Layout(1, 1)
    assert plan(dataclasses.replace(conv, convolves=False), (1,)).layout == Layout(1, 1)
    assert plan(dataclasses.replace(conv, flops_per_step=1e6), (1,)).layout == Layout(1, 1)
    assert plan(conv, (1,), platform="gpu").layout == Layout(1, 1)  # not measured there
    assert plan(conv, (1,), Override(devices=1)).layout == Layout(1, 1)
    assert plan(SMALL, (60,), Override(shares=2)).layout.devices == 1
    assert plan(conv, (8,), Override(shares=2)).layout == Layout(1, 1, 2)
    assert str(plan(conv, (1,))).startswith("1 lane over 1 device, each batch over 2, ")


def test_devices_share_the_batch_of_a_large_loop_of_products():
    loop = Cost(2e10, 1 << 20, recurs=True, batch=32)
    assert plan(loop, (1,)) == Plan(Layout(1, 1, 2), 10)
    assert plan(loop, (2,)).layout == Layout(2, 2)
    assert plan(dataclasses.replace(loop, flops_per_step=3e8), (1,)).layout == Layout(1, 1)
    assert plan(loop, (1,), platform="gpu").layout == Layout(1, 1)


def test_a_loop_of_products_is_found():
    def turn(h, x):
        return jnp.tanh(h @ x), None

    def found(steps):
        loop = jax.jit(lambda h, x: jax.lax.scan(turn, h, x)[0])
        return loops_products(jax.make_jaxpr(loop)(jnp.ones((2, 3)), jnp.ones((steps, 3, 3))))

    assert found(20) and not found(5)
    outside = jax.make_jaxpr(lambda x: jax.lax.cumsum(x @ x))(jnp.ones((20, 20)))
    assert not loops_products(outside)


def test_products_in_loops_count_at_every_turn():
    def turn(_, x):
        return jax.lax.fori_loop(0, 4, lambda _, x: x @ x, x @ x)

    def looped(x):
        forms = {"cpu": lambda x: jax.lax.fori_loop(0, 3, turn, x), "default": lambda x: x @ x}
        return jax.lax.platform_dependent(x @ x, **forms)

    once = 2 * 5**3
    traced = jax.make_jaxpr(looped)(jnp.ones((5, 5))).jaxpr
    assert repeated_flops(traced) == (2 + 3 * 4 - 1) * once  # two more outside, eleven more inside
    cuda = {"cuda": lambda x: jax.lax.fori_loop(0, 3, turn, x), "default": lambda x: x @ x}
    elsewhere = jax.make_jaxpr(lambda x: jax.lax.platform_dependent(x, **cuda))(jnp.ones((5, 5)))
    assert repeated_flops(elsewhere.jaxpr) == 0


@pytest.mark.parametrize("unroll", [1, 2, 3, 7, 100])
def test_turns_that_xla_counts_are_not_counted_again(unroll):
    """An unrolled body holds several turns, and so does what is left over."""
    weights = jnp.ones((16, 16))

    def loop(x):
        return jax.lax.scan(lambda c, _: (c @ weights, None), x, None, length=7, unroll=unroll)[0]

    traced = jax.jit(loop).trace(jnp.ones((4, 16)))
    analysis = traced.lower().compile().cost_analysis() or {}
    counted = analysis["flops"] + repeated_flops(traced.jaxpr.jaxpr)
    assert counted == pytest.approx(7 * 2 * 4 * 16 * 16, rel=0.05)


def test_convolutions_in_loops_count_at_every_turn():
    def looped(x, kernel):
        layout = ("NWC", "WIO", "NWC")

        def turn(_, total):
            return total + jax.lax.conv_general_dilated(
                x, kernel, (1,), "VALID", dimension_numbers=layout
            )

        return jax.lax.fori_loop(0, 3, turn, jnp.zeros((2, 4, 7)))

    traced = jax.make_jaxpr(looped)(jnp.ones((2, 6, 5)), jnp.ones((3, 5, 7))).jaxpr
    assert repeated_flops(traced) == 2 * 2 * (2 * 4 * 7) * (3 * 5)  # two turns after the first


def test_lanes_are_chosen_to_need_few_copies():
    for replicas in range(1, 80):
        layout = plan(batches=(replicas,), devices=1).layout
        copies = -replicas % layout.lanes
        assert copies < math.ceil(replicas / layout.lanes)
    assert plan(batches=(18,), devices=1).layout.lanes == 9  # 16 would train 14 copies


def test_overrides_are_kept():
    given = plan(override=Override(lanes=6, devices=2, steps_per_call=5))
    assert given == Plan(Layout(6, 2), 5)
    assert plan(override=Override(lanes=3)).layout == Layout(3, 1)  # 2 devices cannot share 3
    assert plan(override=Override(devices=1)).layout.devices == 1
    assert str(given) == "6 lanes over 2 devices, at most 5 steps a call"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (Override(lanes=0), "--lanes 0: at least 1"),
        (Override(steps_per_call=-1), "--steps-per-call -1: at least 1"),
        (Override(devices=3), "--devices 3: "),
        (Override(devices=2, shares=2), "--devices 2 --shares 2: this machine has 2"),
        (Override(shares=0), "--shares 0: at least 1"),
        (
            Override(lanes=10_000),
            "--lanes 10000: their states and data take 10 GiB, and there are 8",
        ),
        (Override(lanes=3, devices=2), "--lanes 3: must be a multiple of --devices"),
    ],
)
def test_overrides_that_cannot_be_are_refused(override, message):
    with pytest.raises(UsageError) as caught:
        plan(override=override)
    assert str(caught.value).startswith(message)


def test_alternatives_can_all_be_compiled_and_hold_the_plan():
    for lanes, devices, most in [(8, 2, 60), (1, 1, 1), (2, 2, 3), (16, 1, 1000)]:
        layout = Layout(lanes, devices)
        found = alternatives(Plan(layout, 10), most)
        assert layout in found and len(set(found)) == len(found) > 0
        for each in found:
            assert each.lanes % each.devices == 0 and each.shares == 1
            assert each.devices <= jax.device_count()
            assert 1 <= each.lanes <= max(most, jax.device_count())


def test_alternatives_share_batches_that_can_be_shared():
    found = alternatives(Plan(Layout(1, 1), 10), 1, 128)
    assert set(found) == {
        Layout(1, 1),
        Layout(1, 1, 2),
        Layout(2, 2),
        Layout(2, 1),
        Layout(2, 1, 2),
    }
    assert all(each.devices * each.shares <= jax.device_count() for each in found)


@pytest.mark.parametrize(
    ("override", "field", "value"),
    [(Override(lanes=4), "lanes", 4), (Override(devices=1), "devices", 1),
     (Override(shares=2), "shares", 2)],
)  # fmt: skip
def test_alternatives_keep_what_was_asked_for(override, field, value):
    layout = plan(Cost(1e6, 1 << 10, convolves=True, batch=128), (1, 8), override).layout
    found = alternatives(Plan(layout, 10), 8, 128, override)
    assert {getattr(each, field) for each in found} == {value}


def test_the_fastest_layout_has_the_highest_rate():
    assert fastest([(10.0, Layout(2, 1)), (30.0, Layout(4, 2)), (20.0, Layout(8, 2))]) == Layout(
        4, 2
    )
