"""Published results of convolutional nets."""

from experiments.claims.shared import (
    ACCURACY,
    ERROR,
    MNIST1D,
    MNIST1D_CODE,
    MNIST1D_PAPER,
    MNIST1D_RECIPE,
    MNIST1D_TABLE,
    QUARTER,
)
from experiments.engine.claims import Claim, Published, Rule

MNIST1D_NOTEBOOK = MNIST1D_CODE + ", shuffled positions"

KRIZHEVSKY = "Krizhevsky et al., NIPS 2012, figure 1 and its caption (read)"
GELU_CIFAR = "Hendrycks and Gimpel, arXiv 1606.08415, section on CIFAR-10, medians of three (read)"

CONVOLUTIONS = {
    "mnist1d-cnn": Claim(
        "Three convolutions on MNIST-1D, and on its positions shuffled",
        "convnet",
        MNIST1D_RECIPE
        + " 25 filters of 5, 3 and 3, stride 2, padding 1. Shuffled: one permutation of the "
        "positions for all rows and seeds (ours, not the authors').",
        rows={"cnn": {}, "shuffled": {"permute": "true"}},
        rules=(
            Rule("mean", ("cnn",), 91, 95, Published(92.3, "authors' code", MNIST1D_CODE)),
            Rule("mean", ("cnn",), 91, 95, Published(94, "paper", MNIST1D_PAPER)),
            Rule("mean", ("shuffled",), 52, 62, Published(58.7, "authors' code", MNIST1D_NOTEBOOK)),
            Rule("mean", ("shuffled",), 52, 62, Published(56, "paper", MNIST1D_TABLE)),
        ),
        quantity=ACCURACY,
        cost="two minutes on 2 CPU cores",
        config=MNIST1D | {"layers": "25k5s2p1 25k3s2p1 25k3s2p1"},
    ),
    "relu-tanh": Claim(
        "ReLUs reach 25 % training error on CIFAR-10 several times faster than tanh (short form)",
        "convnet",
        "The paper trains a net of four layers without regularisation, each activation at the rate "
        "that is fastest for it, and publishes neither the net nor the rates. Chosen, small enough "
        "for a CPU: three convolutions with pooling and a linear layer, Adam at a constant rate, "
        "batches of 100, and 9,000 of the images to learn. The rate of each row is the one with "
        "the best validation accuracy. The training error is that of an epoch's batches as they "
        "are trained on.",
        rows={
            "tanh": {"activation": "tanh", "learning_rate": "3e-4|1e-3|3e-3"},
            "relu": {"activation": "relu", "learning_rate": "3e-4|1e-3|3e-3"},
        },
        rules=(
            Rule("ratio", ("tanh", "relu"), low=3, published=Published(6, "paper", KRIZHEVSKY)),
        ),
        quantity=QUARTER,
        cost="40 minutes on 2 CPU cores (estimated)",
        config={
            "dataset": "cifar10",
            "preprocess": "centre",
            "train_size": "9000",
            "layers": "16k5 max2 16k5 max2 32k5 max2",
            "optimizer": "adam",
            "schedule": "constant",
            "batch_size": "100",
            "epochs": "60",
        },
        seeds=3,
        tune_seeds=1,
        evaluate_every=1,
    ),
    "gelu-cifar": Claim(
        "A net of nine convolutions with GELUs, ReLUs and ELUs on CIFAR-10",
        "convnet",
        "As in the paper and its repository: whitened images (ZCA) with Gaussian noise of 0.15, "
        "batch norm everywhere, dropout of 0.5 after pooling, Adam at 0.001, falling linearly to 0 "
        "from epoch 100 to 200, batches of 100, no augmentation. Another than theirs: Adam's "
        "first-moment decay stays 0.9, where theirs is 0.5 from epoch 100; five seeds, not three, "
        "so that a median has an interval. Not in it, chosen: He-normal weights, our epsilon of "
        "whitening.",
        rows={"gelu": {"activation": "gelu"}, "relu": {}, "elu": {"activation": "elu"}},
        rules=(
            Rule("median", ("gelu",), 7.49, 8.29, Published(7.89, "paper", GELU_CIFAR)),
            Rule("median", ("relu",), 7.76, 8.56, Published(8.16, "paper", GELU_CIFAR)),
            Rule("median", ("elu",), 8.01, 8.81, Published(8.41, "paper", GELU_CIFAR)),
            Rule("difference", ("gelu", "relu"), high=0),
        ),
        quantity=ERROR,
        cost="weeks on 2 CPU cores, hours on a GPU (estimated)",
        config={
            "dataset": "cifar10",
            "preprocess": "zca",
            "validation": "0",
            "noise": "0.15",
            "layers": ("96k3 96k3 96k3 max2 192k3 192k3 192k3 max2 192k3v 192k1 192k1 global"),
            "norm": "batch",
            "dropout": "0.5",
            "dropout_at": "pool",
            "optimizer": "adam",
            "learning_rate": "0.001",
            "schedule": "linear",
            "warmup": "0.5",
            "start_factor": "1",
            "batch_size": "100",
            "epochs": "200",
        },
        evaluate_every=10,
        needs_gpu=True,
    ),
}
