"""Published results, the recipes that should give them, and when they count as reproduced.

`python launch.py claim` lists them, `python launch.py claim NAME` runs one. Sources say how a
number was checked: *read* in the publication or its repository, *transcribed* by somebody else,
*derived* by mathematics, or *from memory*. Bounds were set before the claim was run.
"""

from experiments.claims.convolutions import CONVOLUTIONS
from experiments.claims.embeddings import EMBEDDINGS
from experiments.claims.features import FEATURES
from experiments.claims.perceptrons import PERCEPTRONS
from experiments.claims.recurrent import RECURRENT
from experiments.claims.residual import RESIDUAL

CLAIMS = {**PERCEPTRONS, **CONVOLUTIONS, **FEATURES, **RESIDUAL, **RECURRENT, **EMBEDDINGS}
