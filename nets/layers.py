"""Reads layers, their sizes, costs and receptive fields off any Flax net, without computing it.

Modules that slide windows or count their own multiply-adds (`nets.module_geometry`) are listed
without what they call inside. The product with an embedding's table, of tied weights, is a layer.
A module below a name that starts with `shortcut` lies on the shortcut of a residual block.
"""

import dataclasses
import inspect
import math
from collections.abc import Iterable
from typing import Any

import flax.linen as nn
import jax
from flax.core.tracers import current_trace

from nets.flow import Fields, Flow, through
from nets.geometry import Field, Sharing, Window, shared_against_unshared
from nets.module_geometry import multiply_adds, own_count, turns_of, windows_of

Path = tuple[str, ...]

ATTEND = "attend"
"""The method of an embedding, Flax's or `nets.lookup`'s, that multiplies with its table."""


@dataclasses.dataclass(frozen=True)
class Layer:
    """One module of a net, at its first call.

    Attributes:
        path: names from the net down to the module; empty for the net itself.
        kind: its class.
        inputs: shape of its first input, without the batch.
        outputs: shape of its last output, without the batch.
        parameters: how many it has; those of listed modules below it are theirs.
        kernel: shape of its weights, None if it has none.
        windows: one for each axis that windows slide over, else none.
        multiply_adds: of one example, with the padding, without biases, in all its calls; None if
            unknown.
        fields: what one output sees of the first windows' input, one for each axis; none before
            the first windows and without such axes, None if unknown.
        further: of the multiply-adds, those after the first call.
    """

    path: Path
    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    parameters: int
    kernel: tuple[int, ...] | None
    windows: tuple[Window, ...]
    multiply_adds: int | None
    fields: Fields | None
    further: int = 0

    @property
    def shortcut(self) -> bool:
        """Whether it lies on the shortcut of a residual block."""
        return on_shortcut(self.path)


@dataclasses.dataclass(frozen=True)
class Totals:
    """Sums over a net.

    Attributes:
        parameters: of all modules.
        multiply_adds: of all layers where they are known, for one example.
        uncounted: layers where they are not.
        depth: weight layers, as `depth` counts them.
    """

    parameters: int
    multiply_adds: int
    uncounted: int
    depth: int


def layers(net: nn.Module, variables: Any, sample: Any) -> list[Layer]:
    """Every module in the order of calls, a container before what it holds.

    Receptive fields follow the order of calls off the shortcuts, and parallel branches where these
    take what one module returned. They are unknown from where something without windows changes
    the map's size, or weights of more than two axes have no windows. A module that is called again
    is listed once, with the multiply-adds of all its calls; inside `nn.RNN`, of every step. (Of
    other lifted loops, such as `nn.scan`, one turn is seen.)

    Args:
        net: called as `net(sample)`, with `train=False` if it knows that option.
        variables: of the net, as arrays or shapes.
        sample: input with a batch axis, array or shape.
    """
    reading = _Reading(variables.get("params", {}))
    with nn.intercept_methods(reading.note):
        jax.eval_shape(lambda v, x: net.apply(v, x, **inference(net)), variables, sample)
    return [layer for layer in reading.found.values() if layer is not None]


def inference(net: nn.Module) -> dict[str, Any]:
    """The options that call a net as it is after training."""
    known = inspect.signature(type(net).__call__).parameters
    return {"train": False} if "train" in known else {}


def depth(layers: Iterable[Layer]) -> int:
    """Weight layers off the shortcuts: convolutions, dense and recurrent layers, no normalisation.

    He et al. 2015 (arXiv 1512.03385, table 1) name their nets by it. Both directions of a recurrent
    layer (`nets.recurrent.RecurrentStack`) are one.
    """
    own = (layer for layer in layers if not layer.shortcut)
    return sum(
        layer.kernel is not None and not "".join(layer.path[-1:]).endswith("_back") for layer in own
    )


def totals(layers: Iterable[Layer]) -> Totals:
    """Parameters, multiply-adds and depth of a net."""
    each = list(layers)
    known = [layer.multiply_adds for layer in each if layer.multiply_adds is not None]
    parameters = sum(layer.parameters for layer in each)
    return Totals(parameters, sum(known), len(each) - len(known), depth(each))


def sharing(layer: Layer) -> Sharing:
    """Parameters of a convolution with shared and with unshared weights, whichever it has.

    Raises:
        ValueError: a layer without windows or without weights.
    """
    if not layer.windows or not layer.kernel or not layer.multiply_adds:
        raise ValueError(f"{'/'.join(layer.path)} ({layer.kind}) is no convolution")
    *axes, filters = layer.outputs
    positions = math.prod(axes)
    weights = (layer.multiply_adds - layer.further) // (positions * filters)
    bias = layer.parameters > math.prod(layer.kernel)
    return shared_against_unshared(weights, positions, filters, bias=bias)


def chain(layers: Iterable[Layer]) -> list[Layer]:
    """The layers with windows, each looking at the one before, from the first one on.

    It ends where a receptive field is unknown or a parallel branch begins.
    """
    followed: list[Layer] = []
    for layer in layers:
        if not layer.windows or layer.shortcut:
            continue
        seen = followed[-1].fields if followed else (Field(),) * len(layer.windows)
        if not seen or layer.fields != through(seen, layer.windows):
            break
        followed.append(layer)
    return followed


class _Reading:
    """Notes the first call of each module while a net is traced."""

    def __init__(self, params: Any):
        self.shapes = _shapes(params)
        self.flow = Flow()
        self.whole: set[Path] = set()
        self.found: dict[Path, Layer | None] = {}
        self.turns, self.trace = 1, None

    def note(self, call: Any, args: Any, kwargs: Any, context: Any) -> Any:
        """Stands in for every method of every module."""
        module, path = context.module, context.module.path
        inside = any(path[:end] in self.whole for end in range(len(path)))
        self.trace = self.trace or current_trace()
        if context.method_name == ATTEND and not inside:
            return self.note_attend(path, call, *args, **kwargs)
        if context.method_name != "__call__" or inside:
            return call(*args, **kwargs)
        given = _arrays((args, kwargs))[0]
        windows = windows_of(module, given.shape[1:])
        count = own_count(module, given.shape[1:])
        self.whole.update([path] if windows or count is not None else [])
        self.found.setdefault(path, None)
        before = self.flow.current
        self.flow.enter(given, aside=on_shortcut(path))
        around, self.turns = self.turns, self.turns * turns_of(module, given.shape)
        output = call(*args, **kwargs)
        self.turns = around
        kind = type(module).__name__
        layer = self.read(path, kind, windows, count, given, _arrays(output)[-1])
        self.add(layer)
        if layer.shortcut:
            self.flow.current = before
        return output

    def note_attend(self, path: Path, call: Any, *args: Any, **kwargs: Any) -> Any:
        """Notes the product with a table that is also looked up: a layer without parameters."""
        given = _arrays((args, kwargs))[0]
        output = call(*args, **kwargs)
        kernel = given.shape[-1], output.shape[-1]
        inputs, outputs = given.shape[1:], output.shape[1:]
        cost = (multiply_adds(kernel, inputs, outputs, ()) or 0) * self.turns
        name = (*path[:-1], ".".join([*path[-1:], ATTEND]))
        self.add(Layer(name, "TiedWeights", inputs, outputs, 0, kernel, (), cost, ()))
        return output

    def add(self, layer: Layer) -> None:
        """Keeps the layer, or adds the multiply-adds of a further call to those of its first.

        Not so inside what has a trace of its own, such as a loop, which may be traced again.
        """
        first = self.found.get(layer.path)
        if first is None:
            self.found[layer.path] = layer
        elif current_trace() == self.trace and first.multiply_adds is not None:
            more = layer.multiply_adds or 0
            self.found[layer.path] = dataclasses.replace(
                first, multiply_adds=first.multiply_adds + more, further=first.further + more
            )

    def read(
        self,
        path: Path,
        kind: str,
        windows: tuple[Window, ...],
        counted: int | None,
        given: Any,
        output: Any,
    ) -> Layer:
        """Describes a call, and moves on to its output."""
        own = {
            name: shape
            for name, shape in self.shapes.items()
            if name[:-1] == path or (path in self.whole and name[: len(path)] == path)
        }
        kernel = next((shape for name, shape in own.items() if name[-1] == "kernel"), None)
        inputs, outputs = given.shape[1:], output.shape[1:]
        cost = multiply_adds(kernel, inputs, outputs, windows) if counted is None else counted
        further = (cost or 0) * (self.turns - 1)
        cost = None if cost is None else cost + further
        if windows:
            self.flow.slide(inputs[:-1], windows, output)
        else:
            self.flow.leave(output, mixes=cost is None or counted is not None)
        reached = self.flow.current
        fields = reached.fields if reached and (windows or outputs[:-1]) else ()
        count = sum(math.prod(shape) for shape in own.values())
        return Layer(path, kind, inputs, outputs, count, kernel, windows, cost, fields, further)


def on_shortcut(path: Path) -> bool:
    """Whether a path lies on the shortcut of a residual block."""
    return any(name.startswith("shortcut") for name in path)


def _arrays(tree: Any) -> list[Any]:
    arrays = [leaf for leaf in jax.tree.leaves(tree) if hasattr(leaf, "shape")]
    return arrays or [jax.ShapeDtypeStruct((), bool)]


def _shapes(params: Any) -> dict[Path, tuple[int, ...]]:
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return {tuple(str(key.key) for key in keys): tuple(leaf.shape) for keys, leaf in leaves}
