"""Where a study came from: commit, sources, versions, machine, data, command line."""

import hashlib
import importlib.metadata
import io
import json
import os
import pathlib
import platform
import subprocess
import sys
import tarfile
import time
from collections.abc import Sequence
from typing import Any

import jax

from experiments.data.dataset import Dataset
from experiments.engine.devices import instruction_set

ROOT = pathlib.Path(__file__).resolve().parents[2]
PACKAGES = (
    "ablax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "tensorflow-datasets",
    "numpy", "scipy", "scikit-learn",
)  # fmt: skip


def make_record(datasets: Sequence[Dataset]) -> dict[str, Any]:
    """Everything a reader needs to run the study again, as JSON."""
    device = jax.devices()[0]
    config: Any = jax.config
    lock = ROOT / "requirements.lock"
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "command": [pathlib.Path(sys.executable).name, *sys.argv],
        "git": _git(),
        "sources": {str(name): _sha256(path) for name, path in sources().items()},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: version for name in PACKAGES if (version := _version(name))},
        "lock_sha256": _sha256(lock) if lock.exists() else None,
        "device": {
            "platform": device.platform,
            "kind": device.device_kind,
            "count": jax.device_count(),
            "processor": _processor(),
            "instruction_set_sha256": hashlib.sha256(instruction_set().encode()).hexdigest(),
            "driver": getattr(device.client, "platform_version", ""),
        },
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "jax_config": {
            "default_prng_impl": config.jax_default_prng_impl,
            "threefry_partitionable": config.jax_threefry_partitionable,
            "enable_x64": config.jax_enable_x64,
            "default_matmul_precision": config.jax_default_matmul_precision,
        },
        "data": [{"name": data.name, "digest": data.digest} for data in datasets],
    }


def sources() -> dict[pathlib.PurePosixPath, pathlib.Path]:
    """Every source file this run imported that no package manager installed.

    Returns:
        Name in the archive (relative to the project, or below `outside/`) -> file.
    """
    found = {}
    for module_name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if not file or not file.endswith(".py"):
            continue
        path = pathlib.Path(file).resolve()
        if path.is_relative_to(ROOT) and not path.is_relative_to(pathlib.Path(sys.prefix)):
            found[pathlib.PurePosixPath(path.relative_to(ROOT))] = path
        elif not _installed(path):
            depth = module_name.count(".") + 1 + (path.name == "__init__.py")
            found[pathlib.PurePosixPath("outside", *path.parts[-depth:])] = path
    return dict(sorted(found.items()))


def _installed(path: pathlib.Path) -> bool:
    prefixes = {sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix}
    inside = any(path.is_relative_to(pathlib.Path(p).resolve()) for p in prefixes)
    return inside or "site-packages" in path.parts or "dist-packages" in path.parts


def archive_sources(target: pathlib.Path) -> None:
    """Writes the imported sources, and the uncommitted difference, as one archive."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, path in sources().items():
            archive.add(path, str(name), recursive=False)
        patch = _run("git", "diff", "HEAD").encode()
        entry = tarfile.TarInfo("uncommitted.patch")
        entry.size = len(patch)
        archive.addfile(entry, io.BytesIO(patch))
    target.write_bytes(buffer.getvalue())


def _git() -> dict[str, Any]:
    commit = _run("git", "rev-parse", "HEAD").strip()
    return {"commit": commit or None, "dirty": bool(_run("git", "status", "--porcelain"))}


def _run(*command: str) -> str:
    try:
        return subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=20, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return ""


def _processor() -> str:
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor())


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _sha256(path: pathlib.Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_json(path: pathlib.Path, value: Any) -> None:
    """Writes JSON so that a reader sees the old file or the new one, never a part."""
    partial = path.with_name(path.name + ".partial")
    with partial.open("w") as stream:
        json.dump(value, stream, indent=1, allow_nan=False)
        stream.write("\n")
        stream.flush()
        os.fsync(stream.fileno())
    partial.replace(path)
