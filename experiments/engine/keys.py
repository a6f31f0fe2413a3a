"""Random keys by name: every source of randomness is a named stream of the replica's seed.

`jax.random.key(seed)`, folded with the CRC-32 of the stream's name, then with the step or epoch.
Keys are never split in chains, so adding a stream changes no other, and the same seed gives the
same stream in every cell: differences between cells are paired samples.
"""

import dataclasses
import zlib

import jax
import numpy as np

STREAMS = ("init", "order", "noise", "split", "labels")
"""init: initial weights; order: order of the training data; noise: dropout, input noise and
augmentation; split: validation rows and training subset; labels: label noise."""


def key_of(seed: jax.Array, stream: str, fix: tuple[str, ...] = ()) -> jax.Array:
    """The key of one stream; a stream named in `fix` is that of seed 0 whatever the seed."""
    root = jax.random.key(seed * 0 if stream in fix else seed)
    return jax.random.fold_in(root, zlib.crc32(stream.encode()))


@dataclasses.dataclass(frozen=True)
class Streams:
    """The same streams for work on the host: `Streams(seed)("split")` is a NumPy generator.

    Equal seeds give equal streams, so what is drawn from them can be cached by this value.
    """

    seed: int
    fix: tuple[str, ...] = ()

    def __call__(self, name: str) -> np.random.Generator:
        """A fresh generator of one stream."""
        seed = 0 if name in self.fix else self.seed
        return np.random.default_rng([seed, zlib.crc32(name.encode())])
