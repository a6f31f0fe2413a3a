"""Configs: flattened fields, spellings read back, and the split into traced and static values."""

import dataclasses
import math
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import mlp
from experiments.engine import config as configs
from experiments.engine.config import Static, coerce, leaf_of, leaves, parse, replace, spell
from experiments.engine.errors import UsageError
from nets.activations import ACTIVATIONS, Activation
from nets.initializers import INITIALIZERS

MLP = leaves(mlp.Config)

SPELLINGS = {
    "dataset": ["digits", "mnist1d"],
    "data_file": ["", "a b/c.npz"],
    "keep": ["last", "best"],
    "patience": ["none", "3"],
    "average": ["none", "0", "0.999"],
    "preprocess": [
        "none", "centre", "standardise", "centre_channel", "standardise_channel", "pca", "zca",
        "principal",
    ],
    "components": ["none", "70"],
    "whitening_epsilon": ["1e-05", "4.6e-08"],
    "validation": ["0.1", "0.25"],
    "train_size": ["none", "300"],
    "label_noise": ["none", "0", "0.4"],
    "order": ["shuffled", "file"],
    "binary": ["()", "3,5", "7,0,1"],
    "permute": ["true", "false"],
    "optimizer": [
        "sgd", "momentum", "nesterov", "adam", "adamw", "rmsprop", "rmsprop_momentum", "muon",
    ],
    "learning_rate": ["0.001", "3e-05", "1e+30", "0.1234567890123"],
    "momentum": ["0.9", "0"],
    "momentum_after": ["none", "0", "0.5"],
    "second_moment": ["0.999"],
    "weight_decay": ["none", "0.0001"],
    "decay_on": ["kernels", "all"],
    "decay_form": ["decoupled", "coupled"],
    "bias_rate": ["none", "64"],
    "clip": ["none", "1"],
    "clip_value": ["none", "1"],
    "schedule": ["constant", "cosine", "linear", "triangle", "step"],
    "warmup": ["0", "0.05"],
    "start_factor": ["none", "0", "0.2"],
    "end_factor": ["0", "0.07"],
    "step_at": ["()", "0.5", "0.5,0.75"],
    "step_factor": ["0.1", "0.97"],
    "lookahead": ["none", "5"],
    "batch_size": ["1", "128"],
    "epochs": ["20"],
    "loss": [
        "cross_entropy", "hinge", "crammer_singer", "squared_hinge", "sigmoid", "squared_error",
    ],
    "hinge_margin": ["1", "10"],
    "label_smoothing": ["0", "0.1"],
    "l1": ["none", "0.001"],
    "l2": ["none", "0.001"],
    "penalise": ["all", "output"],
    "max_norm": ["none", "2"],
    "width": ["()", "3", "100,100", "64,32,16"],
    "activation": [*ACTIVATIONS, "leaky_relu:0.2", "maxout:3", "leaky_relu:0.123456789"],
    "norm": ["none", "batch", "layer"],
    "dropout": ["none", "0", "0.5"],
    "input_dropout": ["none", "0.2"],
    "input_noise": ["none", "0.1"],
    "input_noise_schedule": ["constant", "linear"],
    "skip": ["true", "false"],
    "init": ["normal:0.01", *(n for n, value in INITIALIZERS.items() if not value.parameters)],
    "init_scale": ["1", "0.3"],
    "bias_init": ["zeros", "fan_in_uniform"],
    "compute_dtype": ["float32", "bfloat16"],
}  # fmt: skip


@pytest.mark.parametrize("name", MLP)
def test_every_field_of_the_mlp_reads_its_own_spelling(name):
    leaf, seen = MLP[name], []
    for text in SPELLINGS[name]:
        value = parse(leaf, text)
        spelled = spell(value)
        assert parse(leaf, spelled) == value, text
        config = replace(mlp.Config(), {name: value})
        assert configs.get(config, name) == value
        assert configs.describe(config)[name] == spelled
        seen.append(spelled)
    assert len(set(seen)) == len(seen)
    default = configs.get(mlp.Config(), name)
    assert parse(leaf, spell(default)) == default


def test_every_field_is_described_and_no_config_is_long():
    config = mlp.Config()
    for part in (config, config.data, config.optimizer, config.objective):
        assert len(dataclasses.fields(part)) <= 20
    undocumented = [name for name, leaf in MLP.items() if len(leaf.doc) < 5]
    assert undocumented == []
    assert MLP["batch_size"].flag == "--batch-size"
    assert MLP["warmup"].path == ("optimizer", "warmup")


def test_floats_are_traced_and_everything_else_is_static():
    traced = {name for name, leaf in MLP.items() if leaf.is_float}
    assert traced == {
        "label_noise", "learning_rate", "momentum", "momentum_after", "second_moment",
        "weight_decay", "bias_rate", "clip", "clip_value", "start_factor", "end_factor",
        "hinge_margin", "label_smoothing", "l1",
        "l2", "max_norm", "dropout", "input_dropout", "input_noise", "init_scale", "average",
    }  # fmt: skip


def test_split_and_join_are_inverse_and_twins_share_a_program():
    one = replace(mlp.Config(), {"learning_rate": 0.3, "dropout": 0.5, "warmup": 0.1})
    two = replace(mlp.Config(), {"learning_rate": 0.7, "dropout": 0.0, "warmup": 0.1})
    (static, floats), (other, _) = configs.split(one), configs.split(two)
    assert configs.join(static, floats) == one
    assert static == other and hash(static) == hash(other)
    assert floats["learning_rate"] == 0.3 and floats["dropout"] == 0.5
    assert not {"warmup", "validation", "l2"} & set(floats)  # opted out, opted out, None
    assert configs.get(static, "warmup") == 0.1 and configs.get(static, "l2") is None
    for change in ({"warmup": 0.2}, {"dropout": None}, {"width": (3,)}, {"l2": 0.0}):
        assert configs.split(replace(one, change))[0] != static


def test_a_joined_config_carries_tracers():
    static, floats = configs.split(mlp.Config())

    @jax.jit
    def rate(floats):
        config = configs.join(static, floats)
        assert not isinstance(config.optimizer.learning_rate, float)
        return 2 * config.optimizer.learning_rate

    assert float(rate(floats)) == pytest.approx(2e-3)


@dataclasses.dataclass(frozen=True)
class Inner:
    """Inner.

    Attributes:
        rate: inner.
    """

    rate: float = 0.5
    fixed: Static[float] = 0.5


@dataclasses.dataclass(frozen=True)
class Outer:
    inner: Inner = Inner()
    sizes: tuple[float, ...] = (1.0, 2.0)
    maybe: tuple[int, ...] | None = None
    level: Literal[1, 2, "three"] = 1


def test_a_config_of_ones_own_is_flattened():
    assert list(leaves(Outer)) == ["rate", "fixed", "sizes", "maybe", "level"]
    static, floats = configs.split(Outer())
    assert floats == {"rate": 0.5} and static.inner == Inner(rate=0.0)
    assert parse(leaf_of(Outer, "maybe"), "none") is None
    assert parse(leaf_of(Outer, "maybe"), "1,2") == (1, 2)
    assert parse(leaf_of(Outer, "sizes"), "1e-3, 2") == (0.001, 2.0)
    assert parse(leaf_of(Outer, "level"), "2") == 2
    assert parse(leaf_of(Outer, "level"), "three") == "three"
    assert configs.parse_values(leaf_of(Outer, "maybe"), "1,2;none") == ((1, 2), None)


def test_two_fields_of_one_name_are_refused():
    twice = dataclasses.make_dataclass(
        "Twice", [("inner", Inner, Inner()), ("rate", int, 1)], frozen=True
    )
    with pytest.raises(TypeError, match="Twice has two fields named rate"):
        leaves(twice)
    with pytest.raises(TypeError, match="Loose must be a frozen dataclass"):
        leaves(dataclasses.make_dataclass("Loose", [("rate", float, 1.0)]))
    with pytest.raises(TypeError, match="int must be a frozen dataclass"):
        leaves(int)


@pytest.mark.parametrize("kind", [int | float, Any, tuple[int, float], dict, int | float | None])
def test_a_field_that_cannot_be_given_as_text_is_refused(kind):
    with pytest.raises(TypeError, match=r"Odd.scale: .* cannot be given as text; fields are bool"):
        leaves(dataclasses.make_dataclass("Odd", [("scale", kind, 2)], frozen=True))


def test_an_unknown_field_gets_the_nearest():
    with pytest.raises(UsageError, match="unknown field 'learning_rat'; did you mean 'learning_"):
        leaf_of(mlp.Config, "learning_rat")
    with pytest.raises(UsageError, match="known: dataset, data_file"):
        replace(mlp.Config(), {"zzz": 1})
    assert leaf_of(mlp.Config, "batch-size").name == "batch_size"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("epochs", "ten", "--epochs: expected a whole number, not 'ten'"),
        ("epochs", "2.5", "--epochs: expected a whole number, not '2.5'"),
        ("epochs", "", "--epochs: no value given"),
        ("learning_rate", "fast", "--learning-rate: expected a number, not 'fast'"),
        ("learning_rate", "none", "--learning-rate: expected a number, not 'none'"),
        ("dropout", "nil", "--dropout: expected a number, not 'nil'"),
        ("width", "100,x", "--width: expected a whole number, not 'x'"),
        ("width", "100,,3", "--width: "),
        ("skip", "maybe", "--skip: expected true or false, not 'maybe'"),
        ("norm", "bach", "--norm: unknown value 'bach'; did you mean 'batch'?"),
        ("norm", "zzzz", "--norm: unknown value 'zzzz'; known: none, batch, layer"),
        ("activation", "rleu", "--activation: unknown name 'rleu'; did you mean 'relu'?"),
        ("activation", "relu:1", "--activation: 'relu' takes 0 number"),
        ("activation", "elu:x", "--activation: 'elu:x': what follows 'elu' must be numbers"),
        ("init", "he_norm", "--init: unknown name 'he_norm'; did you mean 'he_normal'?"),
    ],
)
def test_a_value_that_does_not_fit_is_explained(name, text, message):
    with pytest.raises(UsageError) as caught:
        parse(MLP[name], text)
    assert str(caught.value).startswith(message)


def test_values_from_python_are_taken_in_their_own_types():
    def double(x):
        return 2 * x

    assert coerce(MLP["activation"], "leaky_relu:0.2") == parse(MLP["activation"], "leaky_relu:0.2")
    assert coerce(MLP["activation"], ACTIVATIONS["tanh"]) is ACTIVATIONS["tanh"]
    assert coerce(MLP["activation"], double) == Activation("double", double)
    assert coerce(MLP["activation"], jnp.sin).name == "sin"
    assert coerce(MLP["width"], [3, 4]) == (3, 4)
    assert coerce(MLP["width"], ()) == ()
    assert type(coerce(MLP["learning_rate"], 1)) is float
    assert coerce(MLP["learning_rate"], np.float64(0.1)) == 0.1
    assert type(coerce(MLP["warmup"], 0)) is float
    assert type(coerce(MLP["epochs"], np.int64(3))) is int
    assert coerce(MLP["skip"], np.bool_(True)) is True
    assert coerce(MLP["learning_rate"], jnp.float32(0.5)) == 0.5
    assert coerce(MLP["dropout"], None) is None
    assert coerce(MLP["skip"], True) is True


def test_a_literal_from_python_is_the_declared_one():
    fields = [("size", Literal[1, 2, "x"], 1), ("flag", Literal[True, 0.5], True)]
    mixed = leaves(dataclasses.make_dataclass("Mixed", fields, frozen=True))
    assert type(coerce(mixed["size"], 1.0)) is int
    assert coerce(mixed["size"], np.int32(2)) == 2 and coerce(mixed["size"], "x") == "x"
    assert coerce(mixed["flag"], True) is True and coerce(mixed["flag"], 0.5) == 0.5
    for name, value in (("size", True), ("size", 3), ("flag", 1), ("flag", 0)):
        with pytest.raises(UsageError, match=f"--{name}: expected .*, not {value}"):
            coerce(mixed[name], value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 2.5),
        ("epochs", None),
        ("learning_rate", None),
        ("learning_rate", [0.1]),
        ("learning_rate", math.nan),
        ("dropout", np.float32("nan")),
        ("width", 3),
        ("width", (3, 0.5)),
        ("skip", 2),
        ("epochs", True),
        ("learning_rate", False),
        ("norm", 3),
        ("optimizer", jnp.sin),
        ("activation", 3),
        ("dataset", 3),
    ],
)
def test_a_value_of_the_wrong_type_from_python_is_refused(name, value):
    with pytest.raises(UsageError, match=f"^{MLP[name].flag}: "):
        coerce(MLP[name], value)


def test_help_says_what_a_field_takes():
    expected = {
        "epochs": "INT", "learning_rate": "FLOAT", "dropout": "FLOAT|none", "width": "INT,...",
        "skip": "{true,false}", "norm": "{none,batch,layer}", "activation": "NAME[:NUMBER]",
        "warmup": "FLOAT", "dataset": "TEXT", "train_size": "INT|none",
    }  # fmt: skip
    assert {name: configs.takes(MLP[name].kind) for name in expected} == expected


def test_lists_of_values_and_of_tuples():
    assert configs.parse_values(MLP["dropout"], "none, 0,0.5") == (None, 0.0, 0.5)
    assert configs.parse_values(MLP["width"], "();100;64,64") == ((), (100,), (64, 64))
    assert [a.name for a in configs.parse_values(MLP["activation"], "relu,elu:2")] == [
        "relu", "elu",
    ]  # fmt: skip


def test_spelling_keeps_every_digit():
    values: list[Any] = [0.1 + 0.2, 1e-300, 1 / 3, -0.0, 5e-324, 1e22, 123456789.0]
    assert [float(spell(value)) for value in values] == values
    steep = dataclasses.replace(ACTIVATIONS["leaky_relu"], parameters=(1 / 3,))
    assert parse(MLP["activation"], spell(steep)) == steep


@dataclasses.dataclass(frozen=True)
class Texts:
    """Fields of text.

    Attributes:
        between: one text.
        parts: several.
    """

    between: str = " "
    parts: tuple[str, ...] = ("a", "b")


def test_text_from_python_stays_as_it_is():
    assert configs.fitted(Texts()) == Texts()
    assert configs.fitted(Texts(between=" none ")).between == " none "
    assert configs.fitted(Texts(parts=())).parts == ()


@pytest.mark.parametrize("parts", [("a,b", "c"), ("",), (" a",), ("(a", "b)")])
def test_texts_that_would_be_read_as_others_are_refused(parts):
    with pytest.raises(UsageError, match=r"--parts: expected TEXT,\.\.\., not"):
        configs.fitted(Texts(parts=parts))
