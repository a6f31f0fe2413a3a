"""The effective receptive field: how much of what a unit could see moves it (Luo et al. 2016).

arXiv 1701.04128: the gradient of a central unit falls off like a Gaussian towards the border of its
theoretical field, and in a net of n layers most of it lies within a share of order 1 / sqrt(n).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from nets.layers import Path, inference, layers

TWO_SIGMA = 0.9545  # of a Gaussian lies within two standard deviations


def effective_receptive_field(
    net: nn.Module,
    variables: Mapping[str, Any],
    inputs: Float[Array, "batch *shape"],
    layer_path: Path,
    *,
    filters: int | None = None,
) -> Float[Array, "*axes"]:
    """Mean absolute gradient of a layer's central units with respect to each input place.

    The central place is `size // 2` of each axis; its units are the filters. Each has a gradient of
    its own (one backward pass per filter), so that filters do not cancel. The mean is over
    filters, inputs and input channels. The net is called as after training.

    Args:
        net: called as `net(inputs)`, with `train=False` if it knows that option.
        variables: parameters and statistics of the net.
        inputs: `[batch, *axes]`, or with channels after the axes.
        layer_path: of a module whose output is `[batch, *axes, filters]`, as `nets.layers` has it.
        filters: only the first so many (None: all).

    Returns:
        `[*axes]`, of the input.

    Raises:
        ValueError: no module has that path, or its output has no axes between batch and filters.
    """
    fields = effective_receptive_fields(net, variables, inputs, [layer_path], filters=filters)
    return fields[layer_path]


def effective_receptive_fields(
    net: nn.Module,
    variables: Mapping[str, Any],
    inputs: Float[Array, "batch *shape"],
    paths: Sequence[Path],
    *,
    filters: int | None = None,
) -> dict[Path, Float[Array, "*axes"]]:
    """`effective_receptive_field` of several layers, from one program for all of them.

    It saves compiling; each backward pass goes through all of the layers.
    """
    outputs, backward = jax.jit(
        lambda variables, x: jax.vjp(lambda x: _outputs(net, variables, x, paths), x)
    )(variables, inputs)
    for path, output in zip(paths, outputs, strict=True):
        if output.ndim < 3:
            raise ValueError(f"{'/'.join(path)} has an output of {output.shape}, without axes")
    axes = max(output.ndim for output in outputs) - 2
    others = (0, *range(1 + axes, inputs.ndim))

    @jax.jit
    def of_filter(backward: Any, layer: int | jax.Array, index: int | jax.Array) -> jax.Array:
        units = [_unit(output, index, layer == number) for number, output in enumerate(outputs)]
        return jnp.abs(backward(units)[0].astype(jnp.float32)).mean(axis=others)

    # A loop, not a scan: inside one, XLA's backward convolutions are slow on a CPU.
    fields = {}
    for number, (path, output) in enumerate(zip(paths, outputs, strict=True)):
        chosen = range(output.shape[-1])[:filters]
        each = [of_filter(backward, number, index) for index in chosen]
        fields[path] = jnp.stack(each).mean(axis=0)
    return fields


def _unit(output: jax.Array, index: int | jax.Array, on: bool | jax.Array) -> jax.Array:
    """One at the central place of a filter in each map, zero elsewhere and where not `on`."""
    centre = tuple(size // 2 for size in output.shape[1:-1])
    one = jnp.asarray(on, output.dtype)
    return jnp.zeros_like(output).at[(slice(None), *centre, index)].set(one, mode="drop")


def effective_size(field: Float[Array | np.ndarray, "*axes"]) -> float:
    """The side of a cube with as many places as count: those above 4.55 % of the largest.

    Luo et al. 2016, section 3, compare with the central value, which is the largest in a map of a
    Gaussian's shape; there the threshold cuts at about two and a half standard deviations.
    """
    values = np.asarray(field)
    count = int(np.sum(values > (1 - TWO_SIGMA) * values.max()))
    return count ** (1 / values.ndim)


def _outputs(
    net: nn.Module, variables: Mapping[str, Any], inputs: jax.Array, paths: Sequence[Path]
) -> list[jax.Array]:
    """What the modules returned at their first call."""

    def wanted(module: nn.Module, method: str) -> bool:
        return module.path in paths and method == "__call__"

    options: dict[str, Any] = {"mutable": ["intermediates"], "capture_intermediates": wanted}
    state: Any = net.apply(variables, inputs, **options, **inference(net))[1]
    outputs = []
    for path in paths:
        found = state.get("intermediates", {})
        for name in path:
            found = found.get(name, {})
        if "__call__" not in found:
            known = ["/".join(layer.path) for layer in layers(net, variables, inputs)]
            raise ValueError(f"no module {'/'.join(path)}; there are {', '.join(known[1:])}")
        outputs.append(jax.tree.leaves(found["__call__"][0])[-1])
    return outputs
