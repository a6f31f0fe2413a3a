"""Published results of recurrent nets."""

import functools
from collections.abc import Sequence

from experiments.claims.shared import (
    ACCURACY,
    MNIST1D,
    MNIST1D_CODE,
    MNIST1D_PAPER,
    MNIST1D_RECIPE,
    MNIST1D_TABLE,
)
from experiments.engine.claims import Claim, Line, Published, Quantity, Rule

MNIST1D_NOTEBOOK = MNIST1D_CODE + ", shuffled positions"
CONSTANT = "the variance of the sum of two numbers from U(0, 1), 2/12 (derived)"
WITHOUT_MEMORY = (
    "10 ln 8 / (T + 20): Arjovsky et al. 2016, arXiv 1511.06464, section 5.1 (transcribed)"
)
TUTORIAL = (
    "github.com/tensorflow/models, tutorials/rnn/ptb/ptb_word_lm.py, the small configuration in "
    "the head of the file (read)"
)
COOIJMANS = "Cooijmans et al. 2017, arXiv 1603.09025, table 1 (transcribed)"
TRANSFORMER = (
    "github.com/karpathy/nanoGPT, README: best validation loss of its small character transformer "
    "(read)"
)


def _loss(name: str, lines: Sequence[Line]) -> float:
    return lines[-1][name]


def _held_out(lines: Sequence[Line]) -> float:
    """The loss of the last 10 % of the text, whose halves are the two splits."""
    return (lines[-1]["validation_loss"] + lines[-1]["test_loss"]) / 2


SQUARED_ERROR = Quantity(
    "squared error", "", functools.partial(_loss, "test_loss"), worst=1 / 6, decimals=4
)
NATS_A_STEP = Quantity("loss", "nats a step", functools.partial(_loss, "test_loss"), decimals=4)
HELD_OUT = Quantity("loss of the last 10 %", "nats a character", _held_out, decimals=3)
PERPLEXITY = Quantity("test perplexity", "", functools.partial(_loss, "test_perplexity"))

ADDING = {
    "task": "adding",
    "length": "200",
    "train_rows": "100000",
    "test_rows": "10000",
    "validation": "0",
    "width": "128",
    "optimizer": "rmsprop",
    "learning_rate": "0.001",
    "second_moment": "0.9",
    "clip": "none",
    "clip_value": "1",
    "schedule": "constant",
    "batch_size": "20",
    "epochs": "4",
}
SEQUENTIAL = {
    "dataset": "mnist",
    "preprocess": "none",
    "element": "pixel",
    "validation": "0",
    "width": "100",
    "recurrent_init": "identity",
    "init": "orthogonal",
    "optimizer": "rmsprop_momentum",
    "learning_rate": "0.001",
    "momentum": "0.9",
    "second_moment": "0.9",
    "clip": "1",
    "schedule": "constant",
    "batch_size": "100",
    "epochs": "200",
}

RECURRENT = {
    "adding": Claim(
        "An LSTM solves the adding task over 200 steps, a plain recurrent net does not",
        "memory",
        "100,000 sequences of 200 numbers, two of them marked; 128 units; RMSProp at 0.001 with "
        "decay 0.9, batches of 20, each number of the gradient clipped at 1; 20,000 steps. A net "
        "that always says 1 has a squared error of 1/6. The common recipe, from memory.",
        rows={
            "lstm": {},
            "lstm, bias 0": {"forget_bias": "0"},
            "rnn": {"cell": "rnn"},
        },
        rules=(
            Rule("mean", ("lstm",), high=0.01),
            Rule("mean", ("rnn",), 0.15, 0.2, Published(1 / 6, "mathematics", CONSTANT)),
            Rule("difference", ("lstm, bias 0", "lstm"), low=0),
        ),
        quantity=SQUARED_ERROR,
        cost="an hour on 2 CPU cores (estimated)",
        config=ADDING,
        seeds=3,
        evaluate_every=1,
    ),
    "copy": Claim(
        "An LSTM copies ten symbols over 30 blanks, a plain recurrent net with ReLUs does not",
        "memory",
        "Ten of eight symbols, 30 blanks, then the ten in their order. Without memory the loss is "
        "10 ln 8 / (T + 20) nats a step, here 0.416. The recipe is ours: 128 units, Adam at 0.003 "
        "falling as a cosine over 12,000 steps, gradients clipped at a norm of 1, batches of 50; "
        "the LSTM's forget bias of 3 was chosen on another seed.",
        rows={"lstm": {"forget_bias": "3"}, "rnn": {"cell": "rnn", "activation": "relu"}},
        rules=(
            Rule("mean", ("lstm",), high=0.04),
            Rule("mean", ("rnn",), 0.3, 0.5, Published(0.416, "mathematics", WITHOUT_MEMORY)),
        ),
        quantity=NATS_A_STEP,
        cost="20 minutes on 2 CPU cores",
        config={
            "task": "copy",
            "length": "30",
            "width": "128",
            "validation": "0",
            "learning_rate": "0.003",
            "schedule": "cosine",
            "epochs": "30",
        },
        seeds=3,
        evaluate_every=5,
    ),
    "mnist1d-gru": Claim(
        "A bidirectional GRU of 6 units on MNIST-1D, and on its positions shuffled",
        "sequence_classifier",
        MNIST1D_RECIPE
        + " All 40 states of both directions side by side are read. 5,110 parameters: the new "
        "content has two biases, where PyTorch, and so the notebook, has two everywhere (5,134). "
        "Shuffled: one permutation of the positions for all rows and seeds (ours).",
        rows={"gru": {}, "shuffled": {"permute": "true"}},
        rules=(
            Rule("mean", ("gru",), 87.5, 92.5, Published(89.1, "authors' code", MNIST1D_CODE)),
            Rule("mean", ("gru",), 87.5, 92.5, Published(91, "paper", MNIST1D_PAPER)),
            Rule("mean", ("shuffled",), 49, 59, Published(53.3, "authors' code", MNIST1D_NOTEBOOK)),
            Rule("mean", ("shuffled",), 49, 59, Published(57, "paper", MNIST1D_TABLE)),
        ),
        quantity=ACCURACY,
        cost="three minutes on 2 CPU cores",
        config=MNIST1D
        | {
            "cell": "gru",
            "width": "6",
            "bidirectional": "true",
            "reading": "all",
            "recurrent_init": "fan_in_uniform",
            "clip": "none",
        },
    ),
    "shakespeare-lstm": Claim(
        "A character LSTM reads Shakespeare nearly as well as a small transformer",
        "language_model",
        "The defaults of char-rnn: 2 layers of 128, RMSProp at 0.002 with decay 0.95, 50 streams, "
        "windows of 50, 50 epochs, after the tenth the rate falls by 3 % with each; each number "
        "of the gradient is clipped at 5 where the loss is a sum over a window, 0.1 for our mean. "
        "No value of an LSTM was found published; bounds from memory. Another than theirs: the "
        "split (90 % to train), first weights, characters enter as 64 numbers.",
        rows={"lstm": {}},
        rules=(
            Rule("mean", ("lstm",), 1.4, 1.6, Published(1.4697, "open transformer", TRANSFORMER)),
        ),
        quantity=HELD_OUT,
        cost="an hour on 2 CPU cores (estimated)",
        config={
            "dataset": "tiny_shakespeare",
            "width": "128,128",
            "window": "50",
            "batch_size": "50",
            "optimizer": "rmsprop",
            "learning_rate": "0.002",
            "second_moment": "0.95",
            "clip": "none",
            "clip_value": "0.1",
            "schedule": "step",
            "step_at": ",".join(f"{epoch / 50:g}" for epoch in range(10, 50)),
            "step_factor": "0.97",
            "epochs": "50",
        },
        seeds=3,
        evaluate_every=5,
    ),
    "ptb-small": Claim(
        "The small LSTM of Zaremba et al. on Penn Treebank",
        "language_model",
        "As in the tutorial of TensorFlow: two layers of 200, 20 streams, windows of 20, states "
        "carried on, plain gradient steps at rate 1, halved with each epoch from the fifth on, 13 "
        "epochs, forget bias 0, no dropout. Its loss is summed over a window, so the rate is 20 "
        "and the norm of the gradient is clipped at 0.25 here, where theirs is 5. Another than "
        "theirs: first weights are U(-1/sqrt(fan-in), 1/sqrt(fan-in)), which is U(-0.07, 0.07) "
        "where theirs is U(-0.1, 0.1).",
        rows={"small": {}},
        rules=(Rule("mean", ("small",), 111, 121, Published(115.91, "authors' code", TUTORIAL)),),
        quantity=PERPLEXITY,
        cost="two hours on 2 CPU cores (estimated)",
        config={
            "dataset": "ptb",
            "unit": "word",
            "width": "200,200",
            "embedding": "200",
            "window": "20",
            "batch_size": "20",
            "forget_bias": "0",
            "init": "fan_in_uniform",
            "recurrent_init": "fan_in_uniform",
            "optimizer": "sgd",
            "learning_rate": "20",
            "clip": "0.25",
            "schedule": "step",
            "step_at": ",".join(f"{epoch / 13}" for epoch in range(4, 13)),
            "step_factor": "0.5",
            "epochs": "13",
        },
        seeds=3,
        evaluate_every=1,
    ),
    "sequential-mnist": Claim(
        "An LSTM reads MNIST pixel by pixel, in their order and permuted",
        "sequence_classifier",
        "As in the paper: 100 units, orthogonal weights, the identity for those of the state, "
        "RMSProp at 0.001 with momentum 0.9, batches of 100, gradients clipped at a norm of 1. "
        "Chosen where it was not found: 200 epochs, a decay of 0.9, the last state is read.",
        rows={"in order": {}, "permuted": {"permute": "true"}},
        rules=(
            Rule("mean", ("in order",), 98.4, 99.4, Published(98.9, "paper", COOIJMANS)),
            Rule("mean", ("permuted",), 88.2, 92.2, Published(90.2, "paper", COOIJMANS)),
        ),
        quantity=ACCURACY,
        cost="weeks on 2 CPU cores, a day on a GPU (estimated)",
        config=SEQUENTIAL,
        seeds=3,
        evaluate_every=10,
        needs_gpu=True,
    ),
}
