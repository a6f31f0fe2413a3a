"""JAX set up for studies: one virtual device per CPU core, the compile cache, the replica mesh."""

import contextlib
import os
import pathlib
import platform
import zlib
from typing import Any

import jax
import numpy as np

from experiments.engine.errors import UsageError
from experiments.engine.paths import cache_folder
from nets.parallel import BATCH

AXIS = "replica"
DETERMINISTIC = ("--xla_gpu_deterministic_ops=true", "--xla_gpu_autotune_level=0")
"""Without them two runs on the same GPU may differ: atomics in any order, and the choice of a
kernel by timing it."""


def setup(devices: int | None = None) -> None:
    """Settings that must precede the first use of a device, and that use; later calls change
    nothing.

    One virtual device per core, so that lanes of small nets fill all of them; the persistent
    compile cache without a threshold, per user, version and instruction set; XLA's deterministic
    kernels on a GPU. JAX's own variables (`JAX_NUM_CPU_DEVICES`, `JAX_COMPILATION_CACHE_DIR`, flags
    in `XLA_FLAGS`) win where they are set.

    Args:
        devices: virtual devices a study was planned for: at least as many, whatever the cores.

    Raises:
        UsageError: there is no device.
    """
    config: Any = jax.config
    count = max(devices or 1, os.cpu_count() or 1)
    if "JAX_NUM_CPU_DEVICES" in os.environ:
        count = config.jax_num_cpu_devices
    with contextlib.suppress(RuntimeError):  # a device was used before: keep what there is
        jax.config.update("jax_num_cpu_devices", count)
        given = os.environ.get("XLA_FLAGS", "")
        missing = [flag for flag in DETERMINISTIC if flag.partition("=")[0] not in given]
        os.environ["XLA_FLAGS"] = " ".join([given, *missing]).strip()
    if not config.jax_compilation_cache_dir:
        jax.config.update("jax_compilation_cache_dir", str(_cache_folder()))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    try:
        jax.devices()
    except (RuntimeError, AssertionError):  # JAX asserts where all it was told of fail
        raise UsageError(
            f"JAX finds no device of the platforms it was told, {config.jax_platforms}: unset "
            "JAX_PLATFORMS, or install what they need"
        ) from None


def _cache_folder() -> pathlib.Path:
    tag = zlib.crc32(instruction_set().encode())
    return cache_folder() / f"xla-{jax.__version__}-{tag:08x}"


def instruction_set() -> str:
    """The processor's instruction-set flags: bits are promised on equal ones only."""
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return " ".join([platform.machine(), *sorted(flags.partition(":")[2].split())])


def memory_bytes() -> int:
    """Memory of one device; of the whole machine where the devices are CPU cores."""
    device = jax.devices()[0]
    if device.platform == "cpu":
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return (device.memory_stats() or {}).get("bytes_limit", 8 << 30)


def replica_mesh(devices: int, shares: int = 1) -> jax.sharding.Mesh:
    """A mesh of `devices` along the replica axis, each of them `shares` devices along the batch."""
    found = np.array(jax.devices()[: devices * shares])
    if shares == 1:
        return jax.sharding.Mesh(found, (AXIS,))
    return jax.sharding.Mesh(found.reshape(devices, shares), (AXIS, BATCH))
