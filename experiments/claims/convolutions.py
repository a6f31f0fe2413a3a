"""Published results of convolutional nets."""

import dataclasses

from experiments.claims.shared import (
    ACCURACY,
    ERROR,
    MNIST1D,
    MNIST1D_CODE,
    MNIST1D_PAPER,
    MNIST1D_RECIPE,
    MNIST1D_TABLE,
    QUARTER,
    near,
)
from experiments.engine.claims import Claim, Published, Rule

MNIST1D_NOTEBOOK = MNIST1D_CODE + ", shuffled positions"

KRIZHEVSKY = "Krizhevsky et al., NIPS 2012, figure 1 and its caption (read)"
GELU_CIFAR = "Hendrycks and Gimpel, arXiv 1606.08415, section on CIFAR-10, medians of three (read)"

AIRBENCH = (
    "Jordan, arXiv 2404.00498; github.com/KellerJordan/cifar10-airbench, legacy/airbench94.py, "
    "mean of 1,000 runs (read)"
)
AIRBENCH_RECIPE = (
    "As in the author's code, which takes 3.83 s on one A100 (3.09 s compiled); that code adds the "
    "losses of a batch up, so its rate of 11.5 / (1024 (1 + 1 / 0.15)) is 1.5 here, where they are "
    "averaged, and its decay 0.0153 / 11.5. Another than theirs: 10 whole epochs (480 steps), not "
    "9.9 (476); bfloat16 in products and activations alone, not float16 everywhere but in batch "
    "norm; the look-ahead averages parameters, not batch statistics; running variances are of the "
    "batch, not corrected for its size; the filters are of 5,000 training images drawn by the "
    "seed, not of the first. Accepted within 0.3 points: by the author's t-test (p < 0.0001 for a "
    "mean below 94 %) runs differ by a standard deviation of 0.13 at most, so the 90 % interval of "
    "five runs reaches 0.12 points to both sides, and 0.18 are left for what differs."
)

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
        cost="an hour and a half on 2 CPU cores",
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
        "from epoch 100 to 200, its first-moment decay 0.9 and from epoch 100 on 0.5, batches of "
        "100, no augmentation. Another than theirs: five seeds, not three, so that a median has an "
        "interval. Not in it, chosen: He-normal weights, our epsilon of whitening.",
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
            "momentum_after": "0.5",
            "batch_size": "100",
            "epochs": "200",
        },
        evaluate_every=10,
        needs_gpu=True,
    ),
    "airbench94": Claim(
        "94 % on CIFAR-10 in ten epochs, seconds on a GPU",
        "convnet",
        AIRBENCH_RECIPE,
        rows={"airbench94": {}},
        rules=(near("airbench94", 94.01, 0.3, AIRBENCH),),
        quantity=dataclasses.replace(ACCURACY, decimals=2),
        cost="nine hours on 2 CPU cores, minutes on a GPU (estimated)",
        config={
            "dataset": "cifar10",
            "preprocess": "standardise_channel",
            "validation": "0",
            "flip": "alternating",
            "translate": "2",
            "fill": "reflect",
            "layers": "airbench94",
            "activation": "gelu",
            "init": "dirac",
            "norm": "batch",
            "norm_scale": "false",
            "norm_momentum": "0.6",
            "norm_epsilon": "1e-12",
            "patch_epsilon": "5e-4",
            "patch_bias_epochs": "3",
            "output_bias": "false",
            "output_scale": "0.11111111",
            "test_views": "shift",
            "compute_dtype": "bfloat16",
            "label_smoothing": "0.2",
            "optimizer": "nesterov",
            "momentum": "0.85",
            "learning_rate": "1.5",
            "weight_decay": "0.00133043",
            "decay_on": "all",
            "decay_form": "coupled",
            "bias_rate": "64",
            "bias_rate_on": "norm",
            "schedule": "triangle",
            "warmup": "0.23",
            "start_factor": "0.2",
            "end_factor": "0.07",
            "lookahead": "5",
            "batch_size": "1024",
            "epochs": "10",
        },
        needs_gpu=True,
    ),
}
