"""The experiment `memory`: its tasks, how answers are judged, and how far back gradients reach."""

import csv
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import EXPERIMENTS, memory, memory_reach
from experiments import memory_tasks as tasks
from experiments.data.memory import adding, copying
from experiments.engine.cli import main
from experiments.engine.config import leaves, parse, replace
from experiments.engine.errors import UsageError
from nets.activations import ACTIVATIONS
from tests.experiments.conftest import Pieces, first_state, make_pieces, step_of

ROWS = {"train": 400, "test": 200}
SMALL = {"width": (4,), "length": 6, "train_rows": 200, "test_rows": 30, "batch_size": 20}
ADDING, COPY = tasks.Task("adding", 7), tasks.Task("copy", 5)


def pieces(**changes: Any) -> Pieces:
    return make_pieces(memory.EXPERIMENT, **SMALL | changes)


def test_adding_marks_one_number_in_each_half():
    arrays = adding(7, ROWS).splits["train"]
    assert arrays["x"].shape == (400, 7) and arrays["x"].dtype == np.float32
    assert set(arrays["marks"][:, 0]) == {0, 1, 2} and set(arrays["marks"][:, 1]) == {3, 4, 5, 6}
    for x, marks, y in zip(arrays["x"], arrays["marks"], arrays["y"], strict=True):
        assert y == x[marks[0]] + x[marks[1]]
    assert adding(7, ROWS).digest == adding(7, ROWS).digest


def test_the_constant_answer_of_adding_has_an_error_of_a_sixth():
    y = adding(50, {"train": 200_000, "test": 1}).splits["train"]["y"]
    assert np.mean((y - 1) ** 2) == pytest.approx(1 / 6, rel=0.01)


@pytest.mark.parametrize("make", [adding, copying])
def test_no_split_depends_on_the_size_of_the_other(make):
    few, many = (make(7, {"train": rows, "test": 20}).splits for rows in (30, 50))
    jax.tree.map(np.testing.assert_array_equal, dict(few["test"]), dict(many["test"]))
    np.testing.assert_array_equal(few["train"]["x"], many["train"]["x"][:30])
    assert (few["train"]["x"][:20] != few["test"]["x"]).any()


def batch_of(task: tasks.Task, dataset: Any) -> dict[str, np.ndarray]:
    arrays = jax.tree.map(jnp.asarray, dict(dataset.splits["test"]))
    return jax.tree.map(np.asarray, tasks.sequences(task, arrays, jnp.arange(200)))


def test_what_the_net_reads_of_an_adding_sequence():
    dataset = adding(7, ROWS)
    batch, arrays = batch_of(ADDING, dataset), dataset.splits["test"]
    np.testing.assert_array_equal(batch["x"][..., 0], arrays["x"])
    for marked, marks in zip(batch["x"][..., 1], arrays["marks"], strict=True):
        assert np.flatnonzero(marked).tolist() == marks.tolist() and marked.sum() == 2
    np.testing.assert_array_equal(batch["y"], arrays["y"])


def test_what_the_net_reads_and_says_of_a_copy_sequence():
    dataset = copying(5, ROWS)
    batch, symbols = batch_of(COPY, dataset), dataset.splits["test"]["x"]
    assert set(np.unique(symbols)) == set(range(8))
    assert batch["x"].shape == (200, 25, 10) and batch["y"].shape == (200, 25)
    read = batch["x"].argmax(-1)
    np.testing.assert_array_equal(read[:, :10], symbols)
    np.testing.assert_array_equal(read[0, 10:], [8, 8, 8, 8, 9] + [8] * 10)
    np.testing.assert_array_equal(batch["y"][:, -10:], symbols)
    assert (batch["y"][:, :-10] == 8).all()


def test_errors_of_adding():
    outputs, y = jnp.asarray([[1.0], [0.5]]), jnp.asarray([1.03, 0.45])
    loss, right = tasks.errors(ADDING, outputs, y)
    np.testing.assert_allclose(loss, [0.03**2, 0.05**2], rtol=1e-4)
    np.testing.assert_array_equal(right, [True, False])


def test_the_floor_of_who_recalls_nothing():
    y = jnp.asarray(batch_of(COPY, copying(5, ROWS))["y"])
    blank = jnp.asarray([-40.0] * 8 + [40.0])
    guess = jnp.asarray([0.0] * 8 + [-40.0])
    outputs = jnp.where((jnp.arange(25) < 15)[None, :, None], blank[None, None], guess[None, None])
    loss, right = tasks.errors(COPY, jnp.broadcast_to(outputs, (200, 25, 9)), y)
    np.testing.assert_allclose(loss, 10 * np.log(8) / 25, rtol=1e-5)
    np.testing.assert_allclose(right, np.mean(y[:, -10:] == 0, axis=1), atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("task", ["adding", "copy"])
def test_evaluation_is_exact_in_chunks_of_any_size(task, monkeypatch):
    made = pieces(task=task, test_rows=23, validation=0.1)
    state = first_state(made)
    config, net, _ = made.trainer.model(made.replica)
    found = {}
    for size in (500, 7):
        monkeypatch.setattr(memory, "EVALUATION_ROWS", size)
        evaluate = jax.jit(functools.partial(memory.evaluate, config, net), static_argnames="split")
        found[size] = evaluate(state.params, {}, made.data, split="test")[0]
    arrays = made.data.splits["test"]
    batch = tasks.sequences(config.data, arrays, jnp.arange(23))
    outputs = net.apply({"params": state.params}, batch["x"], train=False)
    loss, right = tasks.errors(config.data, outputs, batch["y"])
    for scores in found.values():
        np.testing.assert_allclose(scores["loss"], np.mean(loss), rtol=1e-5)
        np.testing.assert_allclose(scores["accuracy"], np.mean(right), rtol=1e-5)


STATIC = {
    "task": "copy", "length": "7", "cell": "gru", "width": "5", "activation": "relu",
    "gate": "hard_tanh", "peepholes": "true", "layer_norm": "true", "without": "output",
    "coupled": "true", "bidirectional": "true", "dropout": "0.1", "state_dropout": "0.1",
    "weight_dropout": "0.1", "init": "zeros", "recurrent_init": "identity",
    "bias_init": "fan_in_uniform", "compute_dtype": "bfloat16",
}  # fmt: skip


@pytest.fixture(scope="module")
def plain() -> str:
    return step_of(pieces())


@pytest.mark.slow
@pytest.mark.parametrize("name", STATIC)
def test_every_option_changes_the_program(plain, name):
    value = parse(leaves(memory.Config)[name], STATIC[name])
    assert step_of(pieces(**{name: value})) != plain


def test_the_form_of_dropout_changes_the_program():
    assert step_of(pieces(dropout=0.1, dropout_form="sequence")) != step_of(pieces(dropout=0.1))


def test_traced_fields_share_one_program(plain):
    assert step_of(pieces(forget_bias=3.0, init_scale=2.0, learning_rate=0.1)) == plain


REFUSED = {
    "length": (1, "--length 1: at least 2"),
    "test_rows": (0, "--test-rows 0: at least 1"),
    "validation": (1.0, "--validation 1 of --train-rows 20000: must leave rows"),
    "width": ((), "--width: at least one layer"),
    "dropout": (1.0, "--dropout 1.0: must be at least 0 and below 1"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_train_is_refused_by_name(name):
    value, message = REFUSED[name]
    config = replace(memory.Config(), {name: value})
    with pytest.raises(UsageError) as caught:
        memory.check(config, memory.load(config, None).spec)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cell": "rnn", "peepholes": True}, "--peepholes: an LSTM has it; use --cell lstm, not"),
        ({"cell": "gru", "forget_bias": 3.0}, "--forget-bias: an LSTM has it; .*or --arm"),
        ({"cell": "rnn", "gate": ACTIVATIONS["tanh"]}, "--gate: an RNN has none"),
        ({"without": "forget", "forget_bias": 3.0}, "--forget-bias: there is no forget gate"),
        ({"forget_bias": float("inf")}, "--forget-bias inf: must be finite"),
        ({"coupled": True, "without": "input"}, "--coupled: there is no input gate to couple"),
        ({"gate": ACTIVATIONS["maxout"]}, "^--gate maxout:2: a recurrent unit has one input for"),
        ({"activation": ACTIVATIONS["maxout"]}, "^--activation maxout:2: a recurrent unit has one"),
        ({"task": "copy", "bidirectional": True}, "--bidirectional: the other direction has"),
    ],
)
def test_options_that_do_not_go_together(changes, message):
    config = replace(memory.Config(), changes | {"train_rows": 200, "test_rows": 10})
    with pytest.raises(UsageError, match=message):
        memory.check(config, memory.load(config, None).spec)


def test_nets_that_read_both_ways_are_not_said_to_forget():
    made = pieces(cell="rnn", test_rows=3, bidirectional=True)
    params = first_state(made).params
    config, net, _ = made.trainer.model(made.replica)
    assert memory_reach.measure(config, net, params, {}, made.data) == {}
    assert memory_reach.pictures(config, net, params, {}, made.data) == {}


@pytest.mark.slow
def test_the_gradient_over_time_is_that_of_the_rest_of_the_sequence():
    made = pieces(cell="rnn", test_rows=3)
    params = first_state(made).params
    config, net, _ = made.trainer.model(made.replica)
    norms = memory_reach.last_gradients(config, net, params, {}, made.data)
    batch = tasks.sequences(config.data, made.data.splits["test"], jnp.arange(3))
    layer = jax.tree.map(np.asarray, params["stack"]["layer_1"])
    read = np.asarray(batch["x"]) @ layer["inputs"]["kernel"] + layer["bias"]
    recurrent, output = layer["state"]["kernel"], np.asarray(params["output"]["kernel"])
    states = [np.zeros((3, 4))]
    for t in range(6):
        states.append(np.tanh(read[:, t] + states[-1] @ recurrent))
    error = states[-1] @ output[:, 0] + np.asarray(params["output"]["bias"]) - batch["y"]
    gradient = 2 * np.asarray(error)[:, None] * output[:, 0]
    expected = []
    for state in states[:0:-1]:
        expected.append(np.linalg.norm(gradient, axis=1).mean())
        gradient = (gradient * (1 - state**2)) @ recurrent.T
    np.testing.assert_allclose(norms, expected[::-1], rtol=1e-3)


@pytest.mark.slow
def test_gates_over_time_are_those_of_each_layer():
    made = pieces(cell="lstm", width=(4, 3), test_rows=3)
    params = first_state(made).params
    config, net, _ = made.trainer.model(made.replica)
    found = memory_reach.gates(config, net, params, {}, made.data)
    names = {f"layer_{i}_{gate}" for i in (1, 2) for gate in ("input", "forget", "output")}
    assert set(found) == names
    assert all(opening.shape == (6,) for opening in found.values())
    assert float(found["layer_1_forget"][0]) > 0.6 > float(found["layer_1_input"][0])  # forget bias
    drawn = memory_reach.pictures(config, net, params, {}, made.data)
    assert set(drawn) == {"gradient_over_time", *(f"{name}_over_time" for name in names)}
    np.testing.assert_allclose(drawn["layer_2_output_over_time"].values, found["layer_2_output"])


@pytest.mark.parametrize(
    ("factor", "steps", "said"),
    [
        (0.0, 19, "forgets: more than 19 of 100 steps back, under 1 % of the gradient is left"),
        (0.9, 44, "forgets: more than 44 of 100 steps back, under 1 % of the gradient is left"),
        (0.99, 100, "remembers: all 100 steps back, at least 1 % of the gradient is left"),
        (1.1, 30, "explodes: each step back multiplies the last answer's gradient by 1.1"),
        (1e30, 0, "explodes: each step back multiplies the last answer's gradient by 1e+30"),
    ],
)
def test_remarks_on_the_gradient(factor, steps, said):
    measured = {"gradient_per_step": factor, "gradient_steps": float(steps)}
    assert memory_reach.remark(memory.Config(), measured) == said


@pytest.mark.slow
def test_it_learns_through_run(tmp_path, capsys):
    arguments = [
        "run", "memory", "--length", "4", "--cell", "gru", "--width", "16", "--train-rows", "2000",
        "--test-rows", "200", "--epochs", "8", "--learning-rate", "0.02", "--diagnose",
        "--out", str(tmp_path / "run"),
    ]  # fmt: skip
    assert main(EXPERIMENTS, arguments, prog="launch.py") == 0
    said = capsys.readouterr()
    assert "1 replica in 1 program, one trace" in said.err
    assert "remembers: all 4 steps back, at least 1 % of the gradient is left" in said.out
    rows = [line.split() for line in said.out.splitlines() if "stack/layer_1/update" in line]
    assert len(rows) == 2 and all(0 < float(row[1]) < 1 for row in rows)  # before and after
    with (tmp_path / "run" / "results.csv").open(newline="") as stream:
        (row,) = csv.DictReader(stream)
    assert float(row["test_loss"]) < 0.02
    assert float(row["gradient_steps"]) == 4
    with np.load(tmp_path / "run" / "pictures" / "cell_0" / "arrays.npz") as arrays:
        assert arrays["gradient_over_time"].shape == (4,)
