"""The experiment `mlp`: every field changes what is computed, it can learn, and it runs."""

import csv

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import EXPERIMENTS, mlp
from experiments.engine.cli import main
from experiments.engine.config import leaves, parse
from tests.experiments.conftest import first_state

STATIC = {
    "preprocess": "pca", "validation": "0.2", "train_size": "700", "binary": "0,2",
    "order": "file",
    "permute": "true", "optimizer": "rmsprop", "schedule": "linear", "warmup": "0.1",
    "batch_size": "90", "epochs": "3", "loss": "squared_error", "width": "8", "activation": "tanh",
    "norm": "layer", "skip": "true", "init": "lecun_normal", "bias_init": "fan_in_uniform",
    "compute_dtype": "bfloat16", "keep": "best",
    # options that are off until they are given
    "label_noise": "0.2", "weight_decay": "0", "bias_rate": "1", "clip": "1", "clip_value": "1",
    "lookahead": "2", "l1": "0", "l2": "0", "max_norm": "1", "dropout": "0", "input_dropout": "0",
    "input_noise": "0",
}  # fmt: skip
"""Another value of every field that picks the program; the base has two hidden layers of 5."""

TRACED = {
    "learning_rate": (0.01, 0.02), "momentum": (0.9, 0.5), "second_moment": (0.999, 0.9),
    "weight_decay": (0.0, 0.5), "bias_rate": (1.0, 5.0), "clip": (1e6, 0.1),
    "clip_value": (1e6, 0.01), "label_smoothing": (0.0, 0.2),
    "l1": (0.0, 0.1), "l2": (0.0, 0.1), "max_norm": (1e6, 0.5), "dropout": (0.0, 0.5),
    "input_dropout": (0.0, 0.5), "input_noise": (0.0, 0.5), "init_scale": (1.0, 0.5),
}  # fmt: skip
"""Two values of every traced field."""

BESIDE = {
    "decay_on": ("all", {"weight_decay": 0.1}),
    "decay_form": ("coupled", {"weight_decay": 0.1}),
    "start_factor": (0.5, {"warmup": 0.1}),
    "momentum_after": (0.5, {"warmup": 0.1}),
    "step_at": ((0.2,), {"schedule": "step"}),
    "step_factor": (0.5, {"schedule": "step"}),
}
"""Another value of fields that pick the program beside other ones, and these."""

TRIED_APART = (
    "hinge_margin", "components", "whitening_epsilon", "penalise", "input_noise_schedule",
    "patience", "average", "end_factor",
)  # fmt: skip
"""Fields that do something only beside another one."""


def program_of(made):
    """What is traced for one replica, as text, and the arrays it is given."""
    xs = jax.eval_shape(made.trainer.epoch_inputs, made.replica, made.data, jnp.int32(0))
    state = jax.eval_shape(made.trainer.init, made.replica)
    step = jax.make_jaxpr(made.trainer.first_step)(state, made.replica, made.data, xs)
    init = jax.make_jaxpr(made.trainer.init)(made.replica)
    arrays = [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(made.data)]
    return str(init), str(step), arrays


@pytest.fixture(scope="module")
def base(pieces):
    return program_of(pieces(width=(5, 5)))


def test_every_field_is_tried():
    known = leaves(mlp.Config)
    tried = {*STATIC, *TRACED, "dataset", "data_file", *BESIDE, *TRIED_APART}
    assert tried == set(known)
    assert {name for name, leaf in known.items() if leaf.is_float} == {
        *TRACED, "hinge_margin", "label_noise", "average", "start_factor", "end_factor",
        "momentum_after",
    }  # fmt: skip


def test_traced_fields_change_neither_program_nor_data(pieces, base):
    assert program_of(pieces(width=(5, 5), learning_rate=0.5, init_scale=2.0)) == base


@pytest.mark.slow
@pytest.mark.parametrize("name", STATIC)
def test_every_static_field_changes_the_program_or_its_data(pieces, base, name):
    value = parse(leaves(mlp.Config)[name], STATIC[name])
    assert program_of(pieces(**{"width": (5, 5), name: value})) != base


@pytest.mark.parametrize("name", BESIDE)
def test_every_static_field_beside_another_changes_the_program(pieces, name):
    value, others = BESIDE[name]
    plain = program_of(pieces(width=(5, 5), **others))
    assert program_of(pieces(width=(5, 5), **others, **{name: value})) != plain


def after_three_steps(made, lanes):
    """The parameters of every lane, whose traced fields are changed as it says, as vectors."""
    floats = {
        name: jnp.array([lane.get(name, value) for lane in lanes], jnp.float32)
        for name, value in made.replica.floats.items()
    }

    def train(floats):
        replica = made.replica._replace(floats=floats)
        xs = made.trainer.epoch_inputs(replica, made.data, jnp.int32(0))
        state = made.trainer.init(replica)
        inputs = (replica, made.data, xs)
        sums = made.trainer.zero_sums(*inputs)
        return made.trainer.train(state, sums, *inputs, jnp.int32(0), jnp.int32(3))[0].params

    trained = jax.jit(jax.vmap(train))(floats)
    return [
        np.concatenate([np.ravel(leaf[i]) for leaf in jax.tree.leaves(trained)])
        for i in range(len(lanes))
    ]


@pytest.mark.slow
def test_every_traced_field_changes_the_result_and_0_is_the_same_as_off(pieces):
    """One program; a lane for each field at its second value, and one that changes nothing."""
    plain = pieces(width=(6,), batch_size=50, learning_rate=0.01)
    made = pieces(width=(6,), batch_size=50, **{name: first for name, (first, _) in TRACED.items()})
    lanes = [{}, *({name: second} for name, (_, second) in TRACED.items())]
    first, *others = after_three_steps(made, lanes)
    for lane, other in zip(lanes[1:], others, strict=True):
        assert np.abs(other - first).max() > 1e-4, lane
    (expected,) = after_three_steps(plain, [{}])
    np.testing.assert_allclose(first, expected, rtol=1e-4, atol=1e-5)
    assert not {"dropout", "l1", "l2", "clip", "weight_decay"} & set(plain.replica.floats)


@pytest.mark.slow
def test_a_triangle_of_traced_ends(pieces):
    made = pieces(
        width=(6,), epochs=1, learning_rate=0.01, schedule="triangle", warmup=0.1,
        start_factor=0.0, end_factor=0.0,
    )  # fmt: skip
    plain, start, end = after_three_steps(made, [{}, {"start_factor": 0.5}, {"end_factor": 0.5}])
    assert np.abs(start - plain).max() > 1e-4
    assert np.abs(end - plain).max() > 1e-4


@pytest.mark.slow
def test_components_reach_the_net(pieces):
    made = pieces(preprocess="principal", components=2, width=(3,))
    state = first_state(made)
    assert state.params["layer_1"]["kernel"].shape == (2, 3)
    xs = made.trainer.epoch_inputs(made.replica, made.data, jnp.int32(0))
    made.trainer.first_step(state, made.replica, made.data, xs)
    kept = made.trainer.current(state, made.replica)
    assert made.trainer.evaluate(kept, made.replica, made.data, "test")[1] is not None


@pytest.mark.slow
def test_a_penalty_on_the_output_layer_alone(pieces):
    """One step of gradient descent from the same weights: other layers move as without it."""

    def step(**changes):
        made = pieces(width=(5,), optimizer="sgd", **changes)
        state = first_state(made)
        xs = made.trainer.epoch_inputs(made.replica, made.data, jnp.int32(0))
        stepped = made.trainer.first_step(state, made.replica, made.data, xs)[0]
        return state.params, stepped.params

    start, plain = step()
    _, output = step(l2=0.5, penalise="output", l1=0.0)
    _, every = step(l2=0.5)
    rate = mlp.Config().optimizer.learning_rate
    np.testing.assert_array_equal(output["layer_1"]["kernel"], plain["layer_1"]["kernel"])
    shrunk = plain["output"]["kernel"] - rate * start["output"]["kernel"]  # the gradient is 2 c w
    np.testing.assert_allclose(output["output"]["kernel"], shrunk, atol=1e-6)
    np.testing.assert_allclose(every["output"]["kernel"], shrunk, atol=1e-6)
    assert np.abs(every["layer_1"]["kernel"] - plain["layer_1"]["kernel"]).max() > 1e-5


@pytest.mark.slow
def test_input_noise_falls_to_zero_over_the_training(pieces):
    """12 steps an epoch for 2 epochs: the net counts them, and a replica that diverged stops."""
    made = pieces(input_noise=1.0, input_noise_schedule="linear", epochs=2)
    net = made.trainer.model(made.replica).net
    assert net.input_noise_steps == made.trainer.total_steps == 24
    state = first_state(made)
    xs = made.trainer.epoch_inputs(made.replica, made.data, jnp.int32(0))
    for _ in range(2):
        state, _ = made.trainer.first_step(state, made.replica, made.data, xs)
    assert int(state.model_state["schedule"]["input_noise"]["steps"]) == 2


@pytest.mark.parametrize("loss", ["hinge", "crammer_singer", "squared_hinge"])
def test_the_margin_is_that_of_the_hinge_losses(pieces, loss):
    made = pieces(loss=loss, hinge_margin=1.0)
    state = first_state(made)

    @jax.jit
    @jax.vmap
    def lost(margin):
        floats = made.replica.floats | {"hinge_margin": margin}
        replica = made.replica._replace(floats=floats)
        kept = made.trainer.current(state, replica)
        return made.trainer.evaluate(kept, replica, made.data, "test")[0]

    measured = lost(jnp.array([1.0, 2.0]))
    assert measured["loss"][1] > measured["loss"][0] + 0.5
    assert measured["accuracy"][1] == measured["accuracy"][0]


def test_it_learns_one_small_batch_by_heart(pieces):
    made = pieces(
        train_size=16, batch_size=16, width=(64,), learning_rate=0.03, schedule="constant",
        epochs=200,
    )  # fmt: skip

    @jax.jit
    def train(replica, data):
        xs = trainer.epoch_inputs(replica, data, jnp.int32(0))
        again = jnp.broadcast_to(xs, (200, 16))
        state = trainer.init(replica)
        inputs = (replica, data, again)
        sums = trainer.zero_sums(*inputs)
        return trainer.train(state, sums, *inputs, jnp.int32(0), jnp.int32(200))

    trainer = made.trainer
    state, _ = train(made.replica, made.data)
    kept = trainer.current(state, made.replica)
    measured, correct = trainer.evaluate(kept, made.replica, made.data, "train")
    assert correct is not None and correct.all()
    assert float(measured["loss"]) < 0.01


@pytest.mark.slow
def test_two_steps_through_run(rows_file, tmp_path, capsys):
    arguments = [
        "run", "mlp", "--dataset", "file", "--data-file", rows_file, "--train-size", "40",
        "--batch-size", "20", "--epochs", "1", "--width", "()", "--seed", "3",
        "--activation", "leaky_relu:0.2", "--out", str(tmp_path / "run"),
    ]  # fmt: skip
    assert main(EXPERIMENTS, arguments, prog="launch.py") == 0
    shown = capsys.readouterr()
    assert "1 replica in 1 program, one trace" in shown.err
    assert f"folder: {tmp_path / 'run'}" in shown.out
    with (tmp_path / "run" / "results.csv").open(newline="") as stream:
        (row,) = csv.DictReader(stream)
    assert (row["seed"], row["step"], row["status"]) == ("3", "2", "finished")
    assert (row["activation"], row["width"]) == ("leaky_relu:0.2", "()")
    assert 0 <= float(row["test_accuracy"]) <= 1
    assert float(row["curvature"]) < 1e-5
    with np.load(tmp_path / "run" / "pictures" / "cell_0" / "arrays.npz") as arrays:
        assert set(arrays.files) == {"template_0", "template_1", "template_2"}
    assert (tmp_path / "run" / "pictures" / "cell_0" / "template_2.png").stat().st_size > 0
