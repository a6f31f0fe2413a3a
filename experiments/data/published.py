"""Sets that come as files: which files, from where, and whether those at hand are the real ones."""

import dataclasses
import gzip
import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from experiments.engine.errors import DataMissingError, UsageError

GZIP_MAGIC = b"\x1f\x8b"


@dataclasses.dataclass(frozen=True)
class File:
    """One published file; it holds one array of one split in the IDX format, packed by gzip.

    Attributes:
        name: the publisher's file name, ending in `.gz`.
        split: "train" or "test".
        array: "x" or "y".
        size: in bytes, packed.
        sha256: of the packed file.
        plain_sha256: of its contents, for users who keep the file unpacked.
    """

    name: str
    split: str
    array: str
    size: int
    sha256: str
    plain_sha256: str


@dataclasses.dataclass(frozen=True)
class Published:
    """A data set made of such files.

    Attributes:
        name: as given to `load`.
        url: the publisher's address; a file lies at `url + file.name`.
        shape: of one example.
        classes: number of classes.
        files: one per split and array.
        digest: of the finished data set (`dataset.digest_of`): what a prepared copy must have.
    """

    name: str
    url: str
    shape: tuple[int, ...]
    classes: int
    files: tuple[File, ...]
    digest: str


def _images(split: str, size: int, sha256: str, plain_sha256: str) -> File:
    prefix = {"train": "train", "test": "t10k"}[split]
    return File(f"{prefix}-images-idx3-ubyte.gz", split, "x", size, sha256, plain_sha256)


def _labels(split: str, size: int, sha256: str, plain_sha256: str) -> File:
    prefix = {"train": "train", "test": "t10k"}[split]
    return File(f"{prefix}-labels-idx1-ubyte.gz", split, "y", size, sha256, plain_sha256)


# LeCun, Cortes and Burges; sizes and sums as TFDS registers them for this address.
MNIST = Published(
    name="mnist",
    url="https://storage.googleapis.com/cvdf-datasets/mnist/",
    shape=(28, 28),
    classes=10,
    files=(
        _images(
            "train",
            9912422,
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        ),
        _labels(
            "train",
            28881,
            "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        ),
        _images(
            "test",
            1648877,
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        ),
        _labels(
            "test",
            4542,
            "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
    ),
    digest="9e653f1f1b110dc4c58ee3ebb3a91bcc6f8e4af5dd414d5fd2dafa456b056eb2",
)

# Xiao, Rasul and Vollgraf, arXiv 1708.07747; sizes and sums as TFDS registers them.
FASHION_MNIST = Published(
    name="fashion_mnist",
    url="http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    shape=(28, 28),
    classes=10,
    files=(
        _images(
            "train",
            26421880,
            "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        ),
        _labels(
            "train",
            29515,
            "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        ),
        _images(
            "test",
            4422102,
            "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        ),
        _labels(
            "test",
            5148,
            "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
            "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        ),
    ),
    digest="360520175045a488decebf17dcdb534c009a05dcce4bc0a213f7944e37f83ed3",
)

PUBLISHED = {published.name: published for published in (MNIST, FASHION_MNIST)}


def locate(published: Published, manual_dir: Path) -> dict[str, Path]:
    """Finds the files of a set in a folder of the publishers' files.

    A file is looked for in `manual_dir/<set>/` and then in `manual_dir` itself, packed or not.
    Sets share file names, so what is found is known to be right only after `read`.

    Returns:
        File name -> where it lies, for the files found.

    Raises:
        UsageError: there is no such folder.
    """
    if not manual_dir.is_dir():
        raise UsageError(f"--manual-dir {manual_dir}: there is no such folder")
    found = {}
    for file in published.files:
        names = (file.name, file.name.removesuffix(".gz"))
        places = [f / n for f in (manual_dir / published.name, manual_dir) for n in names]
        if here := [place for place in places if place.is_file()]:
            found[file.name] = here[0]
    return found


def read(file: File, path: Path) -> np.ndarray:
    """The array in a file, packed or not, after checking that it is the published one.

    Raises:
        DataMissingError: it is not; names the file with the expected and the found sha256.
    """
    data = path.read_bytes()
    packed = data.startswith(GZIP_MAGIC)
    expected = file.sha256 if packed else file.plain_sha256
    found = hashlib.sha256(data).hexdigest()
    if found != expected:
        raise DataMissingError(
            f"{path} is not the published file ({len(data):,} bytes){_whose(found)}\n"
            f"  sha256 expected {expected}\n"
            f"  sha256 found    {found}\n"
            "Replace it by the published file and run the command again."
        )
    return _parse_idx(gzip.decompress(data) if packed else data)


def _whose(sha256: str) -> str:
    """A hint where the file belongs to another set, which has files of the same names."""
    for other in PUBLISHED.values():
        if any(sha256 in (file.sha256, file.plain_sha256) for file in other.files):
            return f": it belongs to {other.name}; keep one folder per set"
    return ": truncated, damaged or another file"


def _parse_idx(data: bytes) -> np.ndarray:
    """IDX: two zeros, type (8: uint8), number of axes, each axis in 4 big-endian bytes, values."""
    axes = data[3]
    shape = np.frombuffer(data, ">u4", count=axes, offset=4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * axes).reshape(shape)


def missing(published: Published, folder: Path, found: Mapping[str, Path], reason: str) -> str:
    """The message for a set that cannot be had: which files, from where, into which folder."""
    addresses = [published.url + file.name for file in published.files if file.name not in found]
    listed = "".join(f"\n  {address}" for address in addresses)
    return (
        f"{published.name} is not on this machine: {reason}\nMissing:{listed}\n"
        f"Put them into {folder / published.name} and run the command again with "
        f"--manual-dir {folder} (or ABLAX_MANUAL_DIR={folder})."
    )
