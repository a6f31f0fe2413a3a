"""What the windowed layers of any net hold and pass on: their filters and feature maps.

Layers are found by following calls, as `nets.layers` does.
"""

import math
from collections.abc import Collection, Mapping
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from jaxtyping import Array, Float

from nets.layers import Layer, Path, inference, on_shortcut
from nets.module_geometry import windows_of


def central_kernel(
    layer: Layer, params: Mapping[str, Any]
) -> Float[np.ndarray, "*window channels filters"] | None:
    """The kernel of a windowed layer; where positions have their own, that of the middle one.

    The middle position is `size // 2` of each axis. None for a layer without windows or weights,
    or with weights in an order that is not known.

    Args:
        layer: of the net.
        params: of the net.
    """
    kernel = _kernel(params, layer.path)
    if not layer.windows or kernel is None:
        return None
    window = tuple(axis.size for axis in layer.windows)
    channels, filters = layer.inputs[-1], kernel.shape[-1]
    if kernel.shape[:-2] == window and channels % kernel.shape[-2] == 0:
        return kernel
    positions = layer.outputs[:-1]
    if kernel.shape != (*positions, math.prod(window) * channels, filters):
        return None
    middle = kernel[tuple(size // 2 for size in positions)]
    if layer.kind == "ConvLocal":  # Flax has the channels first
        return np.moveaxis(middle.reshape(channels, *window, filters), 0, -2)
    return middle.reshape(*window, channels, filters)


def _kernel(params: Mapping[str, Any], path: Path) -> np.ndarray | None:
    """The first array called `kernel` at a path or below it."""
    below: Any = params
    for name in path:
        below = below.get(name, {})
    for keys, leaf in jax.tree_util.tree_leaves_with_path(below):
        if jax.tree_util.keystr(keys[-1:], simple=True) == "kernel":
            return np.asarray(leaf)
    return None


def feature_maps(
    net: nn.Module,
    variables: Mapping[str, Any],
    inputs: Float[Array | np.ndarray, "batch *shape"],
    paths: Collection[Path],
) -> dict[Path, Float[Array, "batch *positions channels"]]:
    """What windowed layers pass on to the next layer: after normalisation, activation and sums.

    A layer's map is followed through the modules that keep its positions, up to the next layer
    with windows or a kernel; of functions between modules, the result is seen where a module takes
    or returns it, so one that pools or flattens hides those before it. Shortcuts are not followed,
    parallel branches end at their own output.

    Args:
        net: called as `net(inputs)`, with `train=False` if it knows that option.
        variables: parameters and statistics of the net.
        inputs: for the net.
        paths: of windowed layers, as `nets.layers` has them.
    """

    def maps(variables: Any, inputs: jax.Array) -> list[jax.Array]:
        following = _Following(set(paths))
        with nn.intercept_methods(following.note):
            net.apply(variables, inputs, **inference(net))
        return [following.maps[path] for path in paths]

    return dict(zip(paths, jax.jit(maps)(variables, inputs), strict=True))


class _Following:
    """Keeps the latest form of each wanted layer's map while a net is traced.

    Arrays are known by identity, and kept so that identities stay theirs.
    """

    def __init__(self, paths: set[Path]):
        self.paths = paths
        self.maps: dict[Path, Any] = {}
        self.followed: Path | None = None
        self.known: dict[int, Any] = {}
        self.windowed: set[Path] = set()

    def note(self, call: Any, args: Any, kwargs: Any, context: Any) -> Any:
        """Stands in for every method of every module."""
        module, path = context.module, context.module.path
        inside = any(path[:end] in self.windowed for end in range(len(path)))
        given = [leaf for leaf in jax.tree.leaves((args, kwargs)) if isinstance(leaf, jax.Array)]
        if context.method_name != "__call__" or inside or not given:
            return call(*args, **kwargs)
        windows = windows_of(module, given[0].shape[1:])
        self.windowed.update([path] if windows else [])
        aside = on_shortcut(path)
        if not aside:
            self.reach(given[0])
        self.known[id(given[0])] = given[0]
        output = call(*args, **kwargs)
        result = jax.tree.leaves(output)[-1]
        if not aside and (windows or module.has_variable("params", "kernel")):
            first = path in self.paths and path not in self.maps
            self.followed = path if first else None
            self.maps |= {path: result} if first else {}
        elif not aside:
            self.reach(result)
        self.known[id(result)] = result
        return output

    def reach(self, array: Any) -> None:
        """A module takes or returns an array: the next form of the map, or the end of it."""
        if self.followed is None or array is self.maps[self.followed]:
            return
        positions = self.maps[self.followed].shape[1:-1]
        if id(array) in self.known or array.shape[1:-1] != positions:
            self.followed = None
        else:
            self.maps[self.followed] = array
