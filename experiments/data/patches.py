"""Filters that whiten the small patches of images or sequences."""

import math

import numpy as np

BLOCK = 500  # examples whose patches are held in float64 at a time


def whitening_filters(x: np.ndarray, size: int, epsilon: float) -> np.ndarray:
    """Filters whose outputs over all patches of `x` are uncorrelated and of mean square near 1.

    With the second moments of the n = size^axes channels numbers of a patch p, mean p p' =
    V diag(l) V', the filters are the columns of V diag(1 / sqrt(l + epsilon)), largest l first,
    and then their negatives, so that an activation sees both sides of each (Jordan 2024,
    arXiv 2404.00498, airbench94.py). The mean is not subtracted.

    An eigenvector's sign is arbitrary; its largest entry is made positive.

    Args:
        x: [rows, *space, channels], preprocessed.
        size: side of a patch along every axis; patches overlap.
        epsilon: added to each l, in the units of `x` squared.

    Returns:
        float32 [*window, channels, 2n], a kernel.
    """
    axes = tuple(range(1, x.ndim - 1))
    window, channels = (size,) * len(axes), x.shape[-1]
    count = math.prod(window) * channels
    moments, seen = np.zeros((count, count)), 0
    for start in range(0, len(x), BLOCK):
        views = np.lib.stride_tricks.sliding_window_view(x[start : start + BLOCK], window, axes)
        patches = np.moveaxis(views, x.ndim - 1, -1).reshape(-1, count).astype(np.float64)
        moments += patches.T @ patches
        seen += len(patches)
    values, vectors = np.linalg.eigh(moments / seen)
    values, vectors = np.maximum(values[::-1], 0.0), vectors[:, ::-1]
    largest = np.take_along_axis(vectors, np.abs(vectors).argmax(0)[None], axis=0)
    filters = vectors * np.sign(largest) / np.sqrt(values + epsilon)
    both = np.concatenate([filters, -filters], axis=1)
    return both.reshape(*window, channels, 2 * count).astype(np.float32)
