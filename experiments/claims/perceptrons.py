"""Published results of perceptrons."""

from experiments.claims.shared import (
    ACCURACY,
    ERROR,
    MNIST1D,
    MNIST1D_CODE,
    MNIST1D_PAPER,
    MNIST1D_RECIPE,
    MNIST1D_TABLE,
    near,
)
from experiments.engine.claims import Claim, Published, Rule

MLP = {"width": "100,100", "skip": "true"}

DROPOUT_TABLE_2 = "Srivastava et al., JMLR 15, 2014, table 2 (transcribed)"
DROPOUT_TABLE_9 = "Srivastava et al., JMLR 15, 2014, table 9 (transcribed)"
DROPOUT_RECIPE = (
    "From the paper: keep 0.8 of the inputs and 0.5 of the hidden units, incoming weights of every "
    "unit of norm 2 at most, momentum 0.95, 1,000,000 updates, trained on all 60,000 images. Not "
    "in the paper, chosen: rate 0.01 falling linearly to 0, batches of 128, He-uniform weights, "
    "pixels in [0, 1]."
)
DROPOUT_MNIST = {
    "dataset": "mnist",
    "preprocess": "none",
    "validation": "0",
    "optimizer": "momentum",
    "momentum": "0.95",
    "learning_rate": "0.01",
    "schedule": "linear",
    "batch_size": "128",
    "epochs": "2137",
    "init": "he_uniform",
}
DROPOUT = {"dropout": "0.5", "input_dropout": "0.2"}
MAX_NORM = {"max_norm": "2"}
BOTH = "dropout with max-norm"

GELU_SOURCE = "Hendrycks and Gimpel, arXiv 1606.08415, an early version (transcribed)"
TANG_SOURCE = "Tang 2013, arXiv 1306.0239, section on MNIST (transcribed)"
TANG_RECIPE = (
    "From the paper, as transcribed: 70 principal components, two hidden layers of 512, 300 "
    "batches of 200, 400 epochs, momentum, Gaussian noise of standard deviation 1 on the input; "
    "from memory: rate 0.1 and noise falling linearly to 0, weight cost 0.001 on the last layer. "
    "Not in it, chosen: momentum 0.9, ReLU, He-normal weights, components not whitened, and rate "
    "0.01 under the SVM (a weight of 0.1 on its loss): at 0.1 it diverges within five steps."
)
TANG = {
    "dataset": "mnist",
    "preprocess": "principal",
    "components": "70",
    "validation": "0",
    "optimizer": "momentum",
    "momentum": "0.9",
    "learning_rate": "0.1",
    "schedule": "linear",
    "batch_size": "200",
    "epochs": "400",
    "width": "512,512",
    "input_noise": "1",
    "input_noise_schedule": "linear",
    "l2": "0.0005",
    "penalise": "output",
}
TANG_ROWS = {
    "softmax": {"loss": "cross_entropy"},
    "svm": {"loss": "squared_hinge", "learning_rate": "0.01"},
}

PERCEPTRONS = {
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
        rows={"mlp": MLP},
        rules=(
            Rule("mean", ("mlp",), 62, 68, Published(65.1, "authors' code", MNIST1D_CODE)),
            Rule("mean", ("mlp",), 65, 71, Published(68, "paper", MNIST1D_PAPER)),
        ),
        quantity=ACCURACY,
        cost="a minute on a CPU",
        config=MNIST1D,
    ),
    "mnist1d-mlp-shuffled": Claim(
        "The same perceptron does not mind shuffled positions",
        "mlp",
        MNIST1D_RECIPE
        + " The second hidden layer's output is added to its input. Shuffled: one permutation of "
        "the positions for all rows and seeds (ours, not the authors').",
        rows={"mlp": MLP, "shuffled": {**MLP, "permute": "true"}},
        rules=(
            Rule("difference", ("shuffled", "mlp"), -3, 3, Published(0, "paper", MNIST1D_TABLE)),
        ),
        quantity=ACCURACY,
        cost="two minutes on a CPU",
        config=MNIST1D,
    ),
    "dropout-mnist": Claim(
        "Dropout, and dropout with max-norm, in nets of 3 x 1024 ReLUs on MNIST",
        "mlp",
        DROPOUT_RECIPE,
        rows={"dropout": DROPOUT, BOTH: DROPOUT | MAX_NORM},
        rules=(
            near("dropout", 1.25, 0.15, DROPOUT_TABLE_2),
            near(BOTH, 1.06, 0.15, DROPOUT_TABLE_2),
            Rule("difference", (BOTH, "dropout"), high=0),
        ),
        quantity=ERROR,
        cost="a day on 2 CPU cores, about an hour on a GPU (estimated)",
        config=DROPOUT_MNIST | {"width": "1024,1024,1024"},
        seeds=3,
        evaluate_every=100,
        needs_gpu=True,
    ),
    "dropout-mnist-wide": Claim(
        "Dropout with max-norm in a net of 2 x 8192 ReLUs on MNIST",
        "mlp",
        DROPOUT_RECIPE,
        rows={BOTH: DROPOUT | MAX_NORM},
        rules=(near(BOTH, 0.95, 0.15, DROPOUT_TABLE_2),),
        quantity=ERROR,
        cost="weeks on 2 CPU cores, about 2 hours on a GPU (estimated)",
        config=DROPOUT_MNIST | {"width": "8192,8192"},
        seeds=3,
        evaluate_every=100,
        needs_gpu=True,
    ),
    "dropout-mnist-regularizers": Claim(
        "Max-norm without and with dropout in a net of 1024, 1024 and 2048 ReLUs on MNIST",
        "mlp",
        DROPOUT_RECIPE + " The rows with L2 are left out: their strength was not published.",
        rows={"max-norm": MAX_NORM, BOTH: DROPOUT | MAX_NORM},
        rules=(
            near("max-norm", 1.35, 0.15, DROPOUT_TABLE_9),
            near(BOTH, 1.05, 0.15, DROPOUT_TABLE_9),
            Rule("difference", (BOTH, "max-norm"), high=0),
        ),
        quantity=ERROR,
        cost="two days on 2 CPU cores, about an hour on a GPU (estimated)",
        config=DROPOUT_MNIST | {"width": "1024,1024,2048"},
        seeds=3,
        evaluate_every=100,
        needs_gpu=True,
    ),
    "dropout-mnist-short": Claim(
        "Dropout with max-norm on MNIST, short form: 3 x 512 ReLUs, 40 epochs",
        "mlp",
        DROPOUT_RECIPE + " Shortened to half the width and 18,720 updates, with bounds of its own.",
        rows={"plain": {}, BOTH: DROPOUT | MAX_NORM},
        rules=(
            Rule("mean", (BOTH,), 0.9, 1.45, Published(1.06, "paper", DROPOUT_TABLE_2)),
            Rule("difference", (BOTH, "plain"), high=-0.15),
        ),
        quantity=ERROR,
        cost="20 minutes on 2 CPU cores",
        config=DROPOUT_MNIST | {"width": "512,512,512", "epochs": "40"},
    ),
    "gelu-mnist": Claim(
        "A net of 8 x 128 ReLUs with tuned dropout on MNIST",
        "mlp",
        "As in the authors' repository: Adam, batches of 128, 50 epochs, normal weights scaled to "
        "unit norm over a unit's inputs, zero biases, pixels in [0, 1], rate and dropout chosen on "
        "5,000 validation images, median of five runs. Chosen: three seeds for the tuning.",
        rows={"relu": {"learning_rate": "1e-3|1e-4|1e-5", "dropout": "0|0.25|0.5"}},
        rules=(Rule("median", ("relu",), 1.85, 2.35, Published(2.10, "paper", GELU_SOURCE)),),
        quantity=ERROR,
        cost="half an hour on 2 CPU cores",
        config={
            "dataset": "mnist",
            "preprocess": "none",
            "validation": "0.08333333",
            "optimizer": "adam",
            "schedule": "constant",
            "batch_size": "128",
            "epochs": "50",
            "width": "128,128,128,128,128,128,128,128",
            "init": "unit_norm",
        },
    ),
    "l2svm-mnist": Claim(
        "An L2-SVM in place of the softmax on MNIST",
        "mlp",
        TANG_RECIPE,
        rows=TANG_ROWS,
        rules=(
            near("svm", 0.87, 0.15, TANG_SOURCE),
            Rule("difference", ("svm", "softmax"), high=0),
        ),
        quantity=ERROR,
        cost="an hour and a half on 2 CPU cores",
        config=TANG,
    ),
    "l2svm-mnist-short": Claim(
        "An L2-SVM in place of the softmax on MNIST, short form: 100 epochs",
        "mlp",
        TANG_RECIPE + " Shortened to 30,000 updates, with bounds of its own.",
        rows=TANG_ROWS,
        rules=(
            Rule("mean", ("svm",), 0.72, 1.20, Published(0.87, "paper", TANG_SOURCE)),
            Rule("difference", ("svm", "softmax"), high=0),
        ),
        quantity=ERROR,
        cost="10 minutes on 2 CPU cores",
        config=TANG | {"epochs": "100"},
    ),
}
