"""Named choices (an activation, an initializer): real values that a command line can spell."""

import dataclasses
import difflib
import math
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

OptionT = TypeVar("OptionT", bound="Option")


@dataclasses.dataclass(frozen=True)
class Option:
    """A named function together with the numbers it is called with.

    Two options are equal when their name, function and numbers are, so a config that holds one
    can be hashed and compared. `str(option)` is the spelling `parse_option` reads back:
    `name`, `name:0.2` or `name:0.2:3`.
    """

    name: str
    function: Callable[..., Any]
    parameters: tuple[float, ...] = ()

    def __str__(self) -> str:
        return ":".join([self.name, *(spell_number(value) for value in self.parameters)])


def spell_number(value: float) -> str:
    """The shortest text that reads back as the same number: `0.2`, `1`, `0.123456789`."""
    return f"{value:g}" if float(f"{value:g}") == value else repr(float(value))


def parse_option(text: str, table: Mapping[str, OptionT]) -> OptionT:
    """Reads `name` or `name:number[:number...]` as an entry of `table`.

    Raises:
        ValueError: unknown name (the nearest one is offered), or numbers that do not fit.
    """
    name, *numbers = text.strip().split(":")
    if name not in table:
        near = difflib.get_close_matches(name, table, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(table)}"
        raise ValueError(f"unknown name {name!r}; {hint}")
    option = table[name]
    if not numbers:
        return option
    if len(numbers) != len(option.parameters):
        takes = len(option.parameters)
        raise ValueError(f"{name!r} takes {takes} number(s), not {len(numbers)}, in {text!r}")
    try:
        parameters = tuple(float(number) for number in numbers)
    except ValueError:
        raise ValueError(f"{text!r}: what follows {name!r} must be numbers") from None
    if not all(map(math.isfinite, parameters)):
        raise ValueError(f"{text!r}: numbers must be finite")
    return dataclasses.replace(option, parameters=parameters)
