"""Sets of pickled batches in one archive: where they may lie, and what is never unpickled."""

import dataclasses
import gzip
import hashlib
import io
import os
import pickle
import struct
import tarfile
from pathlib import Path

import numpy as np
import pytest

from experiments.data import files, prepared
from experiments.data.dataset import digest_of
from experiments.data.formats import parse_cifar
from experiments.data.published import File, Part, Published
from experiments.engine.errors import DataMissingError
from tests.data.conftest import Tiny, sha256

ARCHIVE = "tiny-python.tar.gz"
NAMES = [f"tiny-py/{name}" for name in ("data_batch_1", "data_batch_2", "test_batch")]
ROWS = dict(zip(NAMES, (6, 5, 4), strict=True))
pytestmark = pytest.mark.usefixtures("cache")


def text(value: bytes) -> bytes:
    """A text of Python 2 in the opcodes of a pickle."""
    return b"T" + struct.pack("<i", len(value)) + value


def batch(planes: np.ndarray, labels: list[int]) -> bytes:
    """What Python 2 and NumPy 1 wrote for {"labels": labels, "data": planes}."""
    numbers = b"".join(b"K" + bytes([label]) for label in labels)
    rows, features = planes.shape
    kind = b"cnumpy\ndtype\n" + text(b"u1") + b"K\0K\1\x87R(K\3" + text(b"|") + b"NNNJ"
    kind += b"\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb"
    empty = (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85" + text(b"b") + b"\x87R"
    )
    shape = b"M" + struct.pack("<H", rows) + b"M" + struct.pack("<H", features) + b"\x86"
    array = empty + b"(K\1" + shape + kind + b"\x89" + text(planes.tobytes()) + b"tb"
    return b"\x80\2}(" + text(b"labels") + b"](" + numbers + b"e" + text(b"data") + array + b"u."


def archive(contents: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, data in contents.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return gzip.compress(packed.getvalue(), mtime=0)


@dataclasses.dataclass(frozen=True)
class Batches(Tiny):
    """A set of two training batches and a test batch; `parts` are the unpacked files."""

    parts: dict[str, bytes] = dataclasses.field(default_factory=dict)

    def extract(self, folder: Path, *names: str) -> Path:
        """Puts the batches into `folder`, or only some of them."""
        for name in names or self.parts:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(self.parts[name])
        return folder


def make(url: str = "http://127.0.0.1:9/", inside: dict[str, bytes] | None = None) -> Batches:
    """The set; its archive may hold something else than the batches."""
    random = np.random.default_rng(0)
    images = {n: random.integers(0, 256, (r, 32, 32, 3), dtype=np.uint8) for n, r in ROWS.items()}
    labels = {n: random.integers(0, 10, r) for n, r in ROWS.items()}
    parts = {
        name: batch(x.transpose(0, 3, 1, 2).reshape(len(x), -1), labels[name].tolist())
        for name, x in images.items()
    }
    splits = {
        split: {
            "x": np.concatenate([images[name] for name in names]),
            "y": np.concatenate([labels[name] for name in names]).astype(np.int32),
        }
        for split, names in {"train": NAMES[:2], "test": NAMES[2:]}.items()
    }
    data = archive(parts | (inside or {}))
    known = tuple(Part(n, "test" if "test" in n else "train", sha256(d)) for n, d in parts.items())
    file = File(ARCHIVE, len(data), sha256(data), known)
    digest = digest_of(splits)
    published = Published("tiny", url, (32, 32, 3), 10, parse_cifar, (file,), digest)
    return Batches(published, splits, {ARCHIVE: data}, parts)


def test_an_archive_becomes_a_set_in_the_order_of_its_batches(tmp_path, cache):
    tiny = make()
    tiny.write(tmp_path / "files" / "tiny")
    tiny.assert_in(prepared.load(tiny.published, tmp_path / "files"))
    tiny.assert_in(prepared.load(tiny.published, None))
    assert sorted(os.listdir(cache)) == ["tiny"]


@pytest.mark.parametrize("where", ["tiny", "."])
def test_unpacked_batches_do_too(tmp_path, where):
    tiny = make()
    tiny.extract(tmp_path / "files" / where)
    tiny.assert_in(prepared.load(tiny.published, tmp_path / "files"))


def test_what_is_not_unpacked_is_read_from_the_archive(tmp_path):
    tiny = make()
    tiny.extract(tmp_path / "files" / "tiny", NAMES[0])
    tiny.write(tmp_path / "files")
    tiny.assert_in(prepared.load(tiny.published, tmp_path / "files"))


def test_an_archive_is_downloaded_where_there_is_a_network(server):
    folder, url = server
    tiny = make(url)
    tiny.write(folder)
    tiny.assert_in(prepared.load(tiny.published, None))


def test_missing_batches_are_listed_with_the_archive_they_come_in(tmp_path):
    tiny = make()
    tiny.extract(tmp_path / "files" / "tiny", NAMES[0])
    with pytest.raises(DataMissingError) as caught:
        prepared.load(tiny.published, tmp_path / "files")
    said = str(caught.value)
    assert f"http://127.0.0.1:9/{ARCHIVE}\n    or unpacked: {NAMES[1]}, {NAMES[2]}\n" in said
    assert f"Put them into {tmp_path / 'files' / 'tiny'}" in said


def never(data: bytes) -> dict[str, np.ndarray]:
    raise AssertionError("unpickled")


@pytest.mark.parametrize("how", ["batch", "batches of each other", "archive", "inside the archive"])
def test_a_wrong_file_is_named_with_both_sums_and_never_unpickled(
    tmp_path, monkeypatch, cache, how
):
    tiny = make(inside={NAMES[1]: b"other"} if how == "inside the archive" else None)
    tiny = dataclasses.replace(tiny, published=dataclasses.replace(tiny.published, parse=never))
    monkeypatch.setattr(files, "PUBLISHED", {"tiny": tiny.published})
    folder, hint = tmp_path / "files" / "tiny", ": truncated, damaged or another file"
    if how.startswith("batch"):
        path, expected = tiny.extract(folder) / NAMES[0], sha256(tiny.parts[NAMES[0]])
        bad = path.read_bytes()[:-1]
        if how != "batch":
            bad, hint = tiny.parts[NAMES[1]], f": it is {NAMES[1]} of tiny"
        path.write_bytes(bad)
    else:
        path = tiny.write(folder) / ARCHIVE
        bad, expected = tiny.files[ARCHIVE][:-1], sha256(tiny.files[ARCHIVE])
        if how == "archive":
            path.write_bytes(bad)
        else:
            path, bad, expected = f"{path}: {NAMES[1]}", b"other", sha256(tiny.parts[NAMES[1]])
    with pytest.raises(DataMissingError) as caught:
        prepared.load(tiny.published, tmp_path / "files")
    said = str(caught.value)
    assert said.startswith(f"{path} is not the published file ({len(bad):,} bytes){hint}")
    assert f"expected {expected}\n" in said
    assert f"found    {hashlib.sha256(bad).hexdigest()}\n" in said
    assert sorted(os.listdir(cache)) == []


def test_pixels_are_planes_of_red_green_and_blue_row_by_row():
    planes = np.zeros((2, 3072), np.uint8)
    planes[1, 2 * 1024 + 5 * 32 + 7] = 9
    arrays = parse_cifar(batch(planes, [3, 8]))
    assert np.argwhere(arrays["x"]).tolist() == [[1, 5, 7, 2]]
    assert (arrays["x"].shape, arrays["x"].dtype) == ((2, 32, 32, 3), np.uint8)
    assert arrays["y"].tolist() == [3, 8]


class Evil:
    """Runs a function when it is unpickled."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    ("function", "args"),
    [(os.mkdir, "made"), (eval, "open('made', 'w')"), (np.load, "made"), (getattr, ({}, "x"))],
)
def test_a_pickle_that_calls_anything_is_refused(function, args, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    args = args if isinstance(args, tuple) else (args,)
    with pytest.raises(pickle.UnpicklingError, match="is not allowed"):
        parse_cifar(pickle.dumps({"data": Evil(function, *args), "labels": []}, protocol=2))
    assert not list(tmp_path.iterdir())
