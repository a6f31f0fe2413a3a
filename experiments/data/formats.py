"""How publishers pack and write their arrays: gzip, tar, IDX and pickled CIFAR batches."""

import gzip
import io
import pickle
import tarfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def unpack(name: str, data: bytes, inside: Sequence[str]) -> dict[str, bytes]:
    """What a packed file holds.

    Args:
        name: of the packed file; `.tar.gz` is an archive, any other one file packed by gzip.
        data: its bytes.
        inside: the paths wanted of an archive; the one name to give an unpacked file.

    Returns:
        Name -> bytes; empty where an archive's entry is no file.

    Raises:
        KeyError: the archive has no such entry.
    """
    if not name.endswith(".tar.gz"):
        (only,) = inside
        return {only: gzip.decompress(data)}
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as archive:
        streams = {path: archive.extractfile(path) for path in inside}
        return {path: stream.read() if stream else b"" for path, stream in streams.items()}


def parse_idx(data: bytes) -> dict[str, np.ndarray]:
    """IDX: two zeros, type (8: uint8), number of axes, each axis in 4 big-endian bytes, values.

    Returns:
        {"x": images [n, H, W]} or, where there is one axis only, {"y": labels [n]}; uint8.
    """
    axes = data[3]
    shape = np.frombuffer(data, ">u4", count=axes, offset=4)
    values = np.frombuffer(data, np.uint8, offset=4 + 4 * axes).reshape(shape)
    return {"x" if axes > 1 else "y": values}


def parse_cifar(data: bytes) -> dict[str, np.ndarray]:
    """One CIFAR-10 batch of the "Python version": a dictionary pickled by Python 2 and NumPy 1.

    Its "data" [n, 3072] are the red, green and blue planes one after another, row by row.

    Returns:
        {"x": images [n, 32, 32, 3], "y": labels [n]}; uint8.

    Raises:
        pickle.UnpicklingError: the pickle asks for anything that those files do not hold.
    """
    batch = _Unpickler(io.BytesIO(data), encoding="latin1").load()
    planes = batch["data"].reshape(-1, 3, 32, 32)
    return {"x": planes.transpose(0, 2, 3, 1), "y": np.array(batch["labels"], np.uint8)}


def _dtype(code: str, align: int, copy: int) -> np.dtype[Any]:
    """As NumPy 1 pickled types; NumPy 2 warns about whole numbers where it takes truth values."""
    return np.dtype(code, bool(align), bool(copy))


_ALLOWED: Mapping[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): _dtype,
}


class _Unpickler(pickle.Unpickler):
    """Reads plain values and NumPy arrays and refuses all else, so that no file runs code."""

    def find_class(self, module_name: str, global_name: str) -> Any:
        if (module_name, global_name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"{module_name}.{global_name} is not allowed")
        return _ALLOWED[module_name, global_name]
