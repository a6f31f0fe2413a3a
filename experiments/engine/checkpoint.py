"""Checkpoints of the lane group in training, by Orbax: asynchronous, atomic, verified when read.

A checkpoint is a numbered folder that Orbax writes, and beside it a sealed
description: which replicas it is of, where in the training, and the digest of every array and of
every file. Orbax reads flipped bits back without noticing, and stumbles over files cut short; so
files are checked before it opens them, and arrays after. What fails is passed over for the
checkpoint before. A folder without its description was never finished.
"""

import concurrent.futures
import contextlib
import functools
import hashlib
import logging
import pathlib
import shutil
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.engine.errors import AblaxError
from experiments.engine.sealed import read_json, write_json

SPARE_BYTES = 1_000_000
"""What a save may take beside the arrays, and the lines that follow it."""

Tree = Any
Description = dict[str, Any]


class Checkpoints:
    """The last few checkpoints in a folder; at most one save is under way."""

    def __init__(self, folder: pathlib.Path, keep: int | None, warn: Callable[[str], None]) -> None:
        """Looks at a folder, which need not be there.

        Args:
            keep: how many are kept; None: all.
            warn: called with a line where one is passed over, once for each.
        """
        self._folder, self._keep = folder.resolve(), keep
        self._warn = functools.cache(warn)
        self._pool = concurrent.futures.ThreadPoolExecutor(1)
        self._pending: concurrent.futures.Future[None] | None = None

    def described(self) -> list[tuple[pathlib.Path, Description]]:
        """The finished checkpoints whose description can be read, the newest first."""
        found = []
        for path in reversed(self._finished()):
            try:
                found.append((path, read_json(_beside(path))))
            except (OSError, ValueError):
                self._warn(f"warning: {path} is damaged (its description): passed over")
        return found

    def save(self, tree: Tree, description: Mapping[str, Any]) -> None:
        """Begins to save arrays on the device or the host; waits for the save before it.

        Raises:
            AblaxError: the disk is full, or the save before this one failed.
        """
        self.wait()
        arrays = _arrays(tree)
        self._refuse_doomed(sum(array.nbytes for array in arrays.values()))
        digests = {name: _digest(array) for name, array in arrays.items()}
        path = self._folder / f"{max(map(_number, self._all()), default=0) + 1:06d}"
        try:
            response = _orbax().save_async(str(path), arrays)
        except Exception as error:
            raise _failed(error) from error
        described = {**description, "places": _places(tree), "arrays": digests}
        self._pending = self._pool.submit(_finish, response, path, described)

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
                needed = (size + SPARE_BYTES) / 1e6
                raise OSError(f"{needed:.1f} MB needed, {free / 1e6:.1f} MB free")
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
        kept = self._finished()[-(self._keep or 0) :]
        for path in self._all():
            if path not in kept:
                _beside(path).unlink(missing_ok=True)
                for each in (path, *path.parent.glob(f"{path.name}.*")):  # and what Orbax began
                    shutil.rmtree(each, ignore_errors=True)

    def load(self, path: pathlib.Path, description: Description, like: Tree) -> Tree | None:
        """The arrays of a checkpoint as a tree of host arrays; None, and a warning, if damaged.

        Args:
            like: a tree of shapes.
        """
        stored = {_name(i): _stored(leaf) for i, leaf in enumerate(jax.tree.leaves(like))}
        wanted = {n: np.empty(s.shape, s.dtype) for n, s in stored.items() if s.size}
        problem = ""
        if description["places"] != _places(like):
            problem = "was written by other code"
        elif _digests(path) != description["files"]:
            problem = "is damaged"
        if not problem:
            try:
                arrays = _orbax().load(str(path), wanted)
                if {name: _digest(arrays[name]) for name in wanted} == description["arrays"]:
                    return _tree(arrays, like)
                problem = "is damaged (an array's digest differs)"
            except Exception as error:  # another version's format, for example
                problem = f"cannot be read ({type(error).__name__})"
        self._warn(f"warning: {path} {problem}: passed over")
        return None

    def clear(self) -> None:
        """Removes all checkpoints: their group is done.

        Raises:
            AblaxError: the last save failed.
        """
        self.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _all(self) -> list[pathlib.Path]:
        """Every folder with a number, finished or not, in order."""
        if not self._folder.is_dir():
            return []
        names = {path.name.partition(".")[0] for path in self._folder.iterdir()}
        numbered = [self._folder / name for name in names if name.isdecimal()]
        return sorted(numbered, key=_number)

    def _finished(self) -> list[pathlib.Path]:
        return [path for path in self._all() if _beside(path).exists()]


def _number(path: pathlib.Path) -> int:
    return int(path.name)


def _beside(path: pathlib.Path) -> pathlib.Path:
    """The description of a checkpoint."""
    return path.with_name(path.name + ".json")


def _orbax() -> Any:
    """Orbax, imported where a checkpoint is made or read, and told that we speak of its errors."""
    from orbax.checkpoint import v1

    for name in ("absl", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    return v1


def _finish(response: Any, path: pathlib.Path, description: Description) -> None:
    """Waits for Orbax, then writes the description: from here on the checkpoint exists."""
    response.result()
    write_json(_beside(path), {**description, "files": _digests(path)})


def _digests(path: pathlib.Path) -> dict[str, str]:
    """The sha256 of every file below a folder."""
    found = {}
    for file in sorted(path.rglob("*")):
        with contextlib.suppress(OSError):
            if file.is_file():
                found[str(file.relative_to(path))] = hashlib.sha256(file.read_bytes()).hexdigest()
    return found


def _failed(error: Exception) -> AblaxError:
    reason = str(error).strip().split("\n")[0][:200]
    return AblaxError(
        f"a checkpoint could not be written: {reason}; what was recorded is kept: put that "
        "right and give the same command to go on"
    )


def _digest(array: np.ndarray) -> str:
    bits = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    return hashlib.sha256(bits.data).hexdigest()


def _places(tree: Tree) -> list[str]:
    """Where each leaf is, and its type: what tells trees of equal shapes apart."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return [
        f"{jax.tree_util.keystr(path)} {leaf.dtype} {list(leaf.shape)}" for path, leaf in leaves
    ]


def _name(number: int) -> str:
    return f"{number:05d}"


def _is_key(leaf: Any) -> bool:
    return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _impl(like: Any) -> Any:
    """The generator of random keys, from their shape."""
    found: list[Any] = []
    jax.eval_shape(lambda key: found.append(jax.random.key_impl(key)), like)
    return found[0]


def _stored(leaf: Any) -> Any:
    """The shape a leaf has in a checkpoint: random keys are stored as their bits."""
    return jax.eval_shape(jax.random.key_data, leaf) if _is_key(leaf) else leaf


def _arrays(tree: Tree) -> dict[str, np.ndarray]:
    """The leaves as host arrays of their own (training goes on in the device's memory).

    Orbax takes no arrays without elements; they need no bytes either.
    """
    named = {_name(i): leaf for i, leaf in enumerate(jax.tree.leaves(tree)) if leaf.size}
    return {n: np.array(jax.random.key_data(x) if _is_key(x) else x) for n, x in named.items()}


def _tree(arrays: Mapping[str, np.ndarray], like: Tree) -> Tree:
    leaves, structure = jax.tree.flatten(like)
    whole = []
    for number, leaf in enumerate(leaves):
        shape = _stored(leaf)
        array = arrays[_name(number)] if shape.size else np.empty(shape.shape, shape.dtype)
        if _is_key(leaf):
            array = jax.random.wrap_key_data(jnp.asarray(array), impl=_impl(leaf))
        whole.append(array)
    return jax.tree.unflatten(structure, whole)
