"""Generated tasks that ask what a net remembers: adding and copying.

Adding is that of Hochreiter & Schmidhuber 1997, section 5.4; both are in the forms that later
papers use.

Both come from fixed seeds, one for each split, so they are the same everywhere and a split does not
depend on the size of another.
"""

import numpy as np

from experiments.data.dataset import Dataset, Spec, make_dataset

SEED = 0
SYMBOLS, RECALLED = 8, 10
"""Of the copy task: how many different symbols, and how many of them are to be recalled."""
BLANK, GO = SYMBOLS, SYMBOLS + 1


def adding(length: int, rows: dict[str, int]) -> Dataset:
    """Sequences of numbers, two of them marked; the target is the sum of the two.

    Numbers are uniform in [0, 1), one mark lies in each half (Le et al. 2015, arXiv 1504.00941,
    section 4.1). To answer 1, the mean, has a squared error of 1/6.

    Args:
        length: of a sequence, at least 2.
        rows: split -> sequences.

    Returns:
        "x" float32 [rows, length], "marks" int32 [rows, 2], "y" float32 [rows].
    """
    half, splits = length // 2, {}
    for number, (split, count) in enumerate(rows.items()):
        random = np.random.default_rng((SEED, length, number))
        x = random.random((count, length), np.float32)
        marks = np.stack([random.integers(0, half, count), random.integers(half, length, count)], 1)
        y = np.take_along_axis(x, marks, axis=1).sum(axis=1)
        splits[split] = {"x": x, "marks": marks.astype(np.int32), "y": y}
    return make_dataset("adding", splits, Spec((length, 2), 0))


def copying(length: int, rows: dict[str, int]) -> Dataset:
    """Ten symbols out of eight, then blanks, a sign to go, and ten steps to say them again.

    As in Arjovsky et al. 2016 (arXiv 1511.06464, section 5.1): `length` + 20 steps; the target is
    blank but at the last ten. Who recalls nothing, and knows when to speak, has a cross-entropy of
    10 ln 8 / (length + 20) nats a step.

    Args:
        length: blanks between the last symbol and the end of the waiting, at least 1.
        rows: split -> sequences.

    Returns:
        "x" and "y" uint8 [rows, 10], the symbols.
    """
    splits = {}
    for number, (split, count) in enumerate(rows.items()):
        random = np.random.default_rng((SEED, length, number))
        symbols = random.integers(0, SYMBOLS, (count, RECALLED), np.uint8)
        splits[split] = {"x": symbols, "y": symbols}
    steps = length + 2 * RECALLED
    return make_dataset("copy", splits, Spec((steps,), SYMBOLS + 1, vocabulary=SYMBOLS + 2))
