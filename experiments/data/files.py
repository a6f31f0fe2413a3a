"""The files of published sets: where they lie, and whether they are the real ones."""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from experiments.data.formats import unpack
from experiments.data.published import PUBLISHED, File, Part, Published
from experiments.engine.errors import DataMissingError, UsageError

GZIP_MAGIC = b"\x1f\x8b"


def check_folder(manual_dir: Path) -> None:
    """Raises `UsageError` where there is no such folder of the publishers' files."""
    if not manual_dir.is_dir():
        raise UsageError(f"--manual-dir {manual_dir}: there is no such folder")


def content(path: Path) -> bytes:
    """The bytes of a publisher's file.

    Raises:
        DataMissingError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataMissingError(f"{path} cannot be read: {error.strerror}") from None


def decoded(where: str, data: bytes) -> str:
    """The text of a file, without a byte-order mark.

    Raises:
        DataMissingError: it is not UTF-8.
    """
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataMissingError(
            f"{where}: not UTF-8 (byte {error.start:,}); convert it, for instance with "
            "`iconv -f latin1 -t utf-8`"
        ) from None


def locate(published: Published, manual_dir: Path) -> dict[str, Path]:
    """Finds the files of a set in a folder of the publishers' files.

    Each part is looked for in `manual_dir/<set>/` and then in `manual_dir` itself, packed or not.
    Sets share file names, so what is found is known to be right only after `read`.

    Returns:
        Name of a part -> the file that holds it, for the parts found.

    Raises:
        UsageError: there is no such folder.
    """
    check_folder(manual_dir)
    folders = (manual_dir / published.name, manual_dir)
    found = {}
    for file, part in parts_of(published):
        places = [folder / name for folder in folders for name in (file.name, part.name)]
        if here := [place for place in places if place.is_file()]:
            found[part.name] = here[0]
    return found


def parts_of(published: Published) -> list[tuple[File, Part]]:
    """All parts of a set with the files they are published in, in order."""
    return [(file, part) for file in published.files for part in file.parts]


def read(file: File, places: Mapping[str, Path]) -> Iterator[tuple[Part, bytes]]:
    """The parts of a file, after checking that each is the published one.

    Args:
        file: which file.
        places: name of a part -> the file that holds it, packed or not.

    Raises:
        DataMissingError: one is not; names the file with the expected and the found sha256.
    """
    contents: dict[str, bytes] = {}
    for part in file.parts:
        if part.name not in contents:
            contents |= _open(file, part, places[part.name])
        yield part, contents.pop(part.name)


def _open(file: File, part: Part, path: Path) -> dict[str, bytes]:
    """The part alone from a file that is it, or all parts from their packed file."""
    data = content(path)
    if _sha256(data) == file.sha256:
        contents = unpack(file.name, data, [each.name for each in file.parts])
        for each in file.parts:
            _check(f"{path}: {each.name}", contents[each.name], each.sha256)
        return contents
    packed = path.name == file.name or data.startswith(GZIP_MAGIC)
    plain = _sha256(data) == part.sha256
    _check(str(path), data, file.sha256 if packed and not plain else part.sha256)
    return {part.name: data}


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _check(where: str, data: bytes, expected: str) -> None:
    found = _sha256(data)
    if found != expected:
        raise DataMissingError(
            f"{where} is not the published file ({len(data):,} bytes){_whose(found)}\n"
            f"  sha256 expected {expected}\n"
            f"  sha256 found    {found}\n"
            "Replace it by the published file and run the command again."
        )


def _whose(sha256: str) -> str:
    """A hint where it is another published file: sets have files of the same names."""
    for other in PUBLISHED.values():
        for file, part in parts_of(other):
            if sha256 in (file.sha256, part.sha256):
                name = file.name if sha256 == file.sha256 else part.name
                kept = "keep the publisher's names, and one folder per set"
                return f": it is {name} of {other.name}; {kept}"
    return ": truncated, damaged or another file"


def missing(published: Published, folder: Path, found: Mapping[str, Path], reason: str) -> str:
    """The message for a set that cannot be had: which files, from where, into which folder."""
    listed = ""
    for file in published.files:
        if absent := [part.name for part in file.parts if part.name not in found]:
            listed += f"\n  {published.url}{file.name}\n    or unpacked: {', '.join(absent)}"
    return (
        f"{published.name} is not on this machine: {reason}\nMissing:{listed}\n"
        f"Put them into {folder / published.name} and run the command again with "
        f"--manual-dir {folder} (or ABLAX_MANUAL_DIR={folder})."
    )
