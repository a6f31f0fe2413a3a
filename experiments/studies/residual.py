"""Declared studies of residual nets, one-dimensional ones on MNIST-1D."""

from experiments.studies.declared import Declared

RESIDUAL = {
    "depth": Declared(
        "resnet",
        "What does depth do to a net without and with shortcuts, each at its own best rate?",
        vary={"depth": "8,20,56", "shortcut": "none,A"},
        tune={"learning_rate": "3e-3,1e-2,3e-2,1e-1,3e-1"},
        config={"dataset": "mnist1d", "width": "8", "epochs": "10"},
        seeds=5,
    ),
}
