"""The toy with parameters that are selected: the best of all evaluations, of an average."""

import dataclasses

from experiments.engine import main
from experiments.engine.selection import Selection
from tests.engine import toy


@dataclasses.dataclass(frozen=True)
class Config(toy.Config):
    """How a line is fitted, and what of it is kept.

    Attributes:
        selection: which parameters are evaluated.
    """

    selection: Selection = Selection()


SELECTIVE = dataclasses.replace(
    toy.TOY, name="selective", config=Config(), selection=lambda config: config.selection
)

if __name__ == "__main__":
    main(SELECTIVE)
