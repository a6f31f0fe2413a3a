"""The final parameters of the reporting replicas, one `.npz` each, and their digests.

Beside those of a language model lies the vocabulary of each cell, which its tokens number.
"""

import hashlib
import io
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from experiments.engine.jobs import Job
from experiments.engine.sealed import read_json, write_bytes, write_json
from experiments.engine.wording import count

Tree = Any
DIGEST = "parameters_sha256"
"""What a final line calls the digest of its replica's parameters."""


def named_arrays(tree: Tree) -> dict[str, np.ndarray]:
    """The arrays of a tree by their path, `params/layer_1/kernel`."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def digest_of(arrays: Mapping[str, np.ndarray]) -> str:
    """The sha256 over names, dtypes, shapes and bytes, in sorted order of name."""
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def parameters_path(folder: pathlib.Path, cell: int, seed: int) -> pathlib.Path:
    """Where the final parameters of a reporting replica are."""
    return folder / "parameters" / f"cell_{cell}-seed_{seed}.npz"


def write_parameters(folder: pathlib.Path, job: Job, kept: Any) -> None:
    """Writes what a replica is judged by: arrays by their path, `params/layer_1/kernel`."""
    path = parameters_path(folder, job.cell, job.seed)
    path.parent.mkdir(exist_ok=True)
    buffer, arrays = io.BytesIO(), named_arrays(kept)
    np.savez(buffer, **dict(_plain(*item) for item in arrays.items()))  # type: ignore[arg-type]
    write_bytes(path, buffer.getvalue())


def write_vocabulary(folder: pathlib.Path, cell: int, vocabulary: Sequence[str]) -> None:
    """Writes what the tokens of a cell's text stand for."""
    path = _vocabulary_path(folder, cell)
    path.parent.mkdir(exist_ok=True)
    write_json(path, {"vocabulary": list(vocabulary)})


def read_vocabulary(folder: pathlib.Path, cell: int) -> tuple[str, ...] | None:
    """What the tokens of a cell's text stand for; None where that cannot be read."""
    try:
        return tuple(read_json(_vocabulary_path(folder, cell))["vocabulary"])
    except (OSError, ValueError, KeyError):
        return None


def _vocabulary_path(folder: pathlib.Path, cell: int) -> pathlib.Path:
    return folder / "parameters" / f"cell_{cell}-vocabulary.json"


def damage_told(folder: pathlib.Path, lines: Iterable[Mapping[str, Any]]) -> list[str]:
    """A warning if final parameters are damaged or missing, going by the final lines' digests.

    A folder without any (`parameters/` was removed to save room) is no damage.
    """
    if not (folder / "parameters").is_dir():
        return []
    lost = []
    for line in lines:
        if line["phase"] == "report":
            kept = read_parameters(folder, line["cell"], line["seed"])
            if kept is None or digest_of(kept) != line[DIGEST]:
                lost.append(f"cell {line['cell']} seed {line['seed']}")
    if not lost:
        return []
    return [
        f"warning: the final parameters of {count(len(lost), 'replica')} are damaged or missing "
        f"(first: {lost[0]}); their results stand, and `reproduce {folder}` trains them again"
    ]


def read_parameters(folder: pathlib.Path, cell: int, seed: int) -> dict[str, np.ndarray] | None:
    """The final parameters of a replica by their path; None where they cannot be read."""
    try:
        content = io.BytesIO(parameters_path(folder, cell, seed).read_bytes())
        with np.load(content, allow_pickle=False) as file:
            return dict(_typed(name, file[name]) for name in file.files)
    except Exception:  # whatever a damaged archive makes the readers stumble over
        return None


def _plain(name: str, array: np.ndarray) -> tuple[str, np.ndarray]:
    """NumPy's files know no bfloat16 and the like: their bits, with the type in the name."""
    if array.dtype.kind != "V":
        return name, array
    return f"{name}:{array.dtype.name}", array.view(f"u{array.dtype.itemsize}")


def _typed(name: str, array: np.ndarray) -> tuple[str, np.ndarray]:
    plain, _, kind = name.partition(":")
    return plain, array.view(kind) if kind else array
