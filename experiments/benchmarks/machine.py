"""The machine a benchmark ran on, and the fastest matrix product anyone gets out of it."""

import importlib.metadata
import os
import pathlib
import platform
import time
from collections.abc import Callable

SIZES = (1024, 2048)
REPEATS = 6
PACKAGES = ("ablax", "jax", "jaxlib", "flax", "optax", "torch", "gensim", "numpy")


def hardware() -> str:
    """Processor, cores and memory on one line."""
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    name = names[0] if names else platform.processor() or platform.machine()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{name}, {os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()}"


def versions() -> str:
    """Python's and the packages' versions on one line."""
    found = [f"Python {platform.python_version()}"]
    for name in PACKAGES:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return ", ".join(found)


def load_average() -> float:
    """Processes that wanted to run during the last minute."""
    return os.getloadavg()[0]


def jax_peak() -> float:
    """FLOP/s of the fastest square product on all devices at once."""
    import jax
    import jax.numpy as jnp
    from jax.sharding import NamedSharding, PartitionSpec

    mesh = jax.make_mesh((jax.device_count(),), ("device",))
    place = NamedSharding(mesh, PartitionSpec("device"))
    product = jax.jit(lambda a: jnp.matmul(a, a, out_sharding=place))
    best = 0.0
    for size in SIZES:
        a = jax.device_put(jnp.ones((jax.device_count(), size, size)), place)
        seconds = _fastest(lambda a=a: jax.block_until_ready(product(a)))
        best = max(best, jax.device_count() * 2 * size**3 / seconds)
    return best


def torch_peak() -> float:
    """FLOP/s of the fastest square product on all cores."""
    import torch  # pyright: ignore[reportMissingImports]

    torch.set_num_threads(os.cpu_count() or 1)
    best = 0.0
    for size in SIZES:
        a = torch.ones(size, size)
        best = max(best, 2 * size**3 / _fastest(lambda a=a: torch.mm(a, a)))
    return best


def _fastest(call: Callable[[], object]) -> float:
    call()
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)
