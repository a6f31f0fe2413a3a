"""Both sides of the convolution benchmark train the same nets."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from experiments.benchmarks import ablax_images, conv, report
from experiments.benchmarks.images import PLAIN, RESIDUAL, SEEDS, ImageProblem

SMALL: dict[str, Any] = {"size": 8, "classes": 4, "batch": 16, "rows": 64}
PROBLEMS = {
    "plain": ImageProblem("plain", "4k3 max2 6k3 max2", **SMALL),
    "residual": ImageProblem("residual", depth=8, width=4, **SMALL),
}
STEPS = 4


@pytest.mark.slow
def test_an_epoch_takes_every_replica_through_every_step():
    problem = dataclasses.replace(PROBLEMS["plain"], layers="4k3", replicas=2)
    side = ablax_images.prepare(problem)
    assert problem.images == 2 * 64 and "2 lanes over 2 devices" in side.note
    side.epoch()
    assert ablax_images.study_of(problem).seeds == 2
    assert ablax_images.study_of(dataclasses.replace(problem, apart=True)).seeds == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", PROBLEMS)
def test_pytorch_trains_the_same(name):
    pytest.importorskip("torch", reason="PyTorch comes with `make bench`, not with the lock")
    from experiments.benchmarks import torch_images

    start, arrays, order, losses = ablax_images.losses(PROBLEMS[name], STEPS)
    theirs = torch_images.losses(PROBLEMS[name], start, arrays, order)
    np.testing.assert_allclose(theirs, losses, rtol=2e-5)


def test_the_nets_are_those_of_the_issue():
    assert [problem.batch for problem in (PLAIN, RESIDUAL, SEEDS)] == [128] * 3
    assert (PLAIN.shape, RESIDUAL.depth, SEEDS.replicas) == ((32, 32, 3), 20, 8)


def test_ratios_are_formed_inside_each_round():
    cells = report.rates(6.0, {"mine": [1.0, 2.0, 3.0], "other": [2.0, 4.0, 3.0]}, "mine", 1)
    assert cells["mine"] == ("3.0", "2.0 .. 6.0", "1.00", "1.00 .. 1.00")
    assert cells["other"] == ("2.0", "1.5 .. 3.0", "2.00", "1.00 .. 2.00")


def test_without_pytorch_one_message_and_exit_code_2(monkeypatch, capsys):
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    assert conv.main([]) == 2
    assert "make bench" in capsys.readouterr().err


@pytest.mark.parametrize("argv", [["--rounds", "0"], ["--problems", "x"]])
def test_wrong_options_are_refused(argv, capsys):
    with pytest.raises(SystemExit) as refused:
        conv.main(argv)
    assert refused.value.code == 2
    assert argv[1] in capsys.readouterr().err
