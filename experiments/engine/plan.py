"""How a program's replicas are laid over time, lanes and devices.

A deterministic function of the program's cost, the device kind and its memory; it is printed,
can be overridden, and is recorded. Lanes and devices fix the compiled shapes and therefore the
bits of a result; steps per call only cut time, and change none.
"""

import dataclasses
import math
import statistics
import time
from collections.abc import Callable, Iterable, Sequence

import jax

from experiments.engine.cost import Cost
from experiments.engine.devices import memory_bytes
from experiments.engine.errors import UsageError
from experiments.engine.program import Layout

MEMORY_SHARE = 0.6
"""The part of a device's memory that a program's lanes may take."""


@dataclasses.dataclass(frozen=True)
class DeviceKind:
    """What the plan assumes of a kind of device.

    Attributes:
        flops: a low guess of what it does in a second or two: keeps calls under two seconds.
        flops_per_step: work below which a step does not fill the device, FLOP; lanes are added
            until they do.
        least_lanes: lanes per device that a step of any size has where there are replicas
            enough: products batched over two lanes ran 8 to 14 % faster on a CPU than over one.
        most_lanes: lanes per device beyond which nothing was gained when measured.
        convolution_flops: `flops` of a step with convolutions, on each device that shares it; the
            first step of a call is slow (it took 100 ms of a core more than later ones for
            ResNet-20, which trained 1.14 times as fast with 9 steps a call as with 3). A call of
            large nets takes up to 2.5 seconds.
        recurrence_flops: the same of a step with a loop of products, counted once each.
        flops_per_shared_step: work of a step with convolutions from which devices without a replica
            of their own share the batch of another's, FLOP: on 2 cores 1.35 to 1.7 times as fast
            from 3e8 on, and no gain at 2e7.
        flops_per_shared_recurrence: the same of a step with a loop of products: on 2 cores 1.5
            times as fast at 2e9, 1.35 times at 9e9, 1.1 times at 2e10, and no gain at 6e8.
    """

    flops: float
    flops_per_step: float
    least_lanes: int
    most_lanes: int
    convolution_flops: float = 0.0
    recurrence_flops: float = 0.0
    flops_per_shared_step: float = math.inf
    flops_per_shared_recurrence: float = math.inf


KINDS = {
    "cpu": DeviceKind(
        flops=2e10,
        flops_per_step=3e7,
        least_lanes=2,
        most_lanes=16,
        convolution_flops=1e11,
        recurrence_flops=1e11,
        flops_per_shared_step=1e8,
        flops_per_shared_recurrence=1e9,
    ),
    "gpu": DeviceKind(flops=2e12, flops_per_step=2e11, least_lanes=1, most_lanes=512),
    "tpu": DeviceKind(flops=5e12, flops_per_step=2e11, least_lanes=1, most_lanes=512),
}


@dataclasses.dataclass(frozen=True)
class Plan:
    """The layout of one program, and how many steps one call runs."""

    layout: Layout
    steps_per_call: int

    def __str__(self) -> str:
        lanes, devices = self.layout.lanes, self.layout.devices
        shared = f", each batch over {self.layout.shares}" if self.layout.shares > 1 else ""
        return (
            f"{lanes} lane{'s' * (lanes > 1)} over {devices} device{'s' * (devices > 1)}{shared}, "
            f"at most {self.steps_per_call} steps a call"
        )


@dataclasses.dataclass(frozen=True)
class Override:
    """What the user fixed; None leaves it to the plan.

    Attributes:
        lanes: replicas side by side, over all devices.
        devices: devices, or groups of them, that share the lanes.
        shares: devices that share each replica's batch.
        steps_per_call: most steps of one call.
        measure: time alternatives first and take the fastest.
    """

    lanes: int | None = None
    devices: int | None = None
    shares: int | None = None
    steps_per_call: int | None = None
    measure: bool = False


def make_plan(
    cost: Cost,
    batches: Sequence[int],
    override: Override = Override(),
    *,
    platform: str = "",
    device_count: int = 0,
    memory: int = 0,
) -> Plan:
    """Chooses lanes, devices and steps per call.

    Args:
        batches: how many replicas train together in each phase (tuning, reporting).
        platform, device_count, memory: of the machine, unless given.

    Raises:
        UsageError: an override that this machine or its other half does not allow, or a replica
            that does not fit into memory.
    """
    kind = KINDS.get(platform or jax.default_backend(), KINDS["gpu"])
    most, present = max(batches), device_count or jax.device_count()
    check_override(override, present)
    devices = override.devices or min(present // (override.shares or 1), most)
    memory = memory or memory_bytes()
    on_cpu = (platform or jax.default_backend()) == "cpu"
    _check_memory(cost, override.lanes, memory, 1 if on_cpu else devices)
    fit = int(MEMORY_SHARE * memory / max(cost.bytes_per_lane, 1))
    if on_cpu:
        fit //= devices
    filled = math.ceil(kind.flops_per_step / max(cost.flops_per_step, 1.0))
    filled = 1 if cost.convolves else max(filled, kind.least_lanes)
    per_device = max(1, min(filled, kind.most_lanes, fit, math.ceil(most / devices)))
    choices = range(max(1, math.ceil(per_device / 2)), per_device + 1)
    padded = {n: sum(math.ceil(r / (n * devices)) * n for r in batches) for n in choices}
    best = min(choices, key=lambda n: (padded[n], -n))
    lanes = override.lanes or best * devices
    devices = math.gcd(lanes, devices)
    spare = 1 if override.devices else present // devices
    shares = override.shares or _shares(kind, cost, spare)
    work = cost.flops_per_step * lanes / devices / shares
    slow_start = kind.convolution_flops if cost.convolves else kind.recurrence_flops
    flops = (_shareable(cost) and slow_start) or kind.flops
    steps = override.steps_per_call or max(1, int(flops / max(work, 1.0)))
    return Plan(Layout(lanes, devices, shares), steps)


def _check_memory(cost: Cost, lanes: int | None, memory: int, devices: int) -> None:
    """Refuses a replica, or lanes asked for, that cannot fit into so many devices' memory."""
    size, have = cost.bytes_per_lane / 2, f"there are {memory / 2**30:,.0f} GiB of memory"
    if size > memory:
        raise UsageError(
            f"one replica's state and data take {size / 2**30:,.0f} GiB, and {have}: a smaller net"
        )
    asked = (lanes or 0) * cost.bytes_per_lane
    if asked > memory * devices:
        raise UsageError(
            f"--lanes {lanes}: their states and data take {asked / 2**30:,.0f} GiB, and {have}: "
            "fewer lanes"
        )


def _shares(kind: DeviceKind, cost: Cost, spare: int) -> int:
    """How many of the devices at hand share a batch: as many as divide it, where that pays."""
    least = kind.flops_per_shared_step if cost.convolves else kind.flops_per_shared_recurrence
    if not _shareable(cost) or cost.flops_per_step < least:
        return 1
    return max(n for n in range(1, spare + 1) if cost.batch % n == 0)


def _shareable(cost: Cost) -> bool:
    return cost.convolves or cost.recurs


def check_override(override: Override, present: int) -> None:
    """Refuses what `present` devices do not allow.

    Raises:
        UsageError: a number below 1, more devices than there are, or lanes that they cannot share
            evenly.
    """
    counts = {
        "--lanes": override.lanes,
        "--devices": override.devices,
        "--shares": override.shares,
        "--steps-per-call": override.steps_per_call,
    }
    for flag, count in counts.items():
        if count is not None and count < 1:
            raise UsageError(f"{flag} {count}: at least 1")
    if (override.devices or 1) * (override.shares or 1) > present:
        asked = {"devices": override.devices, "shares": override.shares}
        flags = " ".join(f"--{name} {count}" for name, count in asked.items() if count)
        raise UsageError(f"{flags}: this machine has {present} devices")
    if override.lanes and override.devices and override.lanes % override.devices:
        raise UsageError(
            f"--lanes {override.lanes}: must be a multiple of --devices {override.devices}"
        )


def alternatives(
    plan: Plan, most: int, batch: int = 1, override: Override = Override()
) -> list[Layout]:
    """Layouts `--plan measure` times: more and fewer lanes, on one device and on all; and each
    batch shared by devices that no lane takes, if they divide it. What `override` asks for stays.
    """
    every = jax.device_count()
    lanes = {plan.layout.lanes // 4, plan.layout.lanes // 2, plan.layout.lanes}
    lanes |= {plan.layout.lanes * 2, every}
    found = {
        Layout(n, devices)
        for devices in {1, every}
        for n in lanes
        if n >= devices and n % devices == 0 and n <= max(most, every)
    }
    for layout in list(found):
        spare = every // layout.devices
        if batch % spare == 0:
            found.add(dataclasses.replace(layout, shares=spare))
    asked = {n: v for n in ("lanes", "devices", "shares") if (v := getattr(override, n))}
    kept = {each for each in found if asked.items() <= dataclasses.asdict(each).items()}
    return sorted(kept | {plan.layout}, key=dataclasses.astuple)


def time_calls(call: Callable[[], object], seconds: float = 1.0) -> float:
    """Median seconds of a call after one to warm up, repeated for about `seconds`."""
    jax.block_until_ready(call())
    times: list[float] = []
    while sum(times) < seconds or len(times) < 3:
        start = time.perf_counter()
        jax.block_until_ready(call())
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def fastest(rates: Iterable[tuple[float, Layout]]) -> Layout:
    """The layout with the most replica-steps per second."""
    return max(rates, key=lambda pair: pair[0])[1]
