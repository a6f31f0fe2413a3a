"""Declared studies of convolutional nets, one-dimensional ones on MNIST-1D but where said."""

from experiments.studies.declared import Declared

RATES = "1e-3,3e-3,1e-2,3e-2,1e-1"
SMALL = {
    "dataset": "mnist1d",
    "train_size": "500",
    "batch_size": "50",
    "epochs": "40",
    "layers": "25k5s2p1 25k3s2p1 25k3s2p1 d50",
}


def _layers(**spelled: str) -> dict[str, dict[str, str]]:
    """An arm for each net."""
    return {name: {"layers": layers} for name, layers in spelled.items()}


CONVOLUTIONS = {
    "kernel_size": Declared(
        "convnet",
        "One 7x7 or three 3x3, which see as much? (`parameters` below; digits of 8x8; the wide one "
        "has about the parameters of the 7x7)",
        vary={},
        arms=_layers(
            one_7x7="16k3 16k7 global",
            a_5x5_and_a_3x3="16k3 16k5 16k3 global",
            three_3x3="16k3 16k3 16k3 16k3 global",
            three_3x3_wide="16k3 22k3 22k3 22k3 global",
        ),
        tune={"learning_rate": RATES},
        config={"dataset": "digits", "train_size": "300", "batch_size": "50", "epochs": "40"},
    ),
    "stride_padding": Declared(
        "convnet",
        "What do stride and padding do, at equal parameters?",
        vary={},
        arms=_layers(
            stride_1_padded="16k5 16k5 16k5 global",
            stride_1_valid="16k5v 16k5v 16k5v global",
            stride_2_padded="16k5s2 16k5s2 16k5s2 global",
            stride_2_valid="16k5s2v 16k5s2v 16k5s2v global",
            stride_3_padded="16k5s3 16k5s3 16k5s3 global",
        ),
        tune={"learning_rate": RATES},
        config={"epochs": "20"},
    ),
    "filters": Declared(
        "convnet",
        "How many filters, and should they grow as the maps shrink?",
        vary={},
        arms=_layers(
            all_16="16k5s2 16k3s2 16k3s2",
            all_4="4k5s2 4k3s2 4k3s2",
            all_8="8k5s2 8k3s2 8k3s2",
            all_32="32k5s2 32k3s2 32k3s2",
            growing="8k5s2 16k3s2 32k3s2",
            shrinking="32k5s2 16k3s2 8k3s2",
        ),
        tune={"learning_rate": RATES},
        config={"epochs": "10"},
    ),
    "pooling": Declared(
        "convnet",
        "Which pooling, or a stride, or none?",
        vary={},
        arms=_layers(
            max="16k5 max2 16k3 max2 16k3 max2",
            average="16k5 avg2 16k3 avg2 16k3 avg2",
            overlapping="16k5 max3s2p1 16k3 max3s2p1 16k3 max3s2p1",
            stride="16k5s2 16k3s2 16k3s2",
            none="16k5 16k3 16k3",
            global_average="16k5 max2 16k3 max2 16k3 global",
        ),
        tune={"learning_rate": RATES},
        config={"epochs": "20"},
    ),
    "weight_sharing": Declared(
        "convnet",
        "Weights shared over positions, each position its own, or everything connected (as many "
        "units in each layer)? And if the positions are shuffled?",
        vary={"permute": "false,true"},
        arms=_layers(
            shared="16k5s2p1 16k3s2p1 16k3s2p1",
            unshared="16k5s2p1u 16k3s2p1u 16k3s2p1u",
            dense="d304 d160 d80",
        ),
        tune={"learning_rate": f"3e-4,{RATES}"},
        config={"epochs": "20"},
    ),
    "conv_activations": Declared(
        "convnet",
        "Which activation in a convolutional net, each at its own best rate?",
        vary={"activation": "relu,identity,sigmoid,tanh,elu,gelu"},
        tune={"learning_rate": RATES},
        config={"layers": "16k5s2 16k3s2 16k3s2", "epochs": "10"},
    ),
    "conv_regularization": Declared(
        "convnet",
        "What helps a convolutional net that has seen 500 examples, each at its best strength?",
        vary={},
        arms={
            "none": {},
            "l2": {"l2": "1e-4|1e-3|1e-2"},
            "dropout_dense": {"dropout": "0.3|0.5|0.7", "dropout_at": "dense"},
            "dropout_conv": {"dropout": "0.03|0.1|0.2", "dropout_at": "conv"},
            "translate": {"translate": "1|3|8|16"},
            "cutout": {"cutout": "5|10|20"},
            "mixup": {"mixup": "0.3|1|3"},
        },
        tune={"learning_rate": "1e-2,3e-2,1e-1"},
        config=SMALL,
    ),
    "normalization": Declared(
        "convnet",
        "Which normalisation, each at its own best rate? (34 filters: 17 groups)",
        vary={"norm": "none,local_response,batch,layer,group"},
        tune={"learning_rate": "3e-3,1e-2,3e-2,1e-1"},
        config={"layers": "34k5s2 34k3s2 34k3s2", "epochs": "10"},
    ),
    "stem": Declared(
        "convnet",
        "A stem of 11 with stride 4, or stacked 3s that see as much in the same steps?",
        vary={},
        arms=_layers(
            of_11_stride_4="32k11s4p5 32k3 max2 32k3",
            of_7_stride_2_pooled="32k7s2p3 max3s2p1 32k3 max2 32k3",
            stacked_3="32k3p1 32k3p1 32k3s2p1 32k3s2p1 32k3 max2 32k3",
            stacked_3_narrow="4k3p1 4k3p1 4k3s2p1 32k3s2p1 32k3 max2 32k3",
        ),
        tune={"learning_rate": RATES},
        config={"epochs": "20"},
    ),
    "deep_features": Declared(
        "features",
        "Do nearest neighbours and a linear SVM do as well on learned features as the net's own "
        "output, and better than on the inputs (linear)?",
        vary={"layers": "auto,linear"},
        arms={
            "output": {},
            "knn": {"probe": "knn"},
            "svm": {"probe": "svm", "svm_strength": "1e-6|1e-5|1e-4|1e-3|1e-2"},
        },
        tune={"learning_rate": RATES},
        config={"dataset": "mnist1d", "epochs": "20"},
        margin=0.01,
    ),
    "upscaling": Declared(
        "super_resolution",
        "Upscale first or last, and the whole image or only what bicubic interpolation misses? "
        "(digits of 4x4 to 8x8; `gain` below is over bicubic)",
        vary={"upscale": "end,start", "skip": "false,true"},
        tune={"learning_rate": "1e-4,3e-4,1e-3,3e-3,1e-2,3e-2"},
        config={"layers": "32k3 16k3", "epochs": "40"},
    ),
    "box_loss": Declared(
        "detection",
        "What should boxes be trained by, and how many cells should answer for an object?",
        vary={"box_loss": "l1,iou,giou", "assign": "centre,inside"},
        tune={"learning_rate": "3e-3,1e-2,3e-2,1e-1"},
        config={"epochs": "20"},
    ),
}
