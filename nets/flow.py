"""Follows receptive fields through the calls of a net's modules while it is traced."""

import dataclasses
from typing import Any

from nets.geometry import Field, Window

Fields = tuple[Field, ...]


def through(fields: Fields, windows: tuple[Window, ...]) -> Fields:
    """What units see that look at these units through windows, axis by axis."""
    return tuple(field.through(window) for field, window in zip(fields, windows, strict=True))


@dataclasses.dataclass(frozen=True)
class Map:
    """A feature map.

    Attributes:
        shape: without batch and channels.
        fields: what its units see of the first windows' input, one for each axis; None: unknown.
    """

    shape: tuple[int, ...]
    fields: Fields | None


class Flow:
    """The map that the calls have reached, and the maps that were module inputs or outputs.

    An array that no module took or returned (a sum, a function of an output) counts as the map
    reached last. Arrays are known by identity, and kept so that identities stay theirs.
    """

    def __init__(self):
        self.current: Map | None = None
        self.known: dict[int, tuple[Any, Map | None]] = {}

    def enter(self, array: Any, *, aside: bool) -> None:
        """A module is called on an array; aside: on a shortcut, where an unknown one stays so."""
        reached = self.current
        if aside and reached is not None:
            reached = Map(array.shape[1:-1], None)
        self.current = self.known.setdefault(id(array), (array, reached))[1]

    def slide(self, inputs: tuple[int, ...], windows: tuple[Window, ...], output: Any) -> None:
        """Windows took an input with these axes and gave the output."""
        fields = (Field(),) * len(windows)
        if self.current is not None:
            fields = self.current.fields if self.current.shape == inputs else None
        seen = None if fields is None else through(fields, windows)
        self._reach(output, Map(output.shape[1:-1], seen))

    def leave(self, output: Any, *, mixes: bool) -> None:
        """A module without windows gave the output; mixes: positions in an unknown way."""
        reached = self.current
        axes = output.shape[1:-1]
        if reached is not None and (mixes or axes != reached.shape):
            reached = Map(axes, None)
        self._reach(output, reached)

    def _reach(self, output: Any, reached: Map | None) -> None:
        self.current = self.known.setdefault(id(output), (output, reached))[1]
