"""Declared studies: a question, a grid, and what is tuned so that the comparison is fair.

`python launch.py study NAME` runs one; its options change the declaration: `--dataset digits`,
`--seeds 20`, `--vary` of the same field.
"""

from experiments.studies.convolutions import CONVOLUTIONS
from experiments.studies.declared import Declared
from experiments.studies.embeddings import EMBEDDINGS
from experiments.studies.perceptrons import PERCEPTRONS
from experiments.studies.recurrent import RECURRENT
from experiments.studies.residual import RESIDUAL

__all__ = ["STUDIES", "Declared"]

STUDIES = {**PERCEPTRONS, **CONVOLUTIONS, **RESIDUAL, **RECURRENT, **EMBEDDINGS}
