"""Where a study came from: commit, sources, versions, machine, data, command line."""

import collections
import contextlib
import functools
import hashlib
import importlib.metadata
import itertools
import os
import pathlib
import platform
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax

from experiments.data.dataset import Dataset
from experiments.engine.devices import instruction_set
from experiments.engine.sealed import read_json, write_json
from experiments.engine.sources import ROOT, archive_sources, git, source_digests
from experiments.engine.wording import count

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
        "time": utc_now(),
        "command": [pathlib.Path(sys.executable).name, *sys.argv],
        "git": _git(),
        "sources": source_digests(),
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


def utc_now() -> str:
    """The time, to the second, as ISO 8601."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def begin_record(folder: pathlib.Path, datasets: Sequence[Dataset]) -> None:
    """Writes `record.json` and `sources.tar.gz` of a new study."""
    archive_sources(folder / "sources.tar.gz")
    write_json(folder / "record.json", {**make_record(datasets), "sessions": []})


def continue_record(
    folder: pathlib.Path, datasets: Sequence[Dataset], echo: Callable[[str], None]
) -> None:
    """Adds this process to the record: its command, and where its environment differs.

    Differences are told: what is trained under them agrees with the rest to a tolerance, not to
    the bit; by other sources, perhaps not at all. Sources that differ are archived beside the
    first.
    """
    path = folder / "record.json"
    try:
        record = read_json(path)
    except (OSError, ValueError) as error:
        kept = _set_aside(path)
        echo(f"warning: {path} cannot be read ({error}): a new one begins here{kept}")
        archive_sources(_free_archive(folder))
        record = {**make_record(datasets), "sessions": [], "begun_anew": True}
    now = make_record([])
    found, sessions = differences(record, now), record["sessions"]
    sources = {name: pair for name, pair in found.items() if name.startswith("sources.")}
    elsewhere = {name: pair for name, pair in found.items() if name not in sources}
    if sources:
        archive_sources(_free_archive(folder))
        echo("warning: the code has changed since this study began: what is trained now may be")
        echo("  another experiment than what was trained before; another --out begins anew:")
    for line in told(sources):
        echo(f"  {line}")
    if elsewhere:
        echo("warning: begun in another environment: what is trained now agrees to a tolerance,")
        echo("  not to the bit:")
    for line in told(elsewhere):
        echo(f"  {line}")
    about = {"time": now["time"], "command": now["command"], "devices": jax.device_count()}
    session = {**about, "differs": found}
    write_json(path, {**record, "sessions": [*sessions, session]})


def tell_other_sources(folder: pathlib.Path, echo: Callable[[str], None]) -> None:
    """Says if what a folder holds was begun by other sources than those that are here now, or if
    that cannot be known."""
    for text in doubts(folder):
        echo(f"warning: {text}")
    with contextlib.suppress(OSError, ValueError):
        begun = {"sources": read_json(folder / "record.json").get("sources", {})}
        for line in told(differences(begun, {"sources": source_digests()})):
            now = "another --out trains by those of now"
            echo(f"warning: these results are of other {line}; {now}")


def mixture(record: Mapping[str, Any]) -> list[str]:
    """What a study holds that was not trained as it began, one sentence each.

    That is sessions that ran other sources or in another environment, and merged parts that
    differ (`merge.merge`).
    """
    differing = [s["differs"] for s in record.get("sessions", []) if s["differs"]]
    each = collections.Counter("; ".join(told(differ)) for differ in differing)
    apart: list[str] = record.get("apart", [])
    later = [f"{count(n, 'session')} differed from the first: {text}" for text, n in each.items()]
    return [*apart, *later]


def doubts(folder: pathlib.Path) -> list[str]:
    """What there is to say of where a folder's results came from: `mixture`, or that it is lost."""
    path = folder / "record.json"
    try:
        return mixture(read_json(path))
    except (OSError, ValueError) as error:
        return [f"{path} cannot be read ({error}): where this came from is not known"]


def _set_aside(path: pathlib.Path) -> str:
    """Keeps a damaged record under another name; says which."""
    if not path.exists():
        return ""
    names = (path.with_name(f"record.damaged-{number}.json") for number in itertools.count(1))
    free = next(name for name in names if not name.exists())
    path.rename(free)
    return f", the old one is kept as {free.name}"


def _free_archive(folder: pathlib.Path) -> pathlib.Path:
    """A name for the sources of this process: what is archived is never overwritten."""
    if not (folder / "sources.tar.gz").exists():
        return folder / "sources.tar.gz"
    numbered = (folder / f"sources-{number}.tar.gz" for number in itertools.count(1))
    return next(path for path in numbered if not path.exists())


ENVIRONMENT = ("python", "packages", "device", "xla_flags", "jax_config", "sources")
"""What decides the bits of a result beside the study itself."""


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Where two records' environments differ: `packages.jax` -> [old, new].

    The number of devices is no difference: the plan says how many are used, and planning tells
    where there are too few. Of source files those count that both have: a verb imports what it
    needs, and a file that begins to need another one is itself changed. Where a user's own file is
    gone, one that is new counts too: it may be the old one, renamed and changed.
    """
    before, after = ({name: record.get(name) for name in ENVIRONMENT} for record in (old, new))
    flat = [dict(_flat(record)) for record in (before, after)]
    names = sorted(flat[0].keys() | flat[1].keys())
    pairs = {name: [each.get(name) for each in flat] for name in names}
    own = "sources.outside/"
    gone = {there for name, (there, here) in pairs.items() if name.startswith(own) and not here}

    def counts(name: str, there: Any, here: Any) -> bool:
        if name.startswith(own) and there is None:
            return bool(gone) and here not in gone
        if name.startswith("sources.") and None in (there, here):
            return False
        return there != here and name != "device.count"

    return {name: pair for name, pair in pairs.items() if counts(name, *pair)}


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if not isinstance(value, Mapping):
        yield path, value
        return
    for name, inner in value.items():
        yield from _flat(inner, f"{path}.{name}".lstrip("."))


def told(differ: Mapping[str, Sequence[Any]]) -> list[str]:
    """Differences for people, one line each; changed source files are one line together."""
    changed = [name.removeprefix("sources.") for name in differ if name.startswith("sources.")]
    lines = [
        f"{name}: {old} there, {new} here"
        for name, (old, new) in differ.items()
        if not name.startswith("sources.")
    ]
    if changed:
        more = f" and {len(changed) - 4} more" if len(changed) > 4 else ""
        lines.append(f"source files: {', '.join(changed[:4])}{more}")
    return lines


def _git() -> dict[str, Any]:
    commit = git("rev-parse", "HEAD").strip()
    return {"commit": commit or None, "dirty": bool(git("status", "--porcelain"))}


def _processor() -> str:
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor())


@functools.cache
def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _sha256(path: pathlib.Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
