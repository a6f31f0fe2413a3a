"""`select`: the value of a tuned field from its sensitivity curve."""

import numpy as np
import pytest

from experiments.engine.statistics import select


def test_select_takes_the_best_mean_and_knows_the_edge():
    curve = np.array([[0.5, 0.6], [0.9, 0.7], [0.7, 0.8], [0.8, 0.8]])
    fine = np.zeros(curve.shape, bool)
    assert select(curve, True, fine) == (1, False)  # a tie with the last goes to the first
    assert select(curve, False, fine) == (0, True)
    assert select(curve, False, fine, closed_ends=(True, False)) == (0, False)
    lost = fine.copy()
    lost[1, 0] = True
    assert select(curve, True, lost) == (3, True)
    assert select(np.where(lost, np.nan, curve), True, fine) == (3, True)
    assert select(curve, True, ~fine & (np.arange(4)[:, None] != 2)) == (2, False)
    assert select(curve[:1], True, fine[:1]) == (0, False)
    with pytest.raises(ValueError, match=r"want \[grid, seeds\]"):
        select(curve, True, fine[:2])
