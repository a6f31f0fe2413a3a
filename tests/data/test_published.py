"""Sets that come as files: preparing, reading again, and everything that can be wrong."""

import dataclasses
import gzip
import hashlib
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

from experiments.data import files, prepared
from experiments.engine.errors import DataMissingError, UsageError

IMAGES = "train-images-idx3-ubyte.gz"
pytestmark = pytest.mark.usefixtures("cache")


def test_files_become_a_memory_mapped_set_that_needs_no_files_again(tiny, tmp_path, cache):
    one = tiny("one", 1)
    one.write(tmp_path / "files" / "one")
    one.assert_in(prepared.load(one.published, tmp_path / "files"))
    again = prepared.load(one.published, tmp_path / "gone")
    one.assert_in(again)
    assert isinstance(again.splits["train"]["x"], np.memmap)
    assert again.digest == one.published.digest
    assert (again.spec.shape, again.spec.classes, again.spec.train_rows) == ((5, 4), 3, 13)
    assert sorted(os.listdir(cache)) == ["one"]
    assert "tensorflow" not in sys.modules


def test_a_second_start_imports_no_tfds(tiny, tmp_path, cache):
    one = tiny("one", 1)
    prepared.load(one.published, one.write(tmp_path / "files"))
    code = f"""
        import pickle, sys
        from experiments.data import prepared
        one = pickle.loads({pickle.dumps(one.published)})
        assert prepared.load(one, None).spec.train_rows == 13
        loaded = {{"tensorflow", "tensorflow_datasets", "jax", "sklearn"}} & set(sys.modules)
        assert not loaded, loaded
    """
    run(code)


def run(code: str) -> subprocess.CompletedProcess[str]:
    """Runs Python code of the repository in another process."""
    root = Path(__file__).resolve().parents[2]
    env = {**os.environ, "PYTHONPATH": str(root)}
    command = [sys.executable, "-c", textwrap.dedent(code)]
    return subprocess.run(command, cwd=root, env=env, check=True, timeout=120, text=True)


def test_two_sets_with_equal_file_names_stay_apart(tiny, tmp_path):
    one, two = tiny("one", 1), tiny("two", 2)
    for each in (one, two):
        each.write(tmp_path / "files" / each.published.name)
    for each in (one, two):
        each.assert_in(prepared.load(each.published, tmp_path / "files"))
    assert not np.array_equal(one.splits["train"]["x"], two.splits["train"]["x"])
    for each in (one, two):
        each.assert_in(prepared.load(each.published, None))


def test_unpacked_files_without_a_folder_of_their_own_do_too(tiny, tmp_path):
    one = tiny("one", 1)
    folder = one.write(tmp_path / "files")
    (folder / IMAGES.removesuffix(".gz")).write_bytes(gzip.decompress(one.files[IMAGES]))
    (folder / IMAGES).unlink()
    one.assert_in(prepared.load(one.published, folder))


def test_the_folder_manual_of_the_cache_is_used_without_being_named(tiny, cache):
    one = tiny("one", 1)
    one.write(cache / "manual" / "one")
    one.assert_in(prepared.load(one.published, None))


@pytest.mark.parametrize("how", ["truncated", "other bytes", "truncated when unpacked"])
def test_a_damaged_file_is_named_with_both_sums(tiny, tmp_path, cache, how):
    one = tiny("one", 1)
    folder = one.write(tmp_path / "files" / "one")
    path, good = folder / IMAGES, one.files[IMAGES]
    expected = hashlib.sha256(good).hexdigest()
    bad = good[:-9] if how == "truncated" else b"<html>moved</html>"
    if how == "truncated when unpacked":
        path.unlink()
        path, whole = path.with_suffix(""), gzip.decompress(good)
        bad, expected = whole[:-9], hashlib.sha256(whole).hexdigest()
    path.write_bytes(bad)
    with pytest.raises(DataMissingError) as caught:
        prepared.load(one.published, tmp_path / "files")
    text = str(caught.value)
    assert str(path) in text
    assert "truncated, damaged or another file" in text
    assert f"expected {expected}" in text
    assert f"found    {hashlib.sha256(bad).hexdigest()}" in text
    assert sorted(os.listdir(cache)) == []


def test_a_file_of_another_set_is_recognised(tiny, tmp_path, monkeypatch):
    one, two = tiny("one", 1), tiny("two", 2)
    monkeypatch.setattr(files, "PUBLISHED", {"one": one.published, "two": two.published})
    folder = two.write(tmp_path / "files")
    with pytest.raises(DataMissingError, match=f"it is {IMAGES} of two; keep .*one folder per set"):
        prepared.load(one.published, folder)


def test_an_unpacked_file_under_the_name_of_the_packed_one_is_taken(tiny, tmp_path):
    """As some browsers leave it."""
    one = tiny("one", 1)
    folder = one.write(tmp_path / "files")
    (folder / IMAGES).write_bytes(gzip.decompress(one.files[IMAGES]))
    one.assert_in(prepared.load(one.published, folder))


def test_files_missing_in_the_folder_are_listed_and_not_downloaded(tiny, tmp_path):
    one = tiny("one", 1)
    (one.write(tmp_path / "files" / "one") / IMAGES).unlink()
    with pytest.raises(DataMissingError) as caught:
        prepared.load(one.published, tmp_path / "files")
    text = str(caught.value)
    assert f"http://127.0.0.1:9/{IMAGES}\n    or unpacked: {IMAGES.removesuffix('.gz')}\n" in text
    assert "labels" not in text
    assert "t10k" not in text
    assert f"Put them into {tmp_path / 'files' / 'one'}" in text
    assert f"--manual-dir {tmp_path / 'files'}" in text
    assert caught.value.code == 3


def test_a_folder_that_is_not_there_is_a_wrong_option(tiny, tmp_path):
    with pytest.raises(UsageError, match=r"--manual-dir .*gone: there is no such folder"):
        prepared.load(tiny("one", 1).published, tmp_path / "gone")


@pytest.mark.parametrize(
    "damage", ["flipped bit", "truncated", "gone", "other shape", "empty", "header", "archive"]
)
def test_a_damaged_prepared_set_is_prepared_again(tiny, tmp_path, cache, damage):
    one = tiny("one", 1)
    folder = one.write(tmp_path / "files")
    prepared.load(one.published, folder)
    path = cache / "one" / "train_x.npy"
    whole = bytearray(path.read_bytes())
    whole[-3] ^= 4
    match damage:
        case "flipped bit":
            path.write_bytes(whole)
        case "truncated":
            path.write_bytes(whole[:-5])
        case "gone":
            path.unlink()
        case "empty":
            path.write_bytes(b"")
        case "header":
            path.write_bytes(whole[:10] + b"{" * 30 + whole[40:])
        case "archive":
            np.savez(path.with_suffix(".npz"), x=one.splits["train"]["x"])
            path.with_suffix(".npz").replace(path)
        case _:
            np.save(path, one.splits["train"]["x"].reshape(13, 20))
    one.assert_in(prepared.load(one.published, folder))
    assert sorted(os.listdir(cache)) == ["one"]


def test_a_full_disk_is_told_in_one_line(tiny, tmp_path, monkeypatch):
    """The writer of array_record says so by a RuntimeError."""
    one = tiny("one", 1)

    def full(*args, **kwargs):
        raise RuntimeError("write() failed: No space left on device")

    monkeypatch.setattr(prepared, "_build", full)
    with pytest.raises(UsageError, match="No space left on device\nMake room there, or name"):
        prepared.load(one.published, one.write(tmp_path / "files"))


def test_a_file_that_cannot_be_read_is_named(tiny, tmp_path, monkeypatch):
    one = tiny("one", 1)
    folder = one.write(tmp_path / "files")
    read = Path.read_bytes

    def refuse(path):
        if path.name == IMAGES:
            raise OSError(5, "Input/output error")
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(DataMissingError, match=f"{IMAGES} cannot be read: Input/output error"):
        prepared.load(one.published, folder)


def test_a_killed_preparation_leaves_no_half_set(tiny, tmp_path, cache):
    one = tiny("one", 1)
    folder = one.write(tmp_path / "files")
    code = f"""
        import os, pickle, signal
        from pathlib import Path
        import numpy as np
        from experiments.data import prepared
        save, saved = np.save, []
        def save_two_then_die(path, array):
            if len(saved) == 2:
                os.kill(os.getpid(), signal.SIGKILL)
            saved.append(save(path, array))
        np.save = save_two_then_die
        prepared.load(pickle.loads({pickle.dumps(one.published)}), Path({str(folder)!r}))
    """
    with pytest.raises(subprocess.CalledProcessError) as caught:
        run(code)
    assert caught.value.returncode == -signal.SIGKILL
    (left,) = os.listdir(cache)
    assert left.startswith(".one-")
    long_ago = time.time() - prepared.ABANDONED - 1
    os.utime(cache / left, (long_ago, long_ago))
    one.assert_in(prepared.load(one.published, folder))
    assert sorted(os.listdir(cache)) == ["one"]


def test_the_faster_of_two_preparations_wins(tiny, tmp_path, cache, monkeypatch):
    one = tiny("one", 1)
    folder = one.write(tmp_path / "files")
    build = prepared._build

    def overtaken(*args, **kwargs):
        build(*args, **kwargs)
        monkeypatch.setattr(prepared, "_build", build)
        faster.append(prepared.load(one.published, folder))
        faster.append((cache / "one").stat().st_ino)

    faster = []
    monkeypatch.setattr(prepared, "_build", overtaken)
    one.assert_in(prepared.load(one.published, folder))
    one.assert_in(faster[0])
    assert (cache / "one").stat().st_ino == faster[1]
    assert sorted(os.listdir(cache)) == ["one"]


def test_a_wrong_digest_is_never_installed(tiny, tmp_path, cache):
    one = tiny("one", 1)
    wrong = dataclasses.replace(one.published, digest=tiny("two", 2).published.digest)
    with pytest.raises(DataMissingError, match="other rows than were written"):
        prepared.load(wrong, one.write(tmp_path / "files"))
    assert sorted(os.listdir(cache)) == []


def test_a_cache_that_cannot_be_written_says_so(tiny, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ABLAX_DATA_DIR", str(tmp_path / "file" / "cache"))
    one = tiny("one", 1)
    with pytest.raises(UsageError, match="ABLAX_DATA_DIR"):
        prepared.load(one.published, one.write(tmp_path / "files"))
