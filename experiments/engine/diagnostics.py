"""What happens inside a net while it trains: per layer, gradients, activations, dead units.

The nets tell: every `nets.activations.Nonlinearity` sows the mean and spread of its output and
its saturated and dead fractions when the collection "diagnostics" is mutable. Gradient norms are
those of each layer's weights. `verdicts` says what they mean.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from experiments.engine.experiment import Data, Tree
from experiments.engine.keys import new_key
from experiments.engine.rows import look_up
from experiments.engine.step import Replica, State, Trainer
from nets.regularizers import kernels


def diagnose(trainer: Trainer, state: State, replica: Replica, data: Data, xs: Tree) -> Tree:
    """Per layer quantities of one training batch (the first of `xs`), without updating.

    Returns:
        {"gradient": {layer: norm of the loss gradient with respect to the layer's weights, over
        the square root of their number}, "activation": {layer: {"mean", "sd", "saturated",
        "dead"}}}; float32 scalars.
    """
    model = trainer.model(replica)
    key = new_key(0)
    x = jax.tree.map(lambda leaf: leaf[0], xs)
    batch = trainer.experiment.make_batch(model.config, data, x, key)

    def loss_fn(params: Tree) -> Any:
        variables = {**state.model_state, "diagnostics": {}}
        loss, (collections, _) = trainer.experiment.loss_fn(
            model.config, model.net, params, variables, batch, key
        )
        return loss, collections.get("diagnostics", {})

    used = trainer.experiment.rows(model.config, batch)
    seen = look_up(state.params, used) if used else state.params
    (_, sown), grads = jax.value_and_grad(loss_fn, has_aux=True)(seen)
    gradient = {
        _layer(path): jnp.sqrt(jnp.mean(jnp.square(leaf.astype(jnp.float32))))
        for path, leaf in jax.tree_util.tree_leaves_with_path(grads)
        if kernels(path, leaf)
    }
    return {"gradient": gradient, "activation": _flatten(sown)}


def _layer(path: Sequence[Any]) -> str:
    return "/".join(str(getattr(part, "key", part)) for part in path[:-1])


def _flatten(collection: Mapping[str, Any], path: tuple[str, ...] = ()) -> dict[str, Any]:
    """What the modules wrote, by the path of the module."""
    if "mean" in collection:
        return {"/".join(path): dict(collection)}
    parts = [_flatten(inner, (*path, name)) for name, inner in collection.items()]
    return {name: values for part in parts for name, values in part.items()}
