"""Published sets, prepared once per machine and memory-mapped from then on.

A prepared set is one folder: the TFDS set (array_record) and the arrays decoded from it as `.npy`.
It is built under another name and renamed when whole, so a killed or concurrent preparation never
leaves half a set, and every start checks the digest of the arrays it is about to use.
"""

import contextlib
import io
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap

from experiments.data.dataset import Dataset, Spec, digest_of, make_dataset
from experiments.data.published import Published
from experiments.engine.errors import DataMissingError, UsageError
from experiments.engine.paths import cache_folder, path_of

BLOCK = 10_000  # rows decoded at a time
SPLITS = ("train", "test")
TYPES = {"x": np.uint8, "y": np.int32}  # of the arrays; TFDS returns scalars as Python numbers
ABANDONED = 24 * 3600.0  # seconds after which an unfinished preparation was certainly killed


def data_dir() -> Path:
    """Where prepared sets live: ABLAX_DATA_DIR, or `ablax/data` in the user's cache."""
    return path_of(os.environ.get("ABLAX_DATA_DIR") or cache_folder() / "data")


def load(published: Published, manual_dir: Path | None) -> Dataset:
    """The set, prepared first if it is not there or is damaged.

    Args:
        published: which set.
        manual_dir: folder of the publishers' files; nothing is downloaded then. Without it,
            files in the folder `manual` of `data_dir()` are used, and otherwise downloaded.

    Raises:
        DataMissingError: the files are missing and cannot be downloaded, or are not the real ones.
        UsageError: `manual_dir` is needed and no folder, or `data_dir()` cannot be written.
    """
    folder = data_dir() / published.name
    dataset = _open(published, folder)
    if dataset is None:
        try:
            _prepare(published, folder, manual_dir)
        except (OSError, RuntimeError) as error:  # array_record's writer raises the latter
            raise UsageError(
                f"{published.name} cannot be prepared in {folder.parent}: {error}\n"
                "Make room there, or name another folder with ABLAX_DATA_DIR."
            ) from error
        dataset = _open(published, folder)
    if dataset is None:
        raise DataMissingError(f"{folder} does not hold what was written: run the command again")
    return dataset


def _open(published: Published, folder: Path) -> Dataset | None:
    """The set in `folder`, or None where it is missing, incomplete or damaged."""
    try:
        splits = {
            split: {name: open_memmap(folder / f"{split}_{name}.npy", mode="r") for name in TYPES}
            for split in SPLITS
        }
    except Exception:  # whatever a damaged file makes the reader stumble over
        return None
    dataset = make_dataset(published.name, splits, Spec(published.shape, published.classes))
    return dataset if dataset.digest == published.digest else None


def _prepare(published: Published, folder: Path, manual_dir: Path | None) -> None:
    manual = manual_dir or folder.parent / "manual"
    if manual_dir is None:
        manual.mkdir(parents=True, exist_ok=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{published.name}-"
    _sweep(folder.parent, prefix)
    with tempfile.TemporaryDirectory(prefix=prefix, dir=folder.parent) as temporary:
        new = Path(temporary) / published.name
        _build(published, new, manual, offline=manual_dir is not None)
        _install(published, new, folder)


def _sweep(parent: Path, prefix: str) -> None:
    """Removes what killed preparations left behind."""
    for left in parent.glob(prefix + "*"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - left.stat().st_mtime > ABANDONED:
                shutil.rmtree(left)


def _build(published: Published, folder: Path, manual: Path, offline: bool) -> None:
    """Writes the TFDS set and the arrays decoded from it into `folder`."""
    import tensorflow_datasets as tfds

    from experiments.data.builders import PublishedImages

    if not sys.stderr.isatty():
        tfds.disable_progress_bar()
    print(f"preparing {published.name} (once on this machine)", file=sys.stderr)
    builder = PublishedImages(
        published, manual_dir=manual, offline=offline, data_dir=folder / "tfds"
    )
    with contextlib.redirect_stdout(io.StringIO()):  # TFDS prints sizes it does not know
        builder.download_and_prepare(
            file_format="array_record", download_dir=folder.parent / "downloads"
        )
    read = builder.as_data_source  # pyright misreads TFDS's decorator
    splits = {s: _decode(read(s)) for s in SPLITS}  # pyright: ignore[reportCallIssue]
    if digest_of(splits) != published.digest:
        raise DataMissingError(f"{published.name}: TFDS returned other rows than were written")
    for split, arrays in splits.items():
        for name, array in arrays.items():
            np.save(folder / f"{split}_{name}.npy", array)


def _decode(source: Any) -> dict[str, np.ndarray]:
    """All rows of a TFDS data source, in order, read in blocks."""
    starts = range(0, len(source), BLOCK)
    blocks = [source.__getitems__(range(s, min(s + BLOCK, len(source)))) for s in starts]
    rows = [row for block in blocks for row in block]
    return {name: np.array([row[name] for row in rows], kind) for name, kind in TYPES.items()}


def _install(published: Published, new: Path, folder: Path) -> None:
    """Renames a finished set into place, unless another process was faster."""
    try:
        new.rename(folder)  # refused where a folder with anything in it is there
    except OSError:
        if not folder.exists():
            raise
        if _open(published, folder) is None:
            folder.rename(new.with_name("damaged"))  # goes when the temporary folder does
            new.rename(folder)
