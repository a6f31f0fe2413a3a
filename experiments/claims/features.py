"""Published results of what learned features are worth, and of super-resolution."""

from experiments.claims.shared import ACCURACY, GAIN, RETRIEVAL
from experiments.engine.claims import Claim, Published, Rule

PAPERNOT = "Papernot and McDaniel, arXiv 1803.04765, MNIST: 99.1 against 99.2 % (from memory)"
RECIPE = (
    "Chosen: LeNet-5 with ReLUs and max pooling on all 60,000 training images, pixels centred, "
    "Adam at 0.001 falling to 0 as a cosine, batches of 100, 10 epochs. "
)
NET = {"layers": "6k5 max2 16k5v max2 d120 d84"}
MNIST = {"dataset": "mnist", "validation": "0", "batch_size": "100", "epochs": "10"}

FEATURES = {
    "deep-knn-mnist": Claim(
        "Neighbours among a net's features, and a linear SVM on them, classify MNIST as well as "
        "its softmax",
        "features",
        "The paper lets the neighbours in every layer vote; here those in the last hidden layer "
        "do, and a linear SVM reads it. "
        + RECIPE
        + "5 neighbours by Euclidean distance; an L2 penalty of 0.001 on the SVM. Every row trains "
        "the same nets.",
        rows={"softmax": {}, "knn": {"probe": "knn"}, "svm": {"probe": "svm"}},
        rules=(
            Rule("difference", ("knn", "softmax"), -0.3, 0.3, Published(-0.1, "paper", PAPERNOT)),
            Rule("difference", ("svm", "softmax"), -0.3, 0.3),
        ),
        quantity=ACCURACY,
        cost="17 minutes on 2 CPU cores",
        config=MNIST | NET,
    ),
    "retrieval-mnist": Claim(
        "A search among a net's features finds more images of the same class than one among pixels",
        "features",
        RECIPE + "1,000 test images ask for training images of their class, by Euclidean distance "
        "between last hidden layers, or pixels; mean average precision of the first 100 answers.",
        rows={"features": NET, "pixels": {"layers": "linear"}},
        rules=(Rule("difference", ("features", "pixels"), low=0),),
        quantity=RETRIEVAL,
        cost="seven minutes on 2 CPU cores",
        config=MNIST,
    ),
    "super-resolution-cifar10": Claim(
        "SRCNN and ESPCN upscale better than bicubic interpolation (short form)",
        "super_resolution",
        "Published on Set5, twice as large: SRCNN 36.66 dB, bicubic 33.66 dB (Dong et al., arXiv "
        "1501.00092; from memory). Here 10,000 training images of CIFAR-10, luma, 16x16 to 32x32; "
        "layers and activations as published, ESPCN's with tanh (Shi et al., arXiv 1609.05158). "
        "Chosen: Adam at 0.001 falling to 0 as a cosine for all layers, batches of 16 whole "
        "images, 10 epochs, He initialisation.",
        rows={
            "srcnn": {"layers": "64k9 32k1", "upscale": "start", "last_kernel": "5"},
            "espcn": {"layers": "64k5 32k3", "upscale": "end", "activation": "tanh"},
        },
        rules=(Rule("mean", ("srcnn",), low=0.5), Rule("mean", ("espcn",), low=0.5)),
        quantity=GAIN,
        cost="ten minutes on 2 CPU cores",
        config={
            "dataset": "cifar10",
            "validation": "0",
            "train_size": "10000",
            "batch_size": "16",
            "epochs": "10",
        },
    ),
}
