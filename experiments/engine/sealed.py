"""JSON that notices damage: every line and every file carries a checksum of its own text."""

import contextlib
import hashlib
import json
import os
import pathlib
import zlib
from collections.abc import Mapping
from typing import Any

SEAL = ', "crc": "'
DIGEST = "sha256"


def seal_line(record: Mapping[str, Any]) -> str:
    """A record as one line of JSON whose last field is the CRC-32 of the text before it."""
    text = json.dumps(record, allow_nan=False)
    return f'{text[:-1]}{SEAL}{zlib.crc32(text.encode()):08x}"}}'


def open_line(line: str) -> dict[str, Any] | None:
    """The record of a sealed line; None where the line is torn or damaged."""
    body, found, rest = line.rpartition(SEAL)
    text = body + "}"
    if not found or rest != f'{zlib.crc32(text.encode()):08x}"}}':
        return None
    return json.loads(text)


def write_json(path: pathlib.Path, value: Mapping[str, Any]) -> None:
    """Writes a sealed file so that a reader sees the old one or the new one, never a part."""
    sealed = {**value, DIGEST: _digest(value)}
    write_text(path, json.dumps(sealed, indent=1, allow_nan=False) + "\n")


def read_json(path: pathlib.Path) -> dict[str, Any]:
    """The contents of a sealed file.

    Raises:
        OSError: it cannot be read.
        ValueError: it is damaged.
    """
    value = json.loads(path.read_bytes().decode("utf-8"))
    if not isinstance(value, dict) or value.pop(DIGEST, None) != _digest(value):
        raise ValueError("its checksum is wrong")
    return value


def _digest(value: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(value, allow_nan=False).encode()).hexdigest()


def write_text(path: pathlib.Path, text: str) -> None:
    """Writes a file in one go: a reader sees the old text or the new one."""
    write_bytes(path, text.encode())


def write_bytes(path: pathlib.Path, content: bytes) -> None:
    """Writes a file in one go, on the disk when it returns."""
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise
