"""Published results, the recipes that should give them, and when they count as reproduced.

`python launch.py claim` lists them, `python launch.py claim NAME` runs one. Sources say how a
number was checked: *read* in the publication or its repository, *transcribed* by somebody else, or
*from memory*. Bounds were set before the claim was run.
"""

from collections.abc import Sequence

from experiments.engine.claims import Claim, Line, Published, Quantity, Rule


def _accuracy(lines: Sequence[Line]) -> float:
    return 100 * lines[-1]["test_accuracy"]


def _error(lines: Sequence[Line]) -> float:
    return 100 - 100 * lines[-1]["test_accuracy"]


ACCURACY = Quantity("test accuracy", "%", _accuracy, worst=10.0, decimals=1)
ERROR = Quantity("test error", "%", _error, worst=90.0)

MNIST1D_PAPER = (
    "Greydanus and Kobak, ICML 2024, arXiv 2011.14439: abstract of version 1, table 1 (read)"
)
MNIST1D_CODE = (
    "github.com/greydanus/mnist1d, notebooks/mnist1d-classification.ipynb, printed at step 6000, "
    "one seed (read)"
)
MNIST1D_RECIPE = (
    "As in the authors' notebook: 4,000 training rows in batches of 100 in the order of the file, "
    "Adam at 0.01, 6,000 steps, cross-entropy, weights and biases U(-1/sqrt(fan-in), "
    "1/sqrt(fan-in)); no validation rows."
)
MNIST1D = {
    "dataset": "mnist1d",
    "preprocess": "none",
    "validation": "0",
    "order": "file",
    "optimizer": "adam",
    "learning_rate": "0.01",
    "schedule": "constant",
    "batch_size": "100",
    "epochs": "150",
    "init": "fan_in_uniform",
    "bias_init": "fan_in_uniform",
}

CLAIMS = {
    "mnist1d-linear": Claim(
        "A linear classifier on MNIST-1D",
        "mlp",
        MNIST1D_RECIPE,
        rows={"linear": {"width": "()"}},
        rules=(
            Rule("mean", ("linear",), 30.5, 32.5, Published(31.5, "authors' code", MNIST1D_CODE)),
            Rule("mean", ("linear",), 31, 33, Published(32, "paper", MNIST1D_PAPER)),
        ),
        quantity=ACCURACY,
        cost="seconds on a CPU",
        config=MNIST1D,
    ),
    "mnist1d-mlp": Claim(
        "A perceptron of two hidden layers of 100, the second with a skip connection, on MNIST-1D",
        "mlp",
        MNIST1D_RECIPE + " The second hidden layer's output is added to its input.",
        rows={"mlp": {"width": "100,100", "skip": "true"}},
        rules=(
            Rule("mean", ("mlp",), 62, 68, Published(65.1, "authors' code", MNIST1D_CODE)),
            Rule("mean", ("mlp",), 65, 71, Published(68, "paper", MNIST1D_PAPER)),
        ),
        quantity=ACCURACY,
        cost="a minute on a CPU",
        config=MNIST1D,
    ),
}
