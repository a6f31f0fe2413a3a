"""MNIST-1D (Greydanus and Kobak, "Scaling Down Deep Learning with MNIST-1D", ICML 2024).

Ten one-dimensional glyphs of 12 points; an example is a glyph padded, stretched, scaled, rotated
around the ring of positions, set in smooth noise, sheared and resampled to 40 points.
"""

import functools

import numpy as np

from experiments.data.dataset import Dataset, Spec, make_dataset

SEED = 42
CLASSES, PER_CLASS, TRAIN = 10, 500, 4000
LENGTH = 40  # of a finished example
CANVAS = 72  # points on which an example is composed
PADDING = (36, 60)  # least and most zeros after the glyph
SHIFTS = 48  # the glyph is rotated by 0 .. SHIFTS - 1 points
SCALE, SHEAR = 0.4, 0.75
SMOOTH_NOISE, SMOOTH_WIDTH, WHITE_NOISE = 0.25, 2.0, 0.02
MARK = 1e-8  # added to a glyph, so that its points differ from the exact zeros beside it

# The heights of the glyphs "0" .. "9", as published.
GLYPHS = (
    (5, 6, 6.5, 6.75, 7, 7, 7, 7, 6.75, 6.5, 6, 5),
    (5, 3, 3, 3.4, 3.8, 4.2, 4.6, 5, 5.4, 5.8, 5, 5),
    (5, 6, 6.5, 6.5, 6, 5.25, 4.75, 4, 3.5, 3.5, 4, 5),
    (5, 6, 6.5, 6.5, 6, 5, 5, 6, 6.5, 6.5, 6, 5),
    (5, 4.4, 3.8, 3.2, 2.6, 2.6, 5, 5, 5, 5, 5, 5),
    (5, 3, 3, 3, 3, 5, 6, 6.5, 6.5, 6, 4.5, 5),
    (5, 4, 3.5, 3.25, 3, 3, 3, 3, 3.25, 3.5, 4, 5),
    (5, 7, 7, 6.6, 6.2, 5.8, 5.4, 5, 4.6, 4.2, 5, 5),
    (5, 4, 3.5, 3.5, 4, 5, 5, 4, 3.5, 3.5, 4, 5),
    (5, 4, 3.5, 3.5, 4, 5, 5, 5, 5, 4.7, 4.3, 5),
)


def _glyphs() -> np.ndarray:
    """The ten glyphs (10, 12), standardised each, starting at 0, and a sixth as high."""
    glyphs = np.array(GLYPHS)
    glyphs = glyphs - glyphs.mean(1, keepdims=True)
    glyphs = glyphs / glyphs.std(1, keepdims=True)
    return (glyphs - glyphs[:, :1]) / 6.0


@functools.cache
def _positions(length: int) -> np.ndarray:
    return np.linspace(0, 1, length)


def _resample(x: np.ndarray, length: int) -> np.ndarray:
    """Linear interpolation of `x` (points,) at `length` equidistant positions."""
    return np.interp(_positions(length), _positions(len(x)), x)


def examples() -> tuple[np.ndarray, np.ndarray]:
    """All 5,000 examples (5000, 40) in float64 and their labels (5000,), train rows first.

    The order of the random draws is that of the published generator with its default arguments:
    per example one number for padding, one for scale, one for rotation, two arrays of noise, one
    number for shear, then one permutation of all examples. NumPy's `RandomState` is frozen, so
    they never change.

    Checked on x86-64: bit for bit equal, in float64, to `mnist1d.data.make_dataset()` of the
    PyPI package mnist1d 0.0.2.post1; the authors' frozen file `mnist1d_data.pkl` (2020) has the
    same labels and differs by at most 9e-16.
    """
    from scipy.ndimage import gaussian_filter1d

    random = np.random.RandomState(SEED)
    labels = np.repeat(np.arange(CLASSES), PER_CLASS)
    glyphs = _glyphs() + MARK
    signal, smooth, white = np.zeros((3, len(labels), CANVAS))
    shear = np.zeros((len(labels), 1))
    for row, label in enumerate(labels):
        zeros = PADDING[0] + int(random.rand() * (PADDING[1] - PADDING[0] + 1))
        stretched = _resample(np.append(glyphs[label], np.zeros(zeros)), CANVAS)
        scaled = stretched * (1 + SCALE * (random.rand() - 0.5))
        signal[row] = np.roll(scaled, random.randint(SHIFTS))
        smooth[row] = SMOOTH_NOISE * random.randn(CANVAS)
        white[row] = WHITE_NOISE * random.randn(CANVAS)
        shear[row] = SHEAR * (random.rand() - 0.5)
    smooth = gaussian_filter1d(smooth, SMOOTH_WIDTH, axis=1)
    composed = np.where(signal != 0, signal, smooth) + white
    composed -= shear * np.linspace(-0.5, 0.5, CANVAS)[None]
    order = random.permutation(len(labels))
    x = np.stack([_resample(row, LENGTH) for row in composed])[order]
    return (x - x.mean()) / x.std(), labels[order]


def load() -> Dataset:
    """MNIST-1D: 4,000 training and 1,000 test rows of 40 float32 numbers, 10 classes."""
    x, y = examples()
    x, y = x.astype(np.float32), y.astype(np.int32)
    splits = {"train": {"x": x[:TRAIN], "y": y[:TRAIN]}, "test": {"x": x[TRAIN:], "y": y[TRAIN:]}}
    return make_dataset("mnist1d", splits, Spec(shape=(LENGTH,), classes=CLASSES))
