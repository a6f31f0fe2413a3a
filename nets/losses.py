"""Classification and regression losses, one number per example.

Each takes scores `[..., K]` and labels `[...]` and returns `[...]`: averaging over the batch is the
caller's. `margin` and `label_smoothing` may be tracers. Scores of less than float32 are widened.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


def multiclass_hinge(
    logits: Float[Array, "*batch K"], labels: Int[Array, "*batch"], margin: float | jax.Array = 1.0
) -> Float[Array, "*batch"]:
    """Sum over the wrong classes j of max(0, margin + s_j - s_y).

    Weston & Watkins 1999; the SVM loss of most lecture notes.
    """
    return jnp.sum(_violations(logits, labels, margin), axis=-1)


def crammer_singer_hinge(
    logits: Float[Array, "*batch K"], labels: Int[Array, "*batch"], margin: float | jax.Array = 1.0
) -> Float[Array, "*batch"]:
    """Largest over the wrong classes j of max(0, margin + s_j - s_y).

    Crammer & Singer 2001. Where classes tie, they share the gradient equally.
    """
    return jnp.max(_violations(logits, labels, margin), axis=-1)


def one_vs_rest_squared_hinge(
    logits: Float[Array, "*batch K"], labels: Int[Array, "*batch"], margin: float | jax.Array = 1.0
) -> Float[Array, "*batch"]:
    """Sum over all classes of max(0, margin - t s)^2, with t = 1 for the label and -1 elsewhere.

    The L2-SVM of Tang 2013 (arXiv 1306.0239), without its weight penalty.
    """
    signed = _signed(_wide(logits), labels)
    return jnp.sum(jnp.square(jax.nn.relu(jnp.asarray(margin, signed.dtype) - signed)), axis=-1)


def softmax_cross_entropy(
    logits: Float[Array, "*batch K"],
    labels: Int[Array, "*batch"],
    label_smoothing: float | jax.Array = 0.0,
) -> Float[Array, "*batch"]:
    """Cross-entropy in nats against targets (1 - e) one_hot(y) + e / K.

    Szegedy et al. 2016 (arXiv 1512.00567, section 7) for the smoothing e.
    """
    logits = _wide(logits)
    smoothing = jnp.asarray(label_smoothing, logits.dtype)
    log_probabilities = jax.nn.log_softmax(logits, axis=-1)
    own = jnp.take_along_axis(log_probabilities, labels[..., None], axis=-1)[..., 0]
    return -(1 - smoothing) * own - smoothing * jnp.mean(log_probabilities, axis=-1)


def sigmoid_cross_entropy(
    logits: Float[Array, "*batch K"], labels: Int[Array, "*batch"]
) -> Float[Array, "*batch"]:
    """Sum over the classes of the binary cross-entropies (nats) of "is it this class?"."""
    return jnp.sum(jax.nn.softplus(-_signed(_wide(logits), labels)), axis=-1)


def focal_loss(
    logits: Float[Array, "*batch K"],
    targets: Bool[Array, "*batch K"],
    gamma: float | jax.Array = 2.0,
    alpha: float | jax.Array = 0.25,
) -> Float[Array, "*batch"]:
    """Sum over the classes of -w (1 - p)^gamma ln p, where p is the probability given to the truth
    of "is it this class?", and w is alpha where it is and 1 - alpha where it is not (nats).

    Lin et al. 2017 (arXiv 1708.02002, equation 5). With gamma 0 and alpha 1/2 half the binary
    cross-entropies.
    """
    logits = _wide(logits)
    signed = jnp.where(targets, logits, -logits)
    gamma, alpha = (jnp.asarray(each, logits.dtype) for each in (gamma, alpha))
    weight = jnp.where(targets, alpha, 1 - alpha) * jnp.exp(gamma * jax.nn.log_sigmoid(-signed))
    return -jnp.sum(weight * jax.nn.log_sigmoid(signed), axis=-1)


def squared_error(
    outputs: Float[Array, "*batch K"], targets: Float[Array, "*batch K"]
) -> Float[Array, "*batch"]:
    """Sum over the outputs of (output - target)^2; no factor of one half, no mean."""
    return jnp.sum(jnp.square(_wide(outputs) - _wide(targets)), axis=-1)


def one_hot_squared_error(
    logits: Float[Array, "*batch K"], labels: Int[Array, "*batch"]
) -> Float[Array, "*batch"]:
    """`squared_error` against one-hot targets."""
    return squared_error(logits, _is_label(logits, labels).astype(_wide(logits).dtype))


def _wide(values: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    return values.astype(jnp.promote_types(values.dtype, jnp.float32))


def _is_label(
    logits: Float[Array, "*batch K"], labels: Int[Array, "*batch"]
) -> Bool[Array, "*batch K"]:
    return jax.nn.one_hot(labels, logits.shape[-1], dtype=bool)


def _signed(
    logits: Float[Array, "*batch K"], labels: Int[Array, "*batch"]
) -> Float[Array, "*batch K"]:
    """The label's score, and the negative of every other."""
    return jnp.where(_is_label(logits, labels), logits, -logits)


def _violations(
    logits: Float[Array, "*batch K"], labels: Int[Array, "*batch"], margin: float | jax.Array
) -> Float[Array, "*batch K"]:
    """max(0, margin + s_j - s_y) for every wrong class j, 0 for the label."""
    logits = _wide(logits)
    own = jnp.take_along_axis(logits, labels[..., None], axis=-1)
    violations = jax.nn.relu(jnp.asarray(margin, logits.dtype) + logits - own)
    return jnp.where(_is_label(logits, labels), 0, violations)
