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
- centre_channel, standardise_channel: the same with one mean and sd per channel, over rows and
  positions; without an axis of channels (grey images, sequences) the whole input is one channel
- pca: (x - mean) V diag(1 / sqrt(l + eps)), largest l first
- principal: (x - mean) V, not whitened
- zca: (x - mean) V diag(1 / sqrt(l + eps)) V', the whitening closest to x

eps is relative to the largest eigenvalue, so it means the same for data of any scale, and scaling
or shifting all of x before whitening changes nothing. A recipe with an absolute eps has the
relative one eps / l_max: on CIFAR-10 in units of (d - 127.5) / 128, l_max is 219, so the 1e-5 of
Hendrycks and Gimpel's code (GELU, 2016) is 4.6e-8 here. It whitens nearly all 3,072 directions
(3,033 keep over half of the unit variance); the default 1e-5, the first 1,441.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import numpy as np

Kind = Literal[
    "none", "centre", "standardise", "centre_channel", "standardise_channel", "pca", "zca",
    "principal",
]  # fmt: skip

EPSILON = 1e-5
"""Default eps of whitening: no direction is amplified over 1 / sqrt(EPSILON) = 316 times more than
the strongest, and directions without variance (border pixels) stay near 0."""

BLOCK = 4096  # rows held in float64 at a time


def fit(
    kind: Kind, x_rows: np.ndarray, components: int | None = None, epsilon: float = EPSILON
) -> dict[str, np.ndarray]:
    """Statistics of the rows `x_rows` (n, *shape), computed in float64, returned as float32.

    Args:
        components: leading components of pca and principal that are kept; None: all.
        epsilon: of pca and zca, relative to the largest eigenvalue.

    Returns:
        none: {}; centre: "mean" (*shape); standardise: "mean" and "scale" (*shape); those per
        channel: the same, of shape (1, 1, channels), or of ones where there is no such axis; pca,
        zca and principal: "mean" (*shape) and "matrix" (d, components), d being the number of
        features.
    """
    if kind == "none":
        return {}
    shape = x_rows.shape[1:]
    mean = np.sum([block.sum(0) for block in _blocks(x_rows)], axis=0) / len(x_rows)
    if kind in ("pca", "zca", "principal"):
        matrix = _matrix(kind, _covariance(x_rows, mean), epsilon)[:, :components]
        statistics = {"mean": mean.reshape(shape), "matrix": matrix}
    else:
        shared = _positions(shape) if kind.endswith("channel") else ()
        statistics = {"mean": mean.reshape(shape).mean(shared, keepdims=True)}
        if kind.startswith("standardise"):
            statistics["scale"] = _scale(x_rows, statistics["mean"], shared)
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


def _positions(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The axes of an example that are not channels; three axes are a colour image."""
    return tuple(range(2 if len(shape) == 3 else len(shape)))


def _scale(x: np.ndarray, mean: np.ndarray, shared: tuple[int, ...]) -> np.ndarray:
    """1 / sd around `mean`, over the rows and the axes `shared` of an example; 1 where constant."""
    flat = np.broadcast_to(mean, x.shape[1:]).reshape(1, -1)
    squares = np.sum([np.square(block - flat).sum(0) for block in _blocks(x)], axis=0) / len(x)
    sd = np.sqrt(squares.reshape(x.shape[1:]).mean(shared, keepdims=True))
    over = (0, *(axis + 1 for axis in shared))
    constant = x.min(over, keepdims=True)[0] == x.max(over, keepdims=True)[0]
    constant |= sd < np.finfo(np.float32).tiny  # 1 / sd would overflow
    return 1.0 / np.where(constant, 1.0, sd)


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


def _matrix(kind: Kind, covariance: np.ndarray, epsilon: float) -> np.ndarray:
    """What pca, zca or principal multiply centred rows with from the right (d, d).

    An eigenvector's sign is arbitrary; its largest entry is made positive.
    """
    values, vectors = np.linalg.eigh(covariance)
    values, vectors = np.maximum(values[::-1], 0.0), vectors[:, ::-1]
    largest = np.take_along_axis(vectors, np.abs(vectors).argmax(0)[None], axis=0)
    vectors = vectors * np.sign(largest)
    if kind == "principal":
        return vectors
    floor = epsilon * values[0] if values[0] > 0 else 1.0
    matrix = vectors / np.sqrt(values + floor)[None]
    return matrix @ vectors.T if kind == "zca" else matrix
