"""Paths that a user gives, and the user's cache."""

import contextlib
import os
import pathlib
import tempfile

from experiments.engine.errors import UsageError


def path_of(given: str | os.PathLike[str]) -> pathlib.Path:
    """A path, `~` written out.

    Raises:
        UsageError: `~` names nobody, or the name is no text.
    """
    try:
        str(given).encode()
        return pathlib.Path(given).expanduser()
    except UnicodeEncodeError:
        raise UsageError(f"{str(given)!r}: names of files must be text (UTF-8)") from None
    except RuntimeError:
        raise UsageError(f"{given}: there is no such user's home folder") from None


def not_there(path: pathlib.Path) -> str:
    """Says that there is no such file; of a relative path, where it was looked for."""
    if path.is_absolute():
        return "there is no such file"
    return (
        f"there is no such file in {pathlib.Path.cwd()}; "
        "a study that was begun in another folder is resumed from there"
    )


def stamp(path: pathlib.Path) -> tuple[int, ...]:
    """What changes when a file is written anew; nothing of one that is not there."""
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_mtime_ns, found.st_size, found.st_ino


def file_to_write(given: str | os.PathLike[str]) -> pathlib.Path:
    """The file that `--out` names, which may be there already; behind a link, what it leads to.

    Raises:
        UsageError: a folder, a device or a pipe is there.
    """
    path = path_of(given)
    if path.is_dir():
        raise UsageError(f"--out {path} is a folder; name a file")
    if path.exists() and not path.is_file():
        raise UsageError(f"--out {path} is a device or a pipe; name a file")
    return path.resolve() if path.is_symlink() else path


def cache_folder() -> pathlib.Path:
    """Where Ablax keeps what it can make again: below `XDG_CACHE_HOME` or the home folder; where
    there is neither, in the system's folder for temporary files."""
    if given := os.environ.get("XDG_CACHE_HOME"):
        return pathlib.Path(given) / "ablax"
    with contextlib.suppress(RuntimeError):
        return pathlib.Path.home() / ".cache" / "ablax"
    return pathlib.Path(tempfile.gettempdir()) / f"ablax-{os.getuid()}"
