"""Sealed lines and files: no flipped bit and no missing end goes unnoticed."""

import json
import math

import pytest

from experiments.engine import sealed
from experiments.engine.sealed import (
    open_line,
    read_json,
    seal_line,
    write_bytes,
    write_json,
    write_text,
)

RECORD = {
    "text": 'Grüße, 名前, 🙂 "quoted" \\ \n\t\u2028 , "crc": "00000000"}',
    "floats": [0.1, 1e-320, -0.0, 1.7976931348623157e308, 0.30000000000000004, 3.0],
    "large": 12345678901234567890,
    "nested": {"a": [None, True, {"b": []}], "": {}},
}


def flips(content):
    for place in range(len(content)):
        for bit in range(8):
            damaged = bytearray(content)
            damaged[place] ^= 1 << bit
            yield bytes(damaged)


def test_a_line_comes_back_as_it_was():
    line = seal_line(RECORD)
    found = open_line(line)
    assert found is not None
    assert found == RECORD and json.dumps(found) == json.dumps(RECORD)
    assert math.copysign(1, found["floats"][2]) == -1
    assert "\n" not in line and json.loads(line)["text"] == RECORD["text"]


def test_every_flipped_bit_of_a_line_is_noticed():
    line = seal_line({"a": 0.5, "b": ["x"]}).encode()
    for damaged in flips(line):
        parts = damaged.decode("utf-8", "replace").split("\n")
        assert [open_line(part) for part in parts] == [None] * len(parts), damaged


def test_every_cut_of_a_line_is_noticed():
    line = seal_line(RECORD)
    assert all(open_line(line[:end]) is None for end in range(len(line)))
    assert all(open_line(line[start:]) is None for start in range(1, len(line)))
    assert open_line(line + " ") is None and open_line(line + line) is None


def test_a_file_comes_back_as_it_was(tmp_path):
    path = tmp_path / "x.json"
    for value in (RECORD, {}, {"a": {"sha256": "x"}}):
        write_json(path, value)
        found = read_json(path)
        assert found == value and json.dumps(found) == json.dumps(value)
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"a": math.nan})
    assert read_json(path) == {"a": {"sha256": "x"}}


def test_no_flipped_bit_or_cut_of_a_file_changes_what_is_read(tmp_path):
    """1e-05 and 1E-05, \\u00fc and \\u00FC are the same value."""
    path = tmp_path / "x.json"
    value = {"a": 1e-5, "b": [2.5, "ü"], "c": {"d": None}}
    write_json(path, value)
    whole, noticed = path.read_bytes(), 0
    for damaged in [*flips(whole), *(whole[:end] for end in range(len(whole) - 1))]:
        path.write_bytes(damaged)
        try:
            assert read_json(path) == value, damaged
        except ValueError:
            noticed += 1
    assert noticed >= 9 * (len(whole) - 1) - 4
    for other in (b"[1]", b'"x"', b"", b'{"a": 1}', b"\xff"):
        path.write_bytes(other)
        with pytest.raises(ValueError, match=r"checksum|Expecting|decode"):
            read_json(path)


def test_a_value_or_a_name_that_was_edited_is_noticed(tmp_path):
    path = tmp_path / "x.json"
    write_json(path, {"seeds": 10, "name": "study"})
    text = path.read_text()
    for old, new in (("10", "11"), ("seeds", "seats"), ('"study"', '"other"')):
        path.write_text(text.replace(old, new))
        with pytest.raises(ValueError, match="its checksum is wrong"):
            read_json(path)
    path.write_text(json.dumps(json.loads(text)))  # laid out otherwise
    assert read_json(path) == {"seeds": 10, "name": "study"}


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "x.json"
    write_text(path, "old")

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sealed.os, "fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        write_bytes(path, b"new and longer")
    assert path.read_text() == "old"
    monkeypatch.undo()
    write_text(path, "newer")  # over what the failure left
    assert path.read_text() == "newer" and list(tmp_path.iterdir()) == [path]


def test_a_reader_never_sees_a_part(tmp_path, monkeypatch):
    """At the moment of the last flush, the name still holds the old text."""
    path, seen = tmp_path / "x", []
    write_text(path, "old")
    monkeypatch.setattr(sealed.os, "fsync", lambda number: seen.append(path.read_text()))
    write_text(path, "new")
    assert seen == ["old"] and path.read_text() == "new"
