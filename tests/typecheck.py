"""The run-time type checker of the tests: beartype, with `float` as wide as traced numbers."""

import jax
from beartype import BeartypeConf, FrozenDict, beartype

CONF = BeartypeConf(hint_overrides=FrozenDict({float: float | int | jax.Array}))
check = beartype(conf=CONF)
