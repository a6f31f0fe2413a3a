"""Verdicts on layers: right on made-up numbers, and right on nets that are known to be sick."""

import jax
import jax.numpy as jnp
import pytest

from experiments import mlp
from experiments.engine.config import replace, split
from experiments.engine.diagnostics import diagnose
from experiments.engine.experiment import Data
from experiments.engine.keys import Streams
from experiments.engine.step import Replica, Trainer
from experiments.engine.verdicts import diagnosis_text, in_order, medians, verdicts
from nets.activations import as_activation


def layers(gradient, dead=(), saturated=(), mean: "float | None" = 0.0):
    """A diagnosis with gradient norms of layer_1, layer_2, ... and the output."""
    hidden = len(gradient) - 1
    names = [*(f"layer_{i + 1}" for i in range(hidden)), "output"]
    parts = {
        f"activation_{i + 1}": {
            "mean": mean, "sd": 1.0,
            "dead": dead[i] if dead else 0.0, "saturated": saturated[i] if saturated else 0.0,
        }
        for i in range(hidden)
    }  # fmt: skip
    return {"gradient": dict(zip(names, gradient, strict=True)), "activation": parts}


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (layers([1.0, 0.5, 2.0]), ["gradients and activations healthy"]),
        (layers([1e-6, 1e-3, 1.0, 1.0]), ["layer_1 receives 1e-06 of layer_3's gradient: vanishi"]),
        (
            layers([1e4, 1e2, 1.0, 1.0]),
            ["layer_1 receives 1e+04 times layer_3's gradient: exploding"],
        ),
        (layers([250.0, 1.0, 1.0]), ["layer_1 receives 250 times layer_2's gradient: exploding"]),
        (layers([0.0, 1.0, 1.0]), ["layer_1 receives 0 of layer_2's gradient: vanishing"]),
        (layers([0.0, 0.0, 1.0]), ["no gradient reaches the hidden layers"]),
        (layers([0.0, 0.0]), ["no gradient reaches the weights"]),
        (layers([None, 1.0, 1.0]), ["gradients or activations are not finite: diverged"]),
        (layers([1.0, None]), ["gradients or activations are not finite: diverged"]),
        (layers([1.0, 1.0], mean=None), ["gradients or activations are not finite: diverged"]),
        (layers([1.0, 1.0], dead=[None]), ["gradients and activations healthy"]),
        (layers([1.0, 1.0], dead=[0.75]), ["75 % of the units of activation_1 are dead"]),
        (layers([1.0, 1.0], saturated=[0.95]), ["95 % of the outputs of activation_1 are satura"]),
        (layers([1.0, 1.0], dead=[0.4], saturated=[0.8]), ["gradients and activations healthy"]),
        (layers([1.0]), ["gradients healthy; no activation was measured"]),
        ({"gradient": {}, "activation": {}}, ["nothing was measured: no weights are called ker"]),
    ],
)
def test_verdicts_on_numbers(found, expected):
    said = verdicts(found)
    assert len(said) == len(expected)
    assert all(text.startswith(start) for text, start in zip(said, expected, strict=True))


@pytest.mark.parametrize(("lost", "healthy"), [(0, True), (1, True), (2, False), (3, False)])
def test_seeds_that_are_not_finite_count_in_a_median(lost, healthy):
    found = [layers([1.0, 1.0]), layers([2.0, 1.0]), layers([3.0, 1.0])]
    found[:lost] = [layers([None, None], mean=None)] * lost
    assert ("healthy" in verdicts(medians(found))[0]) == healthy
    lines = [
        {"phase": "report", "cell": 0, "seed": seed, "epoch": 0, "diagnosis": each}
        for seed, each in enumerate(found)
    ]
    _, head, *_, last = diagnosis_text(lines, str)
    assert head == "Layers of 0, before training (medians over seeds):"
    told = f"  verdict: {lost} of 3 seeds are not finite"
    assert (last == told) if lost else ("finite" not in last)


def test_each_seed_is_read_after_its_own_last_epoch():
    """Out of patience, seeds end with different epochs."""
    lines = [
        {
            "phase": "report", "cell": 0, "seed": seed, "epoch": epoch,
            "diagnosis": layers([10.0 * seed + epoch, 1.0]),
        }
        for seed, last in enumerate([4, 2, 3])
        for epoch in range(last + 1)
    ]  # fmt: skip
    text = diagnosis_text(lines, str)
    heads = [line for line in text if line.startswith("Layers")]
    assert heads == [
        "Layers of 0, before training (medians over seeds):",
        "Layers of 0, each after its last epoch, 2 to 4 (medians over seeds):",
    ]
    assert [line.split()[1] for line in text if line.startswith("  layer_1")] == ["10", "12"]


def test_shares_that_an_activation_does_not_have_stay_missing():
    part = medians([layers([1.0, 1.0], dead=[None])] * 2)["activation"]["activation_1"]
    assert part["dead"] is None and part["saturated"] == 0.0


def test_layers_come_in_the_order_of_their_numbers():
    names = ["output", "layer_10", "layer_2", "layer_1"]
    assert in_order(names) == ["layer_1", "layer_2", "layer_10", "output"]
    names = ["block_1_2/conv_1", "block_1_10/conv_1", "block_1_2/activation_1", "output", "stem"]
    assert in_order(names) == [names[4], names[0], names[2], names[1], names[3]]


def test_a_row_holds_what_is_known_of_its_name():
    numbers = {"mean": 0.5, "sd": 0.1, "saturated": 0.25, "dead": 0.0}
    diagnosis = {"gradient": {"stem": 0.25, "output": None}, "activation": {"gates/open": numbers}}
    line = {"diagnosis": diagnosis, "phase": "report", "cell": 0, "seed": 0, "epoch": 0}
    text = diagnosis_text([line], lambda cell: "it")
    assert [row.split() for row in text[2:6]] == [
        ["layer", "gradient", "mean", "sd", "saturated", "dead"],
        ["stem", "0.25"],
        ["gates/open", "0.5", "0.1", "25", "%", "0", "%"],
        ["output", "not", "finite"],
    ]
    assert len({len(row) for row in (text[2], text[4])}) == 1


def test_medians_count_what_is_not_finite_as_the_largest():
    found = medians([layers([1.0, 2.0]), layers([3.0, None]), layers([8.0, 4.0])])
    assert found["gradient"] == {"layer_1": 3.0, "output": 4.0}
    assert medians([layers([None, 1.0])])["gradient"]["layer_1"] is None


def dying(x):
    """A ReLU that no unit of a standardised net reaches."""
    return jax.nn.relu(x - 20)


def said_of(activation, depth=8):
    """Verdicts on layers of 64 units, at He's scale, before training."""
    config = replace(
        mlp.Config(),
        {
            "dataset": "digits", "width": (64,) * depth, "batch_size": 100,
            "activation": as_activation(activation),
        },
    )  # fmt: skip
    static, floats = split(config)
    dataset = mlp.EXPERIMENT.load(config, None)
    trainer = Trainer(mlp.EXPERIMENT, static, dataset.spec, 10)
    own = mlp.EXPERIMENT.prepare(config, dataset, Streams(0))
    splits = {name: dict(arrays) for name, arrays in dataset.splits.items()}
    data = Data(*jax.tree.map(jnp.asarray, (splits, own)))
    replica = Replica({name: jnp.float32(value) for name, value in floats.items()}, jnp.int32(0))

    @jax.jit
    def found(replica, data):
        xs = trainer.epoch_inputs(replica, data, jnp.int32(0))
        return diagnose(trainer, trainer.init(replica), replica, data, xs)

    return verdicts(jax.tree.map(float, found(replica, data)))


def test_eight_layers_of_sigmoid_are_called_vanishing():
    said = said_of("sigmoid")[0]
    assert said.startswith("layer_1 receives ") and said.endswith("layer_8's gradient: vanishing")
    assert float(said.split()[2]) < 1e-3


def test_relu_with_he_initialisation_is_not():
    assert said_of("relu") == ["gradients and activations healthy"]


def test_dead_units_are_called():
    assert "100 % of the units of activation_1 are dead" in said_of(dying, depth=2)
