"""Checkpoints of the lane group in training, by Orbax: asynchronous, atomic, verified when read.

A checkpoint is a numbered folder below `checkpoints/` with the group's arrays and a description:
which replicas they are of, where in the training, and a digest of every array, because Orbax reads
flipped bits back without noticing. One that fails its digest is passed over for the one before.
"""

import hashlib
import json
import logging
import pathlib
import shutil
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.engine.errors import AblaxError

SPARE_BYTES = 1_000_000
"""What a save may take beside the arrays, and the lines that follow it."""

Tree = Any
Description = dict[str, Any]


class Checkpoints:
    """The last few checkpoints of a study folder; at most one save is under way."""

    def __init__(self, folder: pathlib.Path, keep: int, warn: Callable[[str], None]) -> None:
        self._folder = (folder / "checkpoints").resolve()
        self._keep, self._warn = keep, warn
        self._pending: Any = None
        self._passed_over: set[pathlib.Path] = set()

    def described(self) -> list[tuple[pathlib.Path, Description]]:
        """The checkpoints whose description can be read, the newest first."""
        found = []
        for path in reversed(self._paths()):
            description = _description(path)
            if description is None:
                self._pass_over(path, "is damaged")
            else:
                found.append((path, description))
        return found

    def save(self, tree: Tree, description: Mapping[str, Any]) -> None:
        """Begins to save arrays on the device or the host; waits for the save before it.

        Raises:
            AblaxError: the save before this one failed: the disk is full, for example.
        """
        ocp = _orbax()
        self.wait()
        arrays = _arrays(tree)
        self._refuse_doomed(sum(array.nbytes for array in arrays.values()))
        facts = [_facts(array) for array in arrays.values()]
        sealed = _seal({**description, "places": _places(tree), "arrays": facts})
        number = max((int(path.name) for path in self._paths()), default=0) + 1
        try:
            path = self._folder / f"{number:06d}"
            self._pending = ocp.save_async(str(path), arrays, custom_metadata=sealed)
        except Exception as error:
            raise _failed(error) from error

    def _refuse_doomed(self, size: int) -> None:
        """Keeps from Orbax what cannot be written: it would stumble in several threads at once, and
        the process would wait minutes for them at its end."""
        try:
            self._folder.mkdir(exist_ok=True)
            probe = self._folder / "probe"
            probe.write_bytes(b"x")
            probe.unlink()
            free = shutil.disk_usage(self._folder).free
            if free < size + SPARE_BYTES:
                raise OSError(f"{size / 1e6:.1f} MB to write, {free / 1e6:.1f} MB free")
        except OSError as error:
            raise _failed(error) from error

    def wait(self) -> None:
        """Waits until what was begun is on the disk, then drops what is older than the last few.

        Raises:
            AblaxError: it failed.
        """
        pending, self._pending = self._pending, None
        try:
            if pending is not None:
                pending.result()
        except Exception as error:
            raise _failed(error) from error
        for path in self._paths()[: -self._keep]:
            shutil.rmtree(path, ignore_errors=True)

    def load(self, path: pathlib.Path, description: Description, like: Tree) -> Tree | None:
        """The arrays of a checkpoint as a tree of host arrays; None, and a warning, if damaged.

        Args:
            like: a tree of shapes.
        """
        ocp = _orbax()
        wanted = {
            f"{i:05d}": np.empty(shape.shape, shape.dtype)
            for i, shape in enumerate(map(_stored, jax.tree.leaves(like)))
            if shape.size
        }
        try:
            if description["places"] != _places(like):
                self._pass_over(path, "was written by other code")
                return None
            arrays = ocp.load(str(path), wanted)
        except Exception as error:  # whatever a damaged file makes the readers stumble over
            self._pass_over(path, f"cannot be read ({type(error).__name__})")
            return None
        if [_facts(arrays[name]) for name in wanted] != description["arrays"]:
            self._pass_over(path, "is damaged (a digest differs)")
            return None
        return _tree(arrays, like)

    def clear(self) -> None:
        """Removes all checkpoints: their group is done.

        Raises:
            AblaxError: the last save failed.
        """
        self.wait()
        shutil.rmtree(self._folder, ignore_errors=True)
        self._passed_over.clear()

    def _pass_over(self, path: pathlib.Path, why: str) -> None:
        """Says once why a checkpoint is not used: several questions meet the same ones."""
        if path not in self._passed_over:
            self._warn(f"warning: {path} {why}: passed over")
        self._passed_over.add(path)

    def _paths(self) -> list[pathlib.Path]:
        """The finished checkpoints, the oldest first."""
        if not self._folder.is_dir():
            return []
        numbered = (path for path in self._folder.iterdir() if path.name.isdecimal())
        return sorted(numbered, key=lambda path: int(path.name))


def _orbax() -> Any:
    """Orbax, imported where a checkpoint is made or read, and told that we speak of its errors."""
    from orbax.checkpoint import v1

    for name in ("absl", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    return v1


def _failed(error: Exception) -> AblaxError:
    reason = str(error).strip().split("\n")[0][:200]
    return AblaxError(
        f"a checkpoint could not be written: {reason}; what was recorded is kept: make room and "
        "give the same command to go on"
    )


def _description(path: pathlib.Path) -> Description | None:
    try:
        ocp = _orbax()
        sealed: Any = ocp.metadata(str(path)).custom_metadata
        text = sealed["text"]
        return json.loads(text) if sealed["sha256"] == _digest(text) else None
    except Exception:  # whatever a damaged file makes the reader stumble over
        return None


def _seal(description: Description) -> dict[str, Any]:
    text = json.dumps(description, allow_nan=False)
    return {"text": text, "sha256": _digest(text)}


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _facts(array: np.ndarray) -> dict[str, Any]:
    bits = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    digest = hashlib.sha256(bits.data).hexdigest()
    return {"dtype": str(array.dtype), "shape": list(array.shape), "sha256": digest}


def _is_key(leaf: Any) -> bool:
    return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _impl(like: Any) -> Any:
    """The generator of random keys, from their shape."""
    found: list[Any] = []
    jax.eval_shape(lambda key: found.append(jax.random.key_impl(key)), like)
    return found[0]


def _places(tree: Tree) -> list[str]:
    """Where each leaf is, and its type: what tells trees of equal shapes apart."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return [
        f"{jax.tree_util.keystr(path)} {leaf.dtype} {list(leaf.shape)}" for path, leaf in leaves
    ]


def _arrays(tree: Tree) -> dict[str, np.ndarray]:
    """The leaves as host arrays of their own (training goes on in the device's memory).

    Random keys are stored as their bits; Orbax takes no arrays without elements.
    """
    leaves = enumerate(jax.tree.leaves(tree))
    named = {f"{i:05d}": jax.random.key_data(x) if _is_key(x) else x for i, x in leaves}
    return {name: np.array(leaf) for name, leaf in named.items() if leaf.size}


def _stored(leaf: Any) -> Any:
    """The shape a leaf has in a checkpoint."""
    return jax.eval_shape(jax.random.key_data, leaf) if _is_key(leaf) else leaf


def _tree(arrays: Mapping[str, np.ndarray], like: Tree) -> Tree:
    leaves, structure = jax.tree.flatten(like)
    stored = [_stored(leaf) for leaf in leaves]
    whole = [
        arrays[f"{i:05d}"] if shape.size else np.empty(shape.shape, shape.dtype)
        for i, shape in enumerate(stored)
    ]
    keyed = [
        jax.random.wrap_key_data(jnp.asarray(array), impl=_impl(leaf)) if _is_key(leaf) else array
        for leaf, array in zip(leaves, whole, strict=True)
    ]
    return jax.tree.unflatten(structure, keyed)
