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


def test_what_only_rounding_tells_apart_is_a_tie():
    """Shares of 144 as JAX records them: 139 and 140, 139 and 142, 140 and 141 were right."""
    curve = np.array([[0.965277791, 0.972222209], [0.965277791, 0.986111104]])
    curve = np.concatenate([curve, [[0.972222209, 0.979166687]]])
    fine = np.zeros(curve.shape, bool)
    assert curve[2].mean() > curve[1].mean()
    assert select(curve, True, fine) == (1, False)
    assert select(1e4 * (1 - curve), False, fine) == (1, False)
    apart = np.array([[1.0], [1 + 1e-5], [0.0]])
    assert select(apart, True, fine[:, :1]) == (1, False)
