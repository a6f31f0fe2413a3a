"""What a declared study is."""

import dataclasses
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True)
class Declared:
    """A study spelled as on the command line.

    Attributes:
        experiment: the experiment it belongs to.
        question: what it asks, printed above the answer.
        vary: factor -> levels, the reference first.
        arms: levels of the factor "arm", each with fields of its own; `a|b` is tuned.
        tune: nuisance field -> grid.
        config: config fields that differ from the experiment's defaults.
        seeds: reporting seeds.
        margin: differences smaller than this count as equivalent.
        diagnose: record gradients and activations.
    """

    experiment: str
    question: str
    vary: Mapping[str, str]
    arms: Mapping[str, Mapping[str, str]] = dataclasses.field(default_factory=dict)
    tune: Mapping[str, str] = dataclasses.field(default_factory=dict)
    config: Mapping[str, str] = dataclasses.field(default_factory=dict)
    seeds: int = 10
    margin: float | None = None
    diagnose: bool = False


RATES = "1e-4,3e-4,1e-3,3e-3,1e-2,3e-2,1e-1,3e-1"
