"""Pictures of a classifier: templates of a linear one, and what the windows of any net see."""

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.data import preprocess
from experiments.engine.experiment import Data, Tree
from experiments.engine.pictures import Picture, picture_of
from experiments.window_pictures import FIELD_INPUTS, window_pictures


def pictures(
    config: Any, net: Any, params: Tree, model_state: Tree, data: Data
) -> dict[str, Picture]:
    """Class templates of a linear classifier; of a net with windows, `window_pictures`.

    Args:
        data: the data set and the replica's statistics, on the host.
    """
    del config
    test = data.splits["test"]
    templates = linear_templates(params, data.own["stats"], test["x"].shape[1:])
    if templates:
        return templates
    examples = np.asarray(test["x"][:FIELD_INPUTS])
    inputs = jnp.asarray(preprocess.apply(data.own["stats"], examples))
    variables = jax.device_put({"params": params, **model_state})
    return window_pictures(net, variables, examples, inputs, int(test["y"][0]))


def linear_templates(
    params: Mapping[str, Any], stats: Mapping[str, Any], shape: tuple[int, ...]
) -> dict[str, Picture]:
    """The class templates of a linear classifier as images, one per class; none of a deeper net.

    Where inputs are whitened, rotated or standardised, a template is what it amounts to before: the
    class's score is the product of template and centred image.

    Args:
        params: of the net.
        stats: of the preprocessing.
        shape: of an example.
    """
    found = [
        leaf for path, leaf in jax.tree_util.tree_leaves_with_path(params)
        if jax.tree_util.keystr(path[-1:], simple=True) == "kernel"
    ]  # fmt: skip
    if len(found) != 1 or found[0].ndim != 2 or len(shape) > 3:
        return {}
    kernel = np.asarray(found[0])
    if "matrix" in stats:
        kernel = np.asarray(stats["matrix"]) @ kernel
    if len(kernel) != math.prod(shape):
        return {}
    if "scale" in stats:
        kernel = kernel * np.broadcast_to(stats["scale"], shape).reshape(-1, 1)
    drawn = shape if len(shape) > 1 else (1, *shape)
    columns = kernel.T
    return {f"template_{k}": picture_of(each.reshape(drawn)) for k, each in enumerate(columns)}
