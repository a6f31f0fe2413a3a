"""Word sets: Spearman's correlation against SciPy, analogies against a plain loop."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import scipy.stats

from experiments import word2vec, word_scores
from experiments.word_pictures import project

UNIT = np.random.default_rng(0).normal(size=(30, 5))
UNIT /= np.linalg.norm(UNIT, axis=1, keepdims=True)


def test_spearman_is_that_of_scipy_with_and_without_ties():
    random = np.random.default_rng(1)
    one, other = random.normal(size=50), np.round(random.normal(size=50), 1)
    assert len(set(other)) < 50
    for pair in ((one, other), (other, one + other)):
        found = word_scores.spearman(*map(jnp.float32, pair))
        theirs: Any = scipy.stats.spearmanr(*pair)
        np.testing.assert_allclose(found, theirs.statistic, atol=1e-5)


def answer(a, b, c, top, multiply):
    best, chosen = -np.inf, -1
    for d in range(top):
        if d in (a, b, c):
            continue
        cosines = [UNIT[d] @ UNIT[word] for word in (a, b, c)]
        near = [(1 + each) / 2 for each in cosines]
        score = (
            near[1] * near[2] / (near[0] + 1e-3)
            if multiply
            else UNIT[d] @ (UNIT[b] - UNIT[a] + UNIT[c])
        )
        if score > best:
            best, chosen = score, d
    return chosen


def test_analogies_are_answered_as_by_a_loop():
    random = np.random.default_rng(2)
    asked = np.array([random.permutation(20)[:4] for _ in range(300)])
    found = [np.zeros(300), np.zeros(300)]
    for row, (a, b, c, _) in enumerate(asked):
        answers = [answer(a, b, c, 20, multiply) for multiply in (False, True)]
        asked[row, 3] = answers[row % 2]  # right by one of the two
        for which in range(2):
            found[which][row] = answers[which] == asked[row, 3]
    ours = word_scores.analogies(jnp.float32(UNIT), jnp.asarray(asked), 20)
    assert 0 < found[0].mean() < 1 and 0 < found[1].mean() < 1
    for mine, theirs in zip(ours, found, strict=True):
        assert (np.asarray(mine) == theirs).mean() >= 0.99  # float32 may turn a near tie


def test_scores_say_how_many_questions_were_seen():
    sets = {
        "wordsim353_words": jnp.asarray([[0, 1], [2, 3], [4, 5]]), "wordsim353": jnp.arange(3.0),
        "analogies_words": jnp.asarray([[0, 1, 2, 3], [3, 2, 1, 0]]),
        "analogies": jnp.asarray([0.0, 1.0]),
        "simlex999_words": jnp.zeros((0, 2), jnp.int32), "simlex999": jnp.zeros(0),
    }  # fmt: skip
    found = word_scores.set_scores(7 * jnp.float32(UNIT), sets, 30)
    assert found["wordsim353_pairs"] == 3 and found["analogies_questions"] == 2
    assert "simlex999" not in found and word_scores.set_scores(jnp.float32(UNIT), {}, 30) == {}
    halves = found["analogies_of_meaning"] + found["analogies_of_syntax"]
    np.testing.assert_allclose(found["analogies"], halves / 2)


def test_what_was_seen_is_said():
    config = word2vec.EXPERIMENT.config
    found = word_scores.remark(config, {"wordsim353_pairs": 291.0, "analogies_questions": 7926.0})
    assert (
        found
        == "seen 291 pairs of WordSim-353, 7,926 analogies over the 30,000 most frequent words"
    )
    assert "not measured" in word_scores.remark(config, {"words": 5.0})


def test_the_plane_is_that_of_the_largest_variances():
    flat = project(UNIT)
    values = np.sort(np.linalg.eigvalsh(np.cov(UNIT.T)))[::-1]
    np.testing.assert_allclose(flat.var(0, ddof=1), values[:2], rtol=1e-9)
    np.testing.assert_allclose(np.corrcoef(flat.T)[0, 1], 0, atol=1e-9)
    np.testing.assert_allclose(project(UNIT @ np.diag([-1, 1, 1, 1, -1])), flat, atol=1e-9)
