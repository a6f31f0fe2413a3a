"""Declared studies of perceptrons."""

from experiments.studies.declared import RATES, Declared

EVERY_ACTIVATION = (
    "relu,identity,sigmoid,tanh,hard_tanh,relu6,leaky_relu,prelu,elu,celu,selu,gelu,gelu_tanh,"
    "silu,swish,mish,softplus,softsign,maxout"
)
SMALL = {
    "dataset": "mnist1d",
    "train_size": "500",
    "width": "200,200",
    "learning_rate": "0.003",
    "batch_size": "50",
    "epochs": "100",
}

PERCEPTRONS = {
    "default": Declared(
        "mlp",
        "Which activation and how much dropout, each at its own best learning rate?",
        vary={"activation": "relu,tanh,gelu,silu", "dropout": "0,0.2,0.5"},
        tune={"learning_rate": "1e-3,3e-3,1e-2,3e-2,1e-1"},
        config={"dataset": "mnist1d", "width": "100,100", "epochs": "20"},
    ),
    "activations": Declared(
        "mlp",
        "What does each activation do to a shallow and to a deep net, each at its own best rate?",
        vary={"activation": EVERY_ACTIVATION, "width": "64;64,64,64,64,64,64"},
        tune={"learning_rate": RATES},
        config={"dataset": "digits", "epochs": "20", "batch_size": "50"},
        seeds=5,
    ),
    "regularization": Declared(
        "mlp",
        "Which penalty helps a net that has seen 500 examples? (each at its own best strength)",
        vary={},
        arms={
            "none": {},
            "l2": {"l2": "1e-4|3e-4|1e-3|3e-3|1e-2|3e-2"},
            "l1": {"l1": "3e-5|1e-4|3e-4|1e-3|3e-3|1e-2"},
            "elastic": {"l1": "1e-5|1e-4|1e-3|1e-2", "l2": "1e-4|1e-3|1e-2|1e-1"},
            "dropout": {"dropout": "0.05|0.1|0.2|0.3|0.5|0.7"},
            "max_norm": {"max_norm": "0.25|0.5|1|2|3|4"},
        },
        config=SMALL,
    ),
    "margin": Declared(
        "mlp",
        "Does the margin of the hinge loss matter, or is it fixed by the scale of the weights?",
        vary={"hinge_margin": "1,0.1,10", "l2": "1e-4,1e-3"},
        tune={"learning_rate": f"1e-5,3e-5,{RATES}"},
        config={"dataset": "digits", "width": "()", "loss": "hinge", "init": "zeros"},
    ),
    "initialization": Declared(
        "mlp",
        "How do scheme, scale and depth of the initial weights decide whether a net trains?",
        vary={
            "init": "he_normal,glorot_normal,lecun_normal,normal:0.01,orthogonal",
            "init_scale": "1,0.3,3",
            "width": "64,64;64,64,64,64,64,64,64,64",
        },
        tune={"learning_rate": RATES},
        config={"dataset": "digits", "epochs": "10", "batch_size": "50"},
    ),
    "width": Declared(
        "mlp",
        "How does accuracy grow with the width of a hidden layer?",
        vary={"width": "100;3;10;30;300;1000"},
        tune={"learning_rate": RATES},
    ),
    "preprocessing": Declared(
        "mlp",
        "What do centring, standardising and whitening do for learning?",
        vary={"preprocess": "none,centre,standardise,pca,zca", "width": "();100"},
        tune={"learning_rate": f"{RATES},1"},
        config={"dataset": "digits", "epochs": "20", "batch_size": "50"},
    ),
    "loss": Declared(
        "mlp",
        "Softmax or a hinge?",
        vary={
            "loss": "cross_entropy,hinge,crammer_singer,squared_hinge,sigmoid,squared_error",
            "width": "();100",
        },
        tune={"learning_rate": RATES},
        config={"dataset": "digits", "epochs": "20", "batch_size": "50"},
    ),
    "linearity": Declared(
        "mlp",
        "Is a deep net without nonlinearities more than one matrix, and what does one buy? "
        "(`curvature` in results.csv: 0 for an affine map)",
        vary={"activation": "identity,relu", "width": "();100;100,100,100"},
        tune={"learning_rate": RATES},
        margin=0.02,
    ),
}
