"""Recurrent layers as config choices."""

import dataclasses
import math
from typing import Annotated, Literal

import jax.numpy as jnp

from experiments.engine.errors import UsageError
from experiments.engine.values import Choices
from nets.activations import ACTIVATIONS, Activation, as_activation
from nets.cell import Cell
from nets.cells import GRU, LSTM, RNN
from nets.initializers import INITIALIZERS, Initializer, scaled
from nets.recurrent import RecurrentStack


@dataclasses.dataclass(frozen=True)
class Layers:
    """Recurrent layers.

    Attributes:
        cell: rnn, lstm or gru.
        width: units of each layer, "128" or "128,128".
        activation: of the state and of new content.
        gate: activation of the gates (lstm, gru).
        forget_bias: added to the first bias of the forget gate (lstm).
        peepholes: gates see the cell (lstm).
        layer_norm: of the projections and of the cell (lstm).
        without: a gate that is left out: input, forget or output (lstm).
        coupled: the input gate is one minus the forget gate (lstm).
        bidirectional: each layer also reads from the end to the beginning.
        dropout: rate on what each layer gives.
        dropout_form: a mask for every step, or one for the whole sequence.
        state_dropout: rate on the state where it meets its weights, one mask for the sequence.
        weight_dropout: rate on the weights of the state.
        init: initialiser of the weights of the inputs, and of the output layer.
        recurrent_init: initialiser of the weights of the state, for each gate by itself.
        init_scale: factor on all initial weights of inputs and state.
        bias_init: initialiser of every bias.
        compute_dtype: of products and activations; parameters and loss stay float32.
    """

    cell: Literal["rnn", "lstm", "gru"] = "lstm"
    width: tuple[int, ...] = (128,)
    activation: Annotated[Activation, Choices(ACTIVATIONS, as_activation)] = ACTIVATIONS["tanh"]
    gate: Annotated[Activation, Choices(ACTIVATIONS, as_activation)] = ACTIVATIONS["sigmoid"]
    forget_bias: float = 1.0
    peepholes: bool = False
    layer_norm: bool = False
    without: Literal["none", "input", "forget", "output"] = "none"
    coupled: bool = False
    bidirectional: bool = False
    dropout: float | None = None
    dropout_form: Literal["steps", "sequence"] = "steps"
    state_dropout: float | None = None
    weight_dropout: float | None = None
    init: Annotated[Initializer, Choices(INITIALIZERS)] = INITIALIZERS["glorot_uniform"]
    recurrent_init: Annotated[Initializer, Choices(INITIALIZERS)] = INITIALIZERS["orthogonal"]
    init_scale: float = 1.0
    bias_init: Literal["zeros", "fan_in_uniform"] = "zeros"
    compute_dtype: Literal["float32", "bfloat16"] = "float32"


def check_layers(config: Layers) -> None:
    """Refuses values that cannot train. Raises `UsageError`."""
    if not config.width or min(config.width) < 1:
        raise UsageError("--width: at least one layer, of at least one unit, e.g. 128 or 64,64")
    if config.cell != "lstm":
        of_lstm = {
            "--peepholes": config.peepholes, "--layer-norm": config.layer_norm,
            "--without": config.without != "none", "--coupled": config.coupled,
            "--forget-bias": config.forget_bias != Layers.forget_bias,
        }  # fmt: skip
        if given := [flag for flag, is_set in of_lstm.items() if is_set]:
            raise UsageError(
                f"{given[0]}: an LSTM has it; use --cell lstm, not {config.cell} (or --arm, which "
                "sets it for one of several cells)"
            )
    if config.cell == "rnn" and config.gate != Layers.gate:
        raise UsageError("--gate: an RNN has none; use --cell lstm or gru")
    if config.without == "forget" and config.forget_bias != Layers.forget_bias:
        raise UsageError("--forget-bias: there is no forget gate")
    if not math.isfinite(config.forget_bias):
        raise UsageError(f"--forget-bias {config.forget_bias}: must be finite")
    if config.coupled and config.without in ("input", "forget"):
        raise UsageError(f"--coupled: there is no {config.without} gate to couple")
    rates = {
        "--dropout": config.dropout, "--state-dropout": config.state_dropout,
        "--weight-dropout": config.weight_dropout,
    }  # fmt: skip
    for flag, rate in rates.items():
        if rate is not None and not 0 <= rate < 1:
            raise UsageError(f"{flag} {rate}: must be at least 0 and below 1")
    if not 0 <= config.init_scale < float("inf"):
        raise UsageError(f"--init-scale {config.init_scale}: must not be negative")
    try:
        make_cell(config).values(1)
    except ValueError as error:
        raise UsageError(f"--{error}") from None


def make_cell(config: Layers) -> Cell:
    """The cell of a config; float fields may be tracers."""
    match config.cell:
        case "rnn":
            return RNN(config.activation)
        case "gru":
            return GRU(config.activation, config.gate)
        case "lstm":
            return LSTM(
                config.activation,
                config.gate,
                config.forget_bias,
                config.peepholes,
                config.layer_norm,
                config.without,
                config.coupled,
            )


def make_stack(config: Layers) -> RecurrentStack:
    """The recurrent layers of a config; float fields may be tracers."""
    return RecurrentStack(
        cell=make_cell(config),
        widths=config.width,
        bidirectional=config.bidirectional,
        dropout=config.dropout,
        dropout_form=config.dropout_form,
        kernel_init=scaled(config.init, config.init_scale),
        recurrent_init=scaled(config.recurrent_init, config.init_scale),
        bias_init=config.bias_init,
        state_dropout=config.state_dropout,
        weight_dropout=config.weight_dropout,
        dtype=jnp.dtype(config.compute_dtype),
    )
