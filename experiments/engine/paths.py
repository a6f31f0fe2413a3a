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


def manual_folder(given: str | os.PathLike[str] | None) -> pathlib.Path | None:
    """The folder of data files that `--manual-dir` names, or else ABLAX_MANUAL_DIR, if any."""
    folder = given or os.environ.get("ABLAX_MANUAL_DIR")
    return path_of(folder) if folder else None


def own_file(
    given: str | os.PathLike[str], manual_dir: str | os.PathLike[str] | None
) -> pathlib.Path:
    """A user's data file: where its path says or, if it is not there, in the manual folder."""
    path, folder = path_of(given), manual_folder(manual_dir)
    if folder is None or path.exists() or not (folder / path.name).is_file():
        return path
    return folder / path.name


def not_there(path: pathlib.Path) -> str:
    """Says that there is no such data file; of a relative path, where it was looked for."""
    moved = "where a file has moved, --manual-dir names the folder it is in now"
    if path.is_absolute():
        return f"there is no such file; {moved}"
    return (
        f"there is no such file in {pathlib.Path.cwd()}; a study that was begun in another folder "
        f"is resumed from there, and {moved}"
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
