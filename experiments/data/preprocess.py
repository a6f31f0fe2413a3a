"""Preprocessing: statistics of a replica's own training rows, and their use inside the step.

Every kind first brings uint8 images to [0, 1] by dividing by 255; "none" does only that, and
float data pass it unchanged. The statistics of one kind have the same structure for every
replica, so they can be stacked along an axis of replicas.

Kinds (Krizhevsky 2009, "Learning Multiple Layers of Features from Tiny Images", appendix A, for
whitening; notation: X centred rows, X'X / n = V diag(l) V'):

- none: x
- centre: x - mean, the mean example
- standardise: (x - mean) / sd per feature; features that are constant in the training rows are
  only centred
- pca: (x - mean) V diag(1 / sqrt(l + eps)), largest l first
- principal: (x - mean) V, not whitened
- zca: (x - mean) V diag(1 / sqrt(l + eps)) V', the whitening closest to x
"""

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import numpy as np

Kind = Literal["none", "centre", "standardise", "pca", "zca", "principal"]

EPSILON = 1e-5
"""eps of whitening, relative to the largest eigenvalue: no direction is amplified over
1 / sqrt(EPSILON) = 316 times more than the strongest, and directions without variance (border
pixels) stay near 0. Relative, so it means the same for data of any scale."""

BLOCK = 4096  # rows held in float64 at a time


def fit(kind: Kind, x_rows: np.ndarray, components: int | None = None) -> dict[str, np.ndarray]:
    """Statistics of the rows `x_rows` (n, *shape), computed in float64, returned as float32.

    Args:
        components: leading components of pca and principal that are kept; None: all.

    Returns:
        none: {}; centre: "mean" (*shape); standardise: "mean" and "scale" (*shape); pca, zca and
        principal: "mean" (*shape) and "matrix" (d, components), d being the number of features.
    """
    if kind == "none":
        return {}
    shape = x_rows.shape[1:]
    mean = np.sum([block.sum(0) for block in _blocks(x_rows)], axis=0) / len(x_rows)
    statistics = {"mean": mean.reshape(shape)}
    if kind == "standardise":
        squares = [np.square(block - mean[None]).sum(0) for block in _blocks(x_rows)]
        sd = np.sqrt(np.sum(squares, axis=0) / len(x_rows))
        constant = (x_rows == x_rows[:1]).all(0).reshape(-1)
        statistics["scale"] = (1.0 / np.where(constant, 1.0, sd)).reshape(shape)
    elif kind in ("pca", "zca", "principal"):
        statistics["matrix"] = _matrix(kind, _covariance(x_rows, mean))[:, :components]
    return {name: value.astype(np.float32) for name, value in statistics.items()}


def apply(stats: Mapping[str, Any], x: Any) -> Any:
    """Preprocesses a batch `x` (n, *shape), uint8 or float; pure JAX, for use inside the step.

    Returns:
        float32, of the shape of `x` (whitening mixes features, so positions lose their meaning
        under pca and principal); (n, components) where only some are kept.
    """
    import jax.numpy as jnp

    x = x.astype(jnp.float32) / 255 if x.dtype == np.uint8 else x.astype(jnp.float32)
    if "mean" in stats:
        x = x - stats["mean"][None]
    if "scale" in stats:
        x = x * stats["scale"][None]
    if "matrix" in stats:
        flat = x.reshape(x.shape[0], -1)
        mixed = jnp.matmul(flat, stats["matrix"], precision="highest")
        x = mixed.reshape(x.shape) if mixed.shape == flat.shape else mixed
    return x


def _blocks(x: np.ndarray) -> Iterator[np.ndarray]:
    """The rows in float64, flattened and brought to [0, 1] if uint8, some at a time."""
    divisor = 255.0 if x.dtype == np.uint8 else 1.0
    for start in range(0, len(x), BLOCK):
        block = x[start : start + BLOCK]
        yield np.divide(block.reshape(len(block), -1), divisor, dtype=np.float64)


def _covariance(x: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """X'X / n of the centred rows (d, d)."""
    products = np.zeros((mean.size, mean.size))
    for block in _blocks(x):
        centred = block - mean[None]
        products += centred.T @ centred
    return products / len(x)


def _matrix(kind: Kind, covariance: np.ndarray) -> np.ndarray:
    """What pca, zca or principal multiply centred rows with from the right (d, d).

    An eigenvector's sign is arbitrary; its largest entry is made positive.
    """
    values, vectors = np.linalg.eigh(covariance)
    values, vectors = np.maximum(values[::-1], 0.0), vectors[:, ::-1]
    largest = np.take_along_axis(vectors, np.abs(vectors).argmax(0)[None], axis=0)
    vectors = vectors * np.sign(largest)
    if kind == "principal":
        return vectors
    floor = EPSILON * values[0] if values[0] > 0 else 1.0
    matrix = vectors / np.sqrt(values + floor)[None]
    return matrix @ vectors.T if kind == "zca" else matrix
