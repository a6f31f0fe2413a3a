"""Losses of word vectors and their gradients against loops in float64, and draws of words."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from nets import embeddings
from tests.nets import compiled

BLOCKS, CENTRES, WINDOW, FEATURES, WORDS = 2, 4, 2, 3, 7
SIZE = CENTRES + 2 * WINDOW
CONTEXTS = ("skip_gram", "cbow_mean", "cbow_sum", "next_word")
SHAPE = (BLOCKS, SIZE, FEATURES)


@pytest.fixture
def random():
    return np.random.default_rng(0)


def softplus(x):
    return np.logaddexp(0, x)


def examples(inputs, near, context):
    """What each prediction is made from: (block, centre, state)."""
    for block in range(len(inputs)):
        for centre in range(near.shape[2]):
            rows = inputs[block][near[block, :, centre]]
            if context == "skip_gram":
                yield from ((block, centre, row) for row in rows)
            elif len(rows):
                yield block, centre, rows.sum(0) if context == "cbow_sum" else rows.mean(0)


def logistic(inputs, near, context, outputs, negatives):
    """Negative sampling; each drawn word counts negatives / drawn times a prediction."""
    total, drawn = 0.0, outputs.shape[1] - near.shape[2]
    for block, centre, state in examples(inputs, near, context):
        total += softplus(-state @ outputs[block, centre])
        for word in outputs[block, near.shape[2] :]:
            total += negatives / drawn * softplus(state @ word)
    return total


def tree(inputs, near, context, nodes, signs):
    total = 0.0
    for block, centre, state in examples(inputs, near, context):
        for node, sign in zip(nodes[block, centre], signs[block, centre], strict=True):
            if sign:
                total += softplus(-sign * (state @ node))
    return total


def full(inputs, near, context, table, centres):
    total = 0.0
    for block, centre, state in examples(inputs, near, context):
        scores = table @ state
        total += np.log(np.exp(scores).sum()) - scores[centres[block, centre]]
    return total


def differences(function, array, step=1e-6):
    """The gradient by central differences, float64."""
    found = np.zeros_like(array)
    for index in np.ndindex(array.shape):
        moved = [array.copy(), array.copy()]
        moved[0][index] += step
        moved[1][index] -= step
        found[index] = (function(moved[0]) - function(moved[1])) / (2 * step)
    return found


def near_of(random):
    near = random.random((BLOCKS, SIZE, CENTRES)) < 0.4
    near[0, :, 1] = False  # a centre without neighbours
    return near


def compare(ours, reference, inputs, outputs):
    """Values and gradients by both tables."""
    value, grads = jax.jit(jax.value_and_grad(ours, argnums=(0, 1)))(inputs, outputs)
    np.testing.assert_allclose(value, reference(inputs, outputs), rtol=1e-5)
    by_inputs = differences(lambda a: reference(a, outputs), inputs)
    by_outputs = differences(lambda a: reference(inputs, a), outputs)
    np.testing.assert_allclose(grads[0], by_inputs, rtol=1e-4, atol=2e-5)
    np.testing.assert_allclose(grads[1], by_outputs, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("context", CONTEXTS)
def test_negative_sampling(random, context):
    near, inputs = near_of(random), random.normal(size=SHAPE)
    outputs = random.normal(size=(BLOCKS, CENTRES + 3, FEATURES))

    def ours(inputs, outputs):
        states, weights = embeddings.context_states(inputs, jnp.asarray(near), context)
        return embeddings.negative_sampling_loss(states, weights, outputs, 5.0)

    compare(ours, lambda a, b: logistic(a, near, context, b, 5), inputs, outputs)


@pytest.mark.parametrize("context", CONTEXTS)
def test_hierarchical_softmax(random, context):
    near, inputs = near_of(random), random.normal(size=SHAPE)
    nodes = random.normal(size=(BLOCKS, CENTRES, 3, FEATURES))
    signs = random.choice([-1, 1], (BLOCKS, CENTRES, 3))
    signs[:, ::2, 2] = 0

    def ours(inputs, nodes):
        states, weights = embeddings.context_states(inputs, jnp.asarray(near), context)
        return embeddings.hierarchical_loss(states, weights, nodes, jnp.asarray(signs))

    compare(ours, lambda a, b: tree(a, near, context, b, signs), inputs, nodes)


@pytest.mark.parametrize("context", CONTEXTS)
def test_softmax(random, context):
    near, inputs = near_of(random), random.normal(size=SHAPE)
    table, centres = (
        random.normal(size=(WORDS, FEATURES)),
        random.integers(0, WORDS, (BLOCKS, CENTRES)),
    )

    def ours(inputs, table):
        states, weights = embeddings.context_states(inputs, jnp.asarray(near), context)
        return embeddings.softmax_loss(states, weights, table, jnp.asarray(centres))

    compare(ours, lambda a, b: full(a, near, context, b, centres), inputs, table)


def test_neighbours_are_within_reach_in_the_same_line():
    lines = np.array([[-1, 0, 0, 0, 0, 1, 1, -1]])
    reach = np.array([[1, 2, 2, 1]])
    for before in (False, True):
        run = jax.jit(functools.partial(embeddings.neighbours, before=before))
        found = np.asarray(run(lines, reach))
        for i in range(SIZE):
            for j in range(CENTRES):
                place = j + WINDOW
                near = 0 < abs(i - place) <= reach[0, j] and (i < place or not before)
                assert found[0, i, j] == (near and lines[0, i] == lines[0, place] >= 0)


def test_drawn_words_have_the_frequencies_of_counts_to_the_three_quarters(random):
    counts = np.array([5000, 900, 300, 40, 7, 5, 5])
    cuts = embeddings.negative_cuts(counts)
    bits = jax.random.bits(jax.random.key(0), (400, 500), jnp.uint32)
    drawn = jax.jit(embeddings.drawn_words)(bits, cuts)
    found = np.bincount(np.asarray(drawn).ravel(), minlength=WORDS)
    expected = counts**0.75 / (counts**0.75).sum() * 200_000
    assert scipy.stats.chisquare(found, expected).pvalue > 1e-3
    plain = counts / counts.sum() * 200_000
    assert scipy.stats.chisquare(found, plain).pvalue < 1e-9  # the test tells powers apart


def test_every_word_can_be_drawn_and_none_beyond():
    cuts = jnp.asarray(embeddings.negative_cuts([1, 1, 1, 1]))
    np.testing.assert_array_equal(cuts, np.array([1, 2, 3], np.uint32) << 30)
    ends = jnp.asarray([0, 2**30 - 1, 2**30, 2**32 - 1], jnp.uint32)
    np.testing.assert_array_equal(jax.jit(embeddings.drawn_words)(ends, cuts), [0, 0, 1, 3])


def test_crowded_rows_are_slowed_and_others_are_not():
    rows, uses = jnp.asarray([[0, 1], [0, 2]]), jnp.asarray([[6.0, 3.0], [14.0, 0.0]])
    share = np.asarray(jax.jit(embeddings.uncrowded, static_argnums=(2, 3))(rows, uses, 4, 5.0))
    np.testing.assert_allclose(share, [[0.25, 1], [0.25, 1]])
    values = np.ones((2, 2, 3), np.float32)
    slow = jax.jit(jax.grad(lambda v, s: jnp.sum(embeddings.slowed(v, s) ** 2)))(values, share)
    np.testing.assert_allclose(slow, 2 * share[..., None] * values)
    kept = embeddings.slowed(jnp.asarray(values), jnp.asarray(share))
    np.testing.assert_array_equal(kept, values)


def test_tables_begin_as_those_of_word2vec():
    net = embeddings.WordTables(50, 49, features=4)
    params = compiled.initial(net, jnp.zeros(1, jnp.int32))["params"]
    assert params["input"].shape == (50, 4) and params["output"].shape == (49, 4)
    assert not params["output"].any() and 0.11 < np.abs(params["input"]).max() <= 0.125
