"""Declared claims: all of them are studies that would train, with the recipes they state."""

import dataclasses
import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import EXPERIMENTS, classification, memory, mlp
from experiments.claims import CLAIMS
from experiments.data.dataset import Spec
from experiments.engine.claiming import study_of
from experiments.engine.config import replace
from experiments.engine.keys import Streams
from experiments.engine.prepare import possible_jobs
from experiments.engine.step import Replica, Trainer
from experiments.engine.study import Study
from experiments.optimizers import schedule_factor
from experiments.studies import STUDIES

SAID = ("read", "transcribed", "memory", "derived", "run")
SPECS = {
    "mnist1d": Spec((40,), 10, train_rows=4000),
    "mnist": Spec((28, 28), 10, train_rows=60_000),
    "cifar10": Spec((32, 32, 3), 10, train_rows=50_000),
    "tiny_shakespeare": Spec((), 0, vocabulary=65, train_rows=1_003_854),
    "ptb": Spec((), 0, vocabulary=10_000, train_rows=929_589),
    "text8": Spec((), 0, vocabulary=71_290, train_rows=17_005_207),
    "wikitext2": Spec((), 0, vocabulary=23_379, train_rows=2_018_350),
}


def spec_of(config: Any) -> Spec:
    """What the data of a config looks like, without loading what is published."""
    if isinstance(config, memory.Config):
        return memory.load(config, None).spec
    return SPECS[config.data.dataset]


def study(name: str) -> Study:
    claim = CLAIMS[name]
    return study_of(name, claim, EXPERIMENTS[claim.experiment].load(), None)


def parameters(name: str) -> dict[str, int]:
    """Row -> number of parameters."""
    found, asked = {}, study(name)
    for index, cell in enumerate(asked.cells):
        job = next(job for job in possible_jobs(asked) if job.cell == index)
        spec = spec_of(job.config)
        net = asked.experiment.make_net(job.config, spec)
        sample = asked.experiment.sample_input(job.config, spec)
        shapes = jax.eval_shape(
            lambda k, n=net, s=sample: n.init(k, s, train=False), jax.random.key(0)
        )
        leaves = jax.tree.leaves(shapes["params"])
        found[cell.levels["arm"]] = sum(math.prod(leaf.shape) for leaf in leaves)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", CLAIMS)
def test_every_claim_is_a_study_whose_cells_can_train(name):
    claim, asked = CLAIMS[name], study(name)
    assert name not in EXPERIMENTS and name not in STUDIES
    assert [arm.name for arm in asked.arms] == list(claim.rows) and asked.seeds == claim.seeds >= 3
    for job in possible_jobs(asked):
        asked.experiment.check(job.config, spec_of(job.config))
        assert not asked.cells[job.cell].tune or job.config.data.validation > 0
    for rule in claim.rules:
        assert set(rule.rows) <= set(claim.rows) and rule.low < rule.high
        assert len(rule.rows) == 1 + (rule.statistic in ("difference", "ratio"))
        if rule.published:
            assert rule.low <= rule.published.value <= rule.high
            assert any(word in rule.published.source for word in SAID)
    assert {row for rule in claim.rules for row in rule.rows} == set(claim.rows)


@pytest.mark.slow
def test_mnist1d_is_trained_as_its_authors_do():
    assert parameters("mnist1d-linear") == {"linear": 410}
    assert parameters("mnist1d-mlp") == {"mlp": 15_210}
    assert set(parameters("mnist1d-mlp-shuffled").values()) == {15_210}
    assert parameters("mnist1d-cnn") == {"cnn": 5_210, "shuffled": 5_210}
    for name in ("mnist1d-linear", "mnist1d-mlp", "mnist1d-cnn"):
        asked = study(name)
        config = possible_jobs(asked)[0].config
        dataset = asked.experiment.load(config, None)
        own = asked.experiment.prepare(config, dataset, Streams(3))
        np.testing.assert_array_equal(own["train_rows"], np.arange(4000))
        assert not len(own["validation_rows"]) and own["stats"] == {}
        assert (
            len(own["train_rows"]) // config.optimizer.batch_size * config.optimizer.epochs == 6000
        )
        assert config.objective == dataclasses.replace(
            config.objective, loss="cross_entropy", l2=None
        )
        assert (config.optimizer.optimizer, config.optimizer.learning_rate) == ("adam", 0.01)
        assert (config.optimizer.momentum, config.optimizer.second_moment) == (0.9, 0.999)
        assert config.optimizer.schedule == "constant" and not config.optimizer.warmup
        state = Trainer(asked.experiment, config, dataset.spec, 6000).init(
            Replica({}, jax.numpy.int32(0))
        )
        for layer in state.params.values():
            bound = 1 / math.sqrt(math.prod(layer["kernel"].shape[:-1]))
            for leaf in layer.values():
                assert 0.8 * bound < np.abs(leaf).max() <= bound


def test_the_second_layer_of_the_mnist1d_perceptron_skips():
    """h1 = relu(W1 x + b1), h2 = h1 + relu(W2 h1 + b2), scores W3 h2 + b3, in NumPy."""
    asked = study("mnist1d-mlp")
    net = asked.experiment.make_net(possible_jobs(asked)[0].config, SPECS["mnist1d"])
    x = jax.random.normal(jax.random.key(1), (3, 40))
    variables = net.init(jax.random.key(0), x, train=False)
    layers = {
        name: {key: np.asarray(value, np.float64) for key, value in layer.items()}
        for name, layer in variables["params"].items()
    }

    def dense(name, inputs):
        return inputs @ layers[name]["kernel"] + layers[name]["bias"]

    first = np.maximum(dense("layer_1", np.asarray(x, np.float64)), 0)
    second = first + np.maximum(dense("layer_2", first), 0)
    np.testing.assert_allclose(
        net.apply(variables, x, train=False), dense("output", second), atol=1e-5
    )


def configs(name: str) -> dict[str, Any]:
    """Row -> config of its first replica."""
    asked = study(name)
    first = {job.cell: job.config for job in reversed(possible_jobs(asked))}
    return {cell.levels["arm"]: first[index] for index, cell in enumerate(asked.cells)}


def steps(config: Any) -> int:
    return classification.total_steps(config, SPECS[config.data.dataset])


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("dropout-mnist", (1024, 1024, 1024)),
        ("dropout-mnist-wide", (8192, 8192)),
        ("dropout-mnist-regularizers", (1024, 1024, 2048)),
    ],
)
def test_dropout_is_trained_as_its_paper_says(name, sizes):
    sizes = (784, *sizes, 10)
    expected = sum((a + 1) * b for a, b in itertools.pairwise(sizes))
    assert set(parameters(name).values()) == {expected}
    for row, config in configs(name).items():
        assert 0 <= steps(config) - 1_000_000 < 500
        kept = (1 - (config.input_dropout or 0), 1 - (config.dropout or 0))
        assert kept == ((0.8, 0.5) if "dropout" in row else (1, 1))
        assert config.objective.max_norm == (2 if "max-norm" in row else None)
        assert (config.optimizer.optimizer, config.optimizer.momentum) == ("momentum", 0.95)
        assert config.activation.name == "relu" and CLAIMS[name].needs_gpu


def test_the_gelu_papers_net_is_tuned_and_trained_as_in_its_repository():
    (config,) = configs("gelu-mnist").values()
    assert parameters("gelu-mnist") == {"relu": 785 * 128 + 7 * 129 * 128 + 129 * 10}
    assert steps(config) == 50 * (55_000 // 128)
    (cell,) = study("gelu-mnist").cells
    assert cell.tune == {"learning_rate": (1e-3, 1e-4, 1e-5), "dropout": (0, 0.25, 0.5)}
    net = mlp.make_net(config, SPECS["mnist"])
    variables: Any = net.init(jax.random.key(0), jnp.zeros((1, 784)), train=False)
    layer = variables["params"]["layer_3"]
    np.testing.assert_allclose(np.linalg.norm(layer["kernel"], axis=0), 1, rtol=1e-5)
    assert not layer["bias"].any()
    (rule,) = CLAIMS["gelu-mnist"].rules
    assert rule.statistic == "median"


def test_the_l2_svm_is_trained_as_its_paper_says():
    assert set(parameters("l2svm-mnist").values()) == {71 * 512 + 513 * 512 + 513 * 10}
    for row, config in configs("l2svm-mnist").items():
        assert steps(config) == 400 * 300
        net = mlp.make_net(config, SPECS["mnist"])
        assert (net.input_noise, net.input_noise_steps) == (1, 120_000)
        assert config.objective.loss == {"softmax": "cross_entropy", "svm": "squared_hinge"}[row]
        assert (config.objective.l2, config.objective.penalise) == (0.0005, "output")


@pytest.mark.parametrize("name", ["mnist1d-mlp-shuffled", "mnist1d-cnn"])
def test_shuffled_rows_differ_in_their_positions_alone(name):
    plain, shuffled = configs(name).values()
    assert not plain.data.permute and replace(plain, {"permute": True}) == shuffled


def test_epochs_until_a_quarter_of_the_training_rows_are_wrong():
    def read(*errors: float) -> float:
        lines = [{"epoch": n, "train_accuracy": 1 - e} for n, e in enumerate(errors, start=1)]
        return CLAIMS["relu-tanh"].quantity.read([*lines, {"train_accuracy": 1.0}])

    assert read(0.6, 0.35, 0.15, 0.1) == pytest.approx(2.5)
    assert read(0.6, 0.25) == pytest.approx(2)
    assert read(0.25) == pytest.approx(1)
    assert read(0.6, 0.3) == math.inf


def test_relu_and_tanh_differ_in_the_activation_alone():
    tanh, relu = configs("relu-tanh").values()
    assert replace(tanh, {"activation": relu.activation}) == relu
    assert tanh.objective.l2 is tanh.dropout is tanh.optimizer.weight_decay is None
    conv = 16 * (75 + 1) + 16 * (400 + 1) + 32 * (400 + 1)
    assert set(parameters("relu-tanh").values()) == {conv + 10 * (512 + 1)}


def test_the_gelu_papers_convolutions_are_trained_as_it_says():
    wide, narrow = 9 * 96, 9 * 192
    kernels = 27 * 96 + 2 * wide * 96 + wide * 192 + 3 * narrow * 192 + 2 * 192 * 192
    scales = 2 * (3 * 96 + 6 * 192)  # batch norm in place of biases
    assert set(parameters("gelu-cifar").values()) == {kernels + scales + 193 * 10}
    for row, config in configs("gelu-cifar").items():
        assert config.activation.name == row and config.augmentation.noise == 0.15
        assert (config.norm, config.dropout, config.dropout_at) == ("batch", 0.5, "pool")
        assert steps(config) == 100_000
        factors = [schedule_factor(config.optimizer, jnp.int32(s), 100_000) for s in SHOWN]
        np.testing.assert_allclose(factors, [1, 1, 1, 0.5, 0], atol=1e-4)


def test_airbench94_is_trained_as_its_author_does():
    """The summed loss, the rates and the decay of its code, as rates of a mean loss."""
    (config,) = configs("airbench94").values()
    assert parameters("airbench94") == {"airbench94": 1_971_352}
    assert steps(config) == 10 * 48 and CLAIMS["airbench94"].needs_gpu
    optimizer = config.optimizer
    kilostep = 1024 * (1 + 1 / (1 - 0.85))
    assert optimizer.learning_rate == pytest.approx(11.5 / kilostep * 1024)
    decay = 0.0153 * 1024 / kilostep  # of a parameter, in a step at the full rate
    assert optimizer.learning_rate * optimizer.weight_decay == pytest.approx(decay, rel=1e-5)
    assert config.scores.output_scale == pytest.approx(1 / 9)
    shown = jnp.array([0, 55, 110, 295, 480])
    factors = jax.vmap(lambda step: schedule_factor(optimizer, step, 480))(shown)
    np.testing.assert_allclose(factors, [0.2, 0.6, 1, 0.535, 0.07], rtol=1e-5)


SHOWN = (0, 1, 50_000, 75_000, 100_000)


def test_the_recipes_of_recurrent_nets():
    assert parameters("mnist1d-gru") == {"gru": 5_110, "shuffled": 5_110}
    lstm = 4 * 128 * (2 + 128 + 1) + 128 + 1
    assert parameters("adding") == {"lstm": lstm, "lstm, bias 0": lstm, "rnn": 128 * 131 + 129}
    two_layers = 2 * 4 * 200 * (200 + 200 + 1)
    assert parameters("ptb-small") == {"small": 10_000 * 200 + two_layers + 10_000 * 201}
    config = possible_jobs(study("ptb-small"))[0].config
    steps = 929_588 // 20 // 20
    found = [
        float(schedule_factor(config.optimizer, jnp.asarray(epoch * steps), 13 * steps))
        for epoch in range(13)
    ]
    assert found == [0.5 ** max(epoch - 3, 0) for epoch in range(13)]
    config = possible_jobs(study("shakespeare-lstm"))[0].config
    steps = 1_003_853 // 50 // 50
    for epoch in (9, 10, 11, 49):
        factor = schedule_factor(config.optimizer, jnp.asarray(epoch * steps), 50 * steps)
        assert float(factor) == pytest.approx(0.97 ** max(epoch - 9, 0), rel=1e-5)


def test_what_claims_of_recurrent_nets_read():
    last = {"validation_loss": 1.5, "test_loss": 1.7, "test_perplexity": 115.0}
    assert CLAIMS["shakespeare-lstm"].quantity.read([{}, last]) == pytest.approx(1.6)
    assert CLAIMS["ptb-small"].quantity.read([last]) == 115
    assert CLAIMS["adding"].quantity.read([last]) == CLAIMS["copy"].quantity.read([last]) == 1.7
