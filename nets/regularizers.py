"""What keeps a net from fitting noise: weight penalties, max-norm, dropout, Gaussian noise.

Every strength, limit, rate and standard deviation may be a tracer. `where(path, leaf)` chooses the
leaves of a parameter tree; `path` is the key path of `jax.tree_util`.
"""

import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float

from nets.draws import random_array, short_draws

SHARERS = 8
"""Rows that a mask is drawn in, or the most that divide both this and the batch: so many devices
that share the batch, or a divisor of them, draw their own parts."""

Where = Callable[[tuple[Any, ...], Any], bool]


def kernels(path: tuple[Any, ...], leaf: Any) -> bool:
    """Chooses the leaves named "kernel": weights, not biases, scales or embeddings."""
    del leaf
    return bool(path) and jax.tree_util.keystr(path[-1:], simple=True) == "kernel"


def all_but_kernels(path: tuple[Any, ...], leaf: Any) -> bool:
    """Chooses the others: biases, scales, embeddings."""
    return not kernels(path, leaf)


def output_kernels(path: tuple[Any, ...], leaf: Any) -> bool:
    """Chooses the kernel of the layer called "output" alone."""
    return kernels(path, leaf) and jax.tree_util.keystr(path[-2:-1], simple=True) == "output"


def l1(params: Any, where: Where = kernels) -> Float[Array, ""]:
    """Sum of |w| over the chosen weights (Tibshirani 1996)."""
    return sum((jnp.sum(jnp.abs(leaf)) for leaf in _chosen(params, where)), jnp.zeros(()))


def l2(params: Any, where: Where = kernels) -> Float[Array, ""]:
    """Sum of w^2 over the chosen weights, without a factor of one half.

    Its gradient is 2 w: under plain gradient descent, a strength of c times this is a weight decay
    of 2 c (Krogh & Hertz 1991 write the half).
    """
    return sum((jnp.sum(jnp.square(leaf)) for leaf in _chosen(params, where)), jnp.zeros(()))


def elastic(
    params: Any,
    l1_strength: float | jax.Array,
    l2_strength: float | jax.Array,
    where: Where = kernels,
) -> Float[Array, ""]:
    """l1_strength * sum |w| + l2_strength * sum w^2 (Zou & Hastie 2005, equation 3)."""
    return l1_strength * l1(params, where) + l2_strength * l2(params, where)


def max_norm(limit: float | jax.Array, where: Where = kernels) -> optax.GradientTransformation:
    """Shrinks each unit's incoming weights to a norm of at most `limit` after the step.

    Belongs last in a chain. A unit's incoming weights lie on all axes but the last. Updates of
    units inside the limit pass through unchanged to the bit (Srivastava et al. 2014, section 5.1).

    Raises:
        ValueError: (on update) when called without parameters.
    """

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        if params is None:
            raise ValueError("max_norm needs the parameters: update(updates, state, params)")

        def constrain(path: tuple[Any, ...], step: jax.Array, weights: jax.Array) -> jax.Array:
            if not where(path, weights):
                return step
            stepped = weights + step
            factor = _shrinkage(stepped, limit)
            return jnp.where(factor < 1, factor * stepped - weights, step)

        return jax.tree_util.tree_map_with_path(constrain, updates, params), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def concentration(params: Any, where: Where = kernels) -> dict[str, Float[Array, ""]]:
    """How few weights carry the net, over all chosen weights together.

    L1 should raise the first number and lower the second, L2 the other way round.

    Returns:
        `hoyer`: (sqrt(n) - |w|_1 / |w|_2) / (sqrt(n) - 1), from 0 (all of one size) to 1 (a single
            one); Hoyer 2004, section 3.1.
        `effective_number`: (sum w^2)^2 / sum w^4, from 1 (a single one) to n (all of one size): the
            participation ratio. Both are 0 where every weight is 0.
    """
    leaves = [jnp.abs(leaf) for leaf in _chosen(params, where) if leaf.size]
    count = float(sum(leaf.size for leaf in leaves))
    largest = jnp.max(jnp.stack([jnp.max(leaf) for leaf in leaves])) if leaves else jnp.zeros(())
    present = largest != 0  # true of NaN, which must show
    unit = jnp.where(present, largest, 1)  # powers of weights in [0, 1] cannot overflow
    first, second, fourth = (
        sum((jnp.sum((leaf / unit) ** power) for leaf in leaves), jnp.zeros(()))
        for power in (1, 2, 4)
    )
    ratio = first / jnp.sqrt(jnp.where(present, second, 1))
    span = max(count**0.5 - 1, 1e-12)
    return {
        "hoyer": jnp.where(present, (count**0.5 - ratio) / span, 0),
        "effective_number": second**2 / jnp.where(present, fourth, 1),
    }


class Dropout(nn.Module):
    """Sets inputs to 0 with probability `rate` and divides the others by 1 - rate, in training.

    Unlike `nn.Dropout`, `rate` may be a tracer. It is rounded to a multiple of 1 / 65,536, at most
    65,535 / 65,536, and the division uses the rounded value, so that the expectation is that of
    the input. At rate 0 the output is the input, to the bit (Srivastava et al. 2014, section 4).
    """

    rate: float
    rng_collection: str = "dropout"

    @nn.compact
    def __call__(self, x: Float[Array, "*shape"], *, train: bool) -> Float[Array, "*shape"]:
        """Drops while training; otherwise returns `x`."""
        if not train:
            return x
        dropped = jnp.clip(jnp.round(jnp.asarray(self.rate, jnp.float32) * 65_536), 0, 65_535)
        keep = _keep_mask(self.make_rng(self.rng_collection), dropped.astype(jnp.uint32), x.shape)
        scale = 65_536 / (65_536 - dropped)  # rounded to bfloat16, it would shift the expectation
        return jnp.where(keep, (x * scale).astype(x.dtype), jnp.zeros_like(x))


class GaussianNoise(nn.Module):
    """Adds N(0, sd^2) to every input in training; `sd` may be a tracer (Bishop 1995).

    Draws from the same collection as `Dropout`; Flax gives every module its own key.

    Attributes:
        sd: standard deviation, at the first step if it falls.
        steps: training steps over which it falls linearly to zero (None: it does not). They are
            counted in the collection "schedule", which training has to update.
    """

    sd: float
    steps: int | None = None
    rng_collection: str = "dropout"

    @nn.compact
    def __call__(self, x: Float[Array, "*shape"], *, train: bool) -> Float[Array, "*shape"]:
        """Adds noise while training; otherwise returns `x`."""
        sd = jnp.asarray(self.sd, jnp.float32)
        if self.steps is not None:
            done = self.variable("schedule", "steps", jnp.zeros, (), jnp.int32)
            sd = sd * jnp.clip(1 - done.value / self.steps, 0, 1)
            if train and not self.is_initializing():
                done.value = done.value + 1
        if not train:
            return x
        key = self.make_rng(self.rng_collection)
        wide = jnp.promote_types(x.dtype, jnp.float32)
        noise = random_array(jax.random.normal, key, x.shape, dtype=wide)
        return x + (sd * noise).astype(x.dtype)


def _chosen(params: Any, where: Where) -> list[jax.Array]:
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return [jnp.asarray(leaf) for path, leaf in leaves if where(path, leaf)]


def _shrinkage(weights: jax.Array, limit: float | jax.Array) -> jax.Array:
    """The factor, at most 1, that brings each unit's norm to the limit; zero weights give 1."""
    axes = tuple(range(weights.ndim - 1))
    largest = jnp.max(jnp.abs(weights), axis=axes, keepdims=True, initial=0)
    unit = jnp.where(largest > 1, largest, 1)  # squares of large weights would overflow
    norms = unit * jnp.sqrt(jnp.sum(jnp.square(weights / unit), axis=axes, keepdims=True))
    bound = jnp.asarray(limit, weights.dtype)
    largest = jnp.maximum(norms, bound)
    return bound / jnp.maximum(largest, jnp.finfo(weights.dtype).tiny)


def _keep_mask(key: jax.Array, dropped: jax.Array, shape: tuple[int, ...]) -> Bool[Array, "*shape"]:
    """True where 16 random bits are at least `dropped`; four places share a draw of 64 bits.

    Drawing the bits is nearly all of the cost. The four answers travel in one byte, and it is laid
    out four times side by side rather than taken apart by index, which XLA does not vectorise. Rows
    are counted apart so that devices that share the batch draw their own. On one CPU core, 128 x
    1024 places took 0.06 ms forward and backward, 0.43 with two places to a word of
    `jax.random.bits`, and 0.63 with `jax.random.bernoulli`.
    """
    size = math.prod(shape)
    rows = math.gcd(shape[0], SHARERS) if shape else 1
    columns = -(-size // (4 * rows))
    answers = [half >= dropped for half in short_draws(key, rows, columns)]
    packed = sum(answer.astype(jnp.uint8) << i for i, answer in enumerate(answers))
    bits = jnp.concatenate([jnp.full((rows, columns), 1 << i, jnp.uint8) for i in range(4)], 1)
    keep = jnp.concatenate([jax.lax.optimization_barrier(packed)] * 4, axis=1) & bits
    return (keep[:, : size // rows] != 0).reshape(shape)
