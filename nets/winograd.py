"""3x3 convolution by tiles of 2x2 outputs: F(2x2, 3x3) of Lavin and Gray 2016, arXiv 1509.09308.

16 products of sums of inputs and of weights give the four outputs of a tile, which take 36 one by
one. On a core of an AMD EPYC, 64 images of 8x8 with 64 channels took 3.1 ms and by XLA's
convolution 5.3, with 128 channels 11 and 23, of 16x16 with 32 channels 3.5 and 4.7, with 64 12 and
21, of 4x4 with 256 14 and 22, of 2x2 with 512 28 and 1,650. Fewer channels gain nothing: the sums
take as long as the products save. Outputs were nearer to float64's than those of XLA's convolution
(root mean square of the errors 0.64 to 0.69 times).
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from nets.geometry import Window
from nets.parallel import map_batch, piece_size

LEAST_CHANNELS = 32
"""Fewer inputs or outputs than these are faster as XLA has them."""
WORK_BYTES = 1 << 20
"""Of sums and products at a time: what a core's caches hold. 32x32 images with 32 channels took
15 ms in pairs and 33 ms all 64 at once; on an Intel Xeon, 16x16 with 64 channels 5.3 ms with 1 MiB
at a time and 5.9 with 2."""
LARGEST_EXAMPLE = 1 << 21
"""Bytes of the sums and products of one example that still goes by tiles."""


def suits(kernel: jax.Array, windows: Sequence[Window], sizes: Sequence[int]) -> bool:
    """Whether a CPU computes a convolution faster by tiles.

    Args:
        kernel: of a convolution without groups.
        windows: one per spatial axis.
        sizes: outputs along each.
    """
    if len(windows) != 2 or any((w.size, w.stride, w.dilation) != (3, 1, 1) for w in windows):
        return False
    if kernel.dtype != jnp.float32 or min(kernel.shape[-2:]) < LEAST_CHANNELS:
        return False
    height, width = sizes
    even = height % 2 == width % 2 == 0
    return even and _example_bytes(height, width, kernel) <= LARGEST_EXAMPLE


def by_tiles(
    padding: Sequence[tuple[int, int]],
    x: Float[Array, "batch height width inputs"],
    kernel: Float[Array, "3 3 inputs outputs"],
) -> Float[Array, "batch up across outputs"]:
    """The convolution with stride 1 and an even number of outputs each way.

    Args:
        padding: zeros before and after each spatial axis; negative cuts off.
    """
    return map_batch(functools.partial(_in_pieces, padding), x, kernel)


def _example_bytes(height: int, width: int, kernel: jax.Array) -> int:
    """What the 16 sums and the 16 products of an example's tiles take."""
    return 4 * height * width * sum(kernel.shape[-2:]) * kernel.dtype.itemsize


def _in_pieces(padding: Sequence[tuple[int, int]], x: jax.Array, kernel: jax.Array) -> jax.Array:
    """A piece of the batch at a time.

    Each is padded by itself: XLA would read a piece that is only cut out in its place, example by
    example, for every one of the 16 sums, in 6 times their time.
    """
    batch = len(x)
    height, width = (n + sum(p) - 2 for n, p in zip(x.shape[1:3], padding, strict=True))
    piece = piece_size(batch, _example_bytes(height, width, kernel), WORK_BYTES)
    weights = jnp.stack([w for upper in _of_weights(kernel) for w in _of_weights(upper)])

    def convolved(x: jax.Array) -> jax.Array:
        around = [(0, 0, 0), *((*p, 0) for p in padding), (0, 0, 0)]
        return _tiles(jax.lax.pad(x, jnp.zeros((), x.dtype), around), weights)

    if piece == batch:
        return convolved(x)

    def put(i: jax.Array, y: jax.Array) -> jax.Array:
        part = convolved(jax.lax.dynamic_slice_in_dim(x, i * piece, piece))
        return jax.lax.dynamic_update_slice_in_dim(y, part, i * piece, 0)

    y = jnp.zeros((batch, height, width, kernel.shape[-1]), x.dtype)
    return jax.lax.fori_loop(0, batch // piece, put, y)


def _tiles(x: jax.Array, weights: jax.Array) -> jax.Array:
    """All tiles of padded examples: Y = A' [(G g G') * (B' d B)] A, where `weights` are G g G'.

    Args:
        x: [batch, height, width, inputs].
        weights: [16, inputs, outputs].
    """
    batch, rows, columns = len(x), x.shape[1] // 2 - 1, x.shape[2] // 2 - 1
    _, inputs, outputs = weights.shape
    seen = [sums.reshape(-1, inputs) for upper in _of_inputs(x, 1) for sums in _of_inputs(upper, 2)]
    products = jnp.stack(seen) @ weights
    by_place = products.reshape(4, 4, batch, rows, columns, outputs)
    upright = _of_products(*by_place)
    y = [jnp.stack(_of_products(*across), axis=3) for across in upright]
    return jnp.stack(y, axis=2).reshape(batch, 2 * rows, 2 * columns, outputs)


def _of_inputs(x: jax.Array, axis: int) -> list[jax.Array]:
    """B' d along an axis: the four sums of each tile's inputs, of which neighbours share two."""
    end = x.shape[axis] - 3
    a, b, c, d = (jax.lax.slice_in_dim(x, i, i + end, stride=2, axis=axis) for i in range(4))
    return [a - c, b + c, c - b, b - d]


def _of_weights(kernel: jax.Array) -> list[jax.Array]:
    """G g along the first axis: the four sums of its three weights."""
    a, b, c = kernel
    return [a, (a + b + c) / 2, (a - b + c) / 2, c]


def _of_products(
    a: jax.Array, b: jax.Array, c: jax.Array, d: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """A' m of the four products along an axis: both outputs of each tile."""
    return a + b + c, b - c - d
