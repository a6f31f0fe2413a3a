"""`best_places`: the values of a tuned field that have the best validation scores."""

import numpy as np

from experiments.engine.tuning import best_places


def test_the_best_mean_wins_and_a_diverged_replica_loses():
    scores = np.array([[0.5, 0.6], [0.9, 0.7], [0.7, 0.8], [0.8, 0.8]])
    fine = np.zeros(scores.shape, bool)
    assert best_places(scores, fine, True) == [1, 3]
    assert best_places(scores, fine, False) == [0]
    lost = fine.copy()
    lost[1, 0] = True
    assert best_places(scores, lost, True) == [3]
    assert best_places(np.where(lost, np.nan, scores), fine, True) == [3]
    assert best_places(scores, np.arange(8).reshape(4, 2) // 2 != 2, True) == [2]
    assert best_places(scores[:1], fine[:1], True) == [0]


def test_what_only_rounding_tells_apart_is_a_tie():
    """Shares of 144 as JAX records them: 139 and 140, 139 and 142, 140 and 141 were right."""
    scores = np.array([[0.965277791, 0.972222209], [0.965277791, 0.986111104]])
    scores = np.concatenate([scores, [[0.972222209, 0.979166687]]])
    fine = np.zeros(scores.shape, bool)
    assert scores[2].mean() > scores[1].mean()
    assert best_places(scores, fine, True) == [1, 2]
    assert best_places(1e4 * (1 - scores), fine, False) == [1, 2]
    apart = np.array([[1.0], [1 + 1e-5], [0.0]])
    assert best_places(apart, fine[:, :1], True) == [1]
