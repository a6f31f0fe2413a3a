"""The source files that a process imported and no package manager installed."""

import functools
import gzip
import hashlib
import io
import pathlib
import subprocess
import sys
import tarfile

from experiments.engine.sealed import write_bytes

ROOT = pathlib.Path(__file__).resolve().parents[2]

_READ: dict[str, tuple[object, bytes]] = {}
"""Of each module what it was imported by, and its text."""


def sources() -> dict[pathlib.PurePosixPath, bytes]:
    """The text of every such file, by its name in the archive: relative to the project, or below
    `outside/`.

    A file is read when this is first called after its import: as an experiment is declared, or a
    study begins. What is imported is what trains, whatever is written into the file later. A module
    that is imported anew is read anew.
    """
    found = {}
    for name, module in list(sys.modules.items()):
        file, by = getattr(module, "__file__", None), getattr(module, "__spec__", None)
        if isinstance(file, str) and file.endswith(".py") and (own := _own_source(name, file)):
            if name not in _READ or _READ[name][0] is not by:
                _READ[name] = by, own[1].read_bytes()
            found[own[0]] = _READ[name][1]
    return dict(sorted(found.items()))


def source_digests() -> dict[str, str]:
    """The sha256 of every such file by its name."""
    return {str(name): hashlib.sha256(text).hexdigest() for name, text in sources().items()}


@functools.cache
def _own_source(module: str, file: str) -> tuple[pathlib.PurePosixPath, pathlib.Path] | None:
    """A module's name in the archive, and its file; None for what a package manager installed."""
    path = pathlib.Path(file).resolve()
    if not path.is_file():  # some modules say something else
        return None
    if path.is_relative_to(ROOT) and not path.is_relative_to(pathlib.Path(sys.prefix)):
        return pathlib.PurePosixPath(path.relative_to(ROOT)), path
    if _installed(path):
        return None
    depth = module.count(".") + 1 + (path.name == "__init__.py")
    return pathlib.PurePosixPath("outside", *path.parts[-depth:]), path


def _installed(path: pathlib.Path) -> bool:
    prefixes = {sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix}
    inside = any(path.is_relative_to(pathlib.Path(p).resolve()) for p in prefixes)
    return inside or "site-packages" in path.parts or "dist-packages" in path.parts


def archive_sources(target: pathlib.Path) -> None:
    """Writes the imported sources, and the uncommitted difference, as one archive."""
    buffer = io.BytesIO()
    patch = {pathlib.PurePosixPath("uncommitted.patch"): git("diff", "HEAD").encode()}
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, text in (sources() | patch).items():
            entry = tarfile.TarInfo(str(name))
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text))
    write_bytes(target, buffer.getvalue())


def archived_digests(archive: pathlib.Path) -> dict[str, str]:
    """The sha256 of every file in an archive of `archive_sources`, by its name.

    Raises:
        OSError, EOFError, tarfile.TarError, zlib.error: it cannot be read.
    """
    content = gzip.decompress(archive.read_bytes())  # tarfile would not read on to the checksum
    with tarfile.open(fileobj=io.BytesIO(content)) as opened:
        files = ((member.name, opened.extractfile(member)) for member in opened.getmembers())
        return {name: hashlib.sha256(f.read()).hexdigest() for name, f in files if f is not None}


def git(*command: str) -> str:
    """What git says of the project; "" where there is no answer."""
    try:
        return subprocess.run(
            ["git", *command], cwd=ROOT, capture_output=True, text=True, timeout=20, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return ""
