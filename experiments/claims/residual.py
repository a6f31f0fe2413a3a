"""Published results of residual nets (He et al. 2015) on CIFAR-10."""

from experiments.claims.shared import ERROR, TRAIN_ERROR, near
from experiments.engine.claims import Claim, Published, Rule

TABLE_6 = "He et al. 2015, arXiv 1512.03385, table 6 (read)"
OPEN_SHORT = "an open implementation's run of 10 epochs, one seed (read)"
RECIPE = (
    "From the paper: the mean image subtracted, zero-padded identity shortcuts (A), batch norm, "
    "He-normal weights, momentum 0.9, weight decay of 0.0001 added to the gradient of every "
    "parameter, batches of 128, images shifted by up to 4 and mirrored at random."
)
FULL = (
    " Rate 0.1, a tenth of it after 32,000 and after 48,000 of 64,000 steps: 164 epochs of all "
    "50,000 images have 63,960."
)
CIFAR = {
    "dataset": "cifar10",
    "preprocess": "centre",
    "validation": "0",
    "translate": "4",
    "flip": "random",
    "optimizer": "momentum",
    "momentum": "0.9",
    "learning_rate": "0.1",
    "weight_decay": "1e-4",
    "decay_on": "all",
    "decay_form": "coupled",
    "batch_size": "128",
}
WHOLE = CIFAR | {"schedule": "step", "epochs": "164"}
PLAIN = {"shortcut": "none"}

RESIDUAL = {
    "resnet-cifar10": Claim(
        "ResNet-20 and ResNet-56 on CIFAR-10",
        "resnet",
        RECIPE + FULL,
        rows={"resnet-20": {"depth": "20"}, "resnet-56": {"depth": "56"}},
        rules=(
            near("resnet-20", 8.75, 0.4, TABLE_6),
            near("resnet-56", 6.97, 0.4, TABLE_6),
            Rule("difference", ("resnet-56", "resnet-20"), high=0),
        ),
        quantity=ERROR,
        cost="weeks on 2 CPU cores, hours on a GPU (estimated)",
        config=WHOLE,
        seeds=3,
        needs_gpu=True,
    ),
    "plain-cifar10": Claim(
        "A plain net of 56 layers fits CIFAR-10's training images worse than one of 20",
        "resnet",
        RECIPE + FULL + " The training error is that of the final net on the images as they are.",
        rows={"plain-20": {"depth": "20"} | PLAIN, "plain-56": {"depth": "56"} | PLAIN},
        rules=(Rule("difference", ("plain-56", "plain-20"), low=0),),
        quantity=TRAIN_ERROR,
        cost="weeks on 2 CPU cores, hours on a GPU (estimated)",
        config=WHOLE,
        seeds=3,
        needs_gpu=True,
    ),
    "resnet-cifar10-short": Claim(
        "After 10 epochs of CIFAR-10 a plain net of 56 layers lags, and a residual one does not",
        "resnet",
        RECIPE + " Rate 0.1 throughout, 10 epochs. Plain nets have no shortcuts.",
        rows={
            "plain-20": {"depth": "20"} | PLAIN,
            "plain-56": {"depth": "56"} | PLAIN,
            "resnet-20": {"depth": "20"},
            "resnet-56": {"depth": "56"},
        },
        rules=(
            Rule("mean", ("plain-56",), low=45, published=Published(56.8, "open code", OPEN_SHORT)),
            Rule(
                "mean", ("resnet-56",), high=25, published=Published(18.4, "open code", OPEN_SHORT)
            ),
            Rule("difference", ("plain-56", "plain-20"), low=0),
            Rule("difference", ("resnet-20", "plain-20"), high=0),
        ),
        quantity=ERROR,
        cost="seven hours on 2 CPU cores, an hour on a GPU (estimated)",
        config=CIFAR | {"schedule": "constant", "epochs": "10"},
        seeds=3,
        needs_gpu=True,
    ),
}
