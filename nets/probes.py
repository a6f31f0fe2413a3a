"""What features are worth to classifiers that learn no features: neighbours, a linear SVM; search.

Features are [rows, width]; they are widened to float32. Rows of a `database` are the known ones.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from nets.losses import one_vs_rest_squared_hinge

Distance = Literal["euclidean", "cosine"]


def nearest(
    queries: Float[Array, "Q width"],
    database: Float[Array, "N width"],
    count: int,
    distance: Distance = "euclidean",
    leave_out: Int[Array, "Q"] | None = None,
) -> Int[Array, "Q count"]:
    """Rows of the database by distance from each query, the nearest first; of equals the earlier.

    Distances are compared about the database's mean (euclidean), or between rows of unit length
    (cosine; a row of zeros is as far from everything as a right angle).

    Args:
        count: how many, at most as many as there are.
        leave_out: for each query the row of the database that is the query itself.
    """
    queries, database = _wide(queries), _wide(database)
    if distance == "euclidean":
        middle = jnp.mean(database, axis=0)
        queries, database = queries - middle[None], database - middle[None]
    else:
        queries, database = _unit(queries), _unit(database)
    closeness = jnp.matmul(queries, database.T, precision="highest")
    if distance == "euclidean":
        closeness -= jnp.sum(jnp.square(database), axis=1)[None] / 2
    if leave_out is not None:
        closeness = closeness.at[jnp.arange(len(queries)), leave_out].set(-jnp.inf)
    return jax.lax.top_k(closeness, count)[1]


def vote(labels: Int[Array, "Q count"], classes: int) -> Int[Array, "Q"]:
    """The most frequent label of each row of neighbours; of equals that of the nearest one."""
    count = labels.shape[1]
    votes = jax.nn.one_hot(labels, classes)
    earliness = jnp.max(votes * jnp.arange(count, 0, -1)[None, :, None], axis=1)
    return jnp.argmax(jnp.sum(votes, axis=1) + earliness / (count + 1), axis=-1)


def average_precision(
    relevant: Float[Array, "Q count"], total: Int[Array, "Q"]
) -> Float[Array, "Q"]:
    """The mean, over the relevant rows that could be among the first `count` answers to a query, of
    the share of relevant ones down to it; 0 where it was not found, or there is none.

    With `count` as the size of the database this is average precision (Manning et al. 2008,
    Introduction to Information Retrieval, section 8.4).

    Args:
        relevant: 1 for an answer that is, in the order of the answers.
        total: how many relevant rows there are.
    """
    count = relevant.shape[1]
    precision = jnp.cumsum(relevant, axis=1) / jnp.arange(1, count + 1)[None]
    return jnp.sum(relevant * precision, axis=1) / jnp.clip(total, 1, count)


class LinearSVM(NamedTuple):
    """Scores `((features - mean) / spread) @ kernel + bias`, [rows, classes]."""

    mean: Float[Array, "width"]
    spread: Float[Array, "width"]
    kernel: Float[Array, "width classes"]
    bias: Float[Array, "classes"]

    def __call__(self, features: Float[Array, "rows width"]) -> Float[Array, "rows classes"]:
        """Class scores."""
        scaled = (_wide(features) - self.mean[None]) / self.spread[None]
        return jnp.matmul(scaled, self.kernel, precision="highest") + self.bias[None]


def linear_svm(
    features: Float[Array, "N width"],
    labels: Int[Array, "N"],
    classes: int,
    strength: float | jax.Array,
    steps: int = 500,
    tolerance: float = 1e-4,
) -> LinearSVM:
    """Fits one L2-SVM for each class against the rest, on standardised features.

    Minimises mean(sum over classes of max(0, 1 - t s)^2) + strength / 2 |kernel|^2, t = 1 for the
    label and -1 elsewhere, from zero by L-BFGS: LIBLINEAR's L2-regularised L2-loss SVM (Fan et al.
    2008) with C = 1 / (strength N), but for the biases, which are not penalised here.

    Args:
        steps: most steps.
        tolerance: gradient's norm over its first value at which it is done.
    """
    features = _wide(features)
    mean, spread = jnp.mean(features, axis=0), jnp.std(features, axis=0)
    start = LinearSVM(
        mean,
        jnp.where(spread > 1e-6 * jnp.max(spread), spread, 1.0),
        jnp.zeros((features.shape[1], classes)),
        jnp.zeros(classes),
    )

    def objective(fitted: tuple[jax.Array, jax.Array]) -> jax.Array:
        scores = start._replace(kernel=fitted[0], bias=fitted[1])(features)
        penalty = strength / 2 * jnp.sum(jnp.square(fitted[0]))
        return jnp.mean(one_vs_rest_squared_hinge(scores, labels)) + penalty

    kernel, bias = _minimum(objective, (start.kernel, start.bias), steps, tolerance)
    return start._replace(kernel=kernel, bias=bias)


def _minimum(
    objective: Callable[[Any], jax.Array], first: Any, steps: int, tolerance: float
) -> Any:
    """Where L-BFGS gets from `first`; `steps` and `tolerance` as of `linear_svm`."""
    solver = optax.lbfgs()
    value_and_grad = optax.value_and_grad_from_state(objective)
    enough = tolerance * optax.tree.norm(jax.grad(objective)(first))

    def step(state: tuple) -> tuple:
        found, solving, taken = state
        value, grad = value_and_grad(found, state=solving)
        updates, solving = solver.update(
            grad, solving, found, value=value, grad=grad, value_fn=objective
        )
        return optax.apply_updates(found, updates), solving, taken + 1

    def unfinished(state: tuple) -> jax.Array:
        _, solving, taken = state
        far = optax.tree.norm(optax.tree.get(solving, "grad")) > enough
        return (taken == 0) | (far & (taken < steps))

    return jax.lax.while_loop(unfinished, step, (first, solver.init(first), 0))[0]


def _wide(features: Float[Array, "rows width"]) -> Float[Array, "rows width"]:
    return features.astype(jnp.promote_types(features.dtype, jnp.float32))


def _unit(features: Float[Array, "rows width"]) -> Float[Array, "rows width"]:
    length = jnp.linalg.norm(features, axis=1, keepdims=True)
    return features / jnp.where(length > 0, length, 1.0)
