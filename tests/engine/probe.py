"""The experiment `mlp` with its final parameters made visible, for tests of bits."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments import mlp
from experiments.engine.config import replace
from experiments.engine.jobs import make_job
from experiments.engine.pictures import picture_of
from experiments.engine.run import Outcome


def fingerprint(config: Any, net: Any, params: Any, model_state: Any, data: Any):
    """Two checksums over every bit of the parameters, in halves that a float32 holds."""
    leaves = [jax.lax.bitcast_convert_type(x, jnp.uint32).ravel() for x in jax.tree.leaves(params)]
    bits = jnp.concatenate(leaves)
    place = 2 * jnp.arange(bits.size, dtype=jnp.uint32) + 1
    sums = [
        jnp.sum(bits * place),
        jnp.sum((bits ^ (bits >> 15)) * (place * jnp.uint32(2654435761))),
    ]
    halves = [half for total in sums for half in (total >> 16, total & 0xFFFF)]
    return {f"bits_{i}": half.astype(jnp.float32) for i, half in enumerate(halves)}


def leaves_as_pictures(config: Any, net: Any, params: Any, model_state: Any, data: Any):
    return {
        jax.tree_util.keystr(path, simple=True, separator="_"): picture_of(np.atleast_2d(leaf))
        for path, leaf in jax.tree_util.tree_leaves_with_path(params)
    }


PROBE = dataclasses.replace(
    mlp.EXPERIMENT, name="probe", measure=fingerprint, pictures=leaves_as_pictures
)
"""20 steps of a small net on the digits; `pictures/` keeps the parameters of the first seed."""

SMALL = replace(
    mlp.Config(),
    {"dataset": "digits", "train_size": 160, "width": (16,), "batch_size": 16, "epochs": 2},
)


def finals(outcome: Outcome) -> dict[tuple[Any, int], dict[str, Any]]:
    """The final lines of the reporting replicas by (config, seed), without what a study may
    number or count in another way."""
    lines: dict[tuple[Any, int], dict[str, Any]] = {}
    for (phase, cell, tuned, seed), line in outcome.lines.items():
        if phase == "report":
            job = make_job(outcome.study, phase, cell, {}, seed)
            lines[replace(job.config, dict(tuned)), seed] = without(line, "cell", "lines")
    return lines


def without(line: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in line.items() if name not in names}


def parameters(outcome: Outcome, cell: int) -> dict[str, np.ndarray]:
    """The final parameters of a cell's first seed."""
    with np.load(outcome.folder / "pictures" / f"cell_{cell}" / "arrays.npz") as file:
        return {name: file[name] for name in file.files}
