"""All sides of the benchmark train the same problem: from equal weights, the same losses."""

import numpy as np
import pytest

from experiments.benchmarks import ablax, flax_loop, grid, mlp
from experiments.benchmarks.problem import Problem

PROBLEM = Problem(width=8, replicas=2, inputs=20, classes=4, batch=16, rows=128)
STEPS = 6


@pytest.fixture(scope="module")
def trained():
    return ablax.losses(PROBLEM, STEPS)


def float64_losses(start, steps):
    """The training in NumPy: ReLU, softmax cross-entropy, Adam (Kingma & Ba 2015, algorithm 1)."""
    params = [np.asarray(p, np.float64) for layer in start.layers for p in layer]
    data, found = start.arrays, []
    first, second = ([np.zeros_like(p) for p in params] for _ in range(2))
    for step, rows in enumerate(start.order[:steps], 1):
        hidden = [(data.x[rows] / 255 - data.mean) * data.scale]
        for kernel, bias in zip(params[:-2:2], params[1:-2:2], strict=True):
            hidden.append(np.maximum(hidden[-1] @ kernel + bias, 0))
        scores = hidden[-1] @ params[-2] + params[-1]
        odds = np.exp(scores - scores.max(1, keepdims=True))
        probability = odds / odds.sum(1, keepdims=True)
        index = np.arange(len(rows)), data.y[rows]
        found.append(-np.log(probability[index]).mean())
        probability[index] -= 1
        error, grads = probability / len(rows), []
        for layer in reversed(range(len(hidden))):
            grads = [hidden[layer].T @ error, error.sum(0), *grads]
            error = (error @ params[2 * layer].T) * (hidden[layer] > 0)
        for i, grad in enumerate(grads):
            first[i] = 0.9 * first[i] + 0.1 * grad
            second[i] = 0.999 * second[i] + 0.001 * grad**2
            size = np.sqrt(second[i] / (1 - 0.999**step)) + 1e-8
            params[i] = params[i] - 1e-3 * first[i] / (1 - 0.9**step) / size
    return np.array(found)


@pytest.mark.slow
def test_ablax_trains_the_problem_of_the_numpy_reference(trained):
    starts, losses = trained
    assert losses.shape == (PROBLEM.replicas, STEPS)
    for start, own in zip(starts, losses, strict=True):
        np.testing.assert_allclose(own, float64_losses(start, STEPS), rtol=1e-5)


@pytest.mark.slow
def test_the_flax_loop_trains_the_same(trained):
    starts, losses = trained
    for start, own in zip(starts, losses, strict=True):
        np.testing.assert_allclose(flax_loop.losses(PROBLEM, start, STEPS), own, rtol=1e-5)


def test_pytorch_trains_the_same(trained):
    pytest.importorskip("torch", reason="PyTorch comes with `make bench`, not with the lock")
    from experiments.benchmarks import pytorch

    starts, losses = trained
    for start, own in zip(starts, losses, strict=True):
        np.testing.assert_allclose(pytorch.losses(PROBLEM, start, STEPS), own, rtol=1e-5)


def test_an_epoch_takes_every_replica_through_every_step():
    running, _ = ablax.compiled(PROBLEM)
    ablax.train_epoch(running)
    steps = [np.asarray(state.step) for state in running.states]
    assert sum(len(group.jobs) for group in running.groups) == PROBLEM.replicas
    assert all((each == PROBLEM.steps).all() for each in steps)


def test_flops_follow_the_definition():
    assert Problem(32).flops_per_step == 128 * (4 * 784 * 32 + 6 * (32 * 32 + 32 * 10))


def test_the_grid_is_read_from_the_folder_of_the_study(tmp_path):
    names = "activation,dropout,width,batch_size,epochs,dataset,validation,seed"
    rows = ["relu,0.0,'100,100',100,20,mnist1d,0.1,", "gelu,0.5,'100,100',100,20,mnist1d,0.1,"]
    for name, seeds in (("tuning.csv", 3), ("results.csv", 2)):
        lines = [f"{row}{seed}".replace("'", '"') for row in rows for seed in range(seeds)]
        (tmp_path / name).write_text("\n".join([names, *lines]) + "\n")
    counted = grid.kinds(tmp_path)
    shared = {"width": (100, 100), "batch": 100, "epochs": 20, "dataset": "mnist1d"}
    for activation, dropout in (("relu", 0.0), ("gelu", 0.5)):
        for reports, number in ((False, 3), (True, 2)):
            kind = grid.Kind(activation, dropout, **shared, validation=0.1, reports=reports)
            assert counted[kind] == number
    assert counted.total() == 10


def test_without_pytorch_one_message_and_exit_code_2(monkeypatch, capsys):
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    assert mlp.main(["--no-study"]) == 2
    assert "make bench" in capsys.readouterr().err


@pytest.mark.parametrize("argv", [["--rounds", "0"], ["--widths", "x"], ["--replicas", "-1"]])
def test_wrong_options_are_refused(argv, capsys):
    with pytest.raises(SystemExit) as refused:
        mlp.main(argv)
    assert refused.value.code == 2
    assert argv[1] in capsys.readouterr().err
