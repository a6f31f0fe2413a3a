"""All sides of the recurrent benchmark train the same net."""

import numpy as np
import pytest

from experiments.benchmarks import ablax_text, flax_text, recurrent
from experiments.benchmarks.text import TextProblem
from experiments.engine.plan import Override

SMALL = TextProblem(8, vocabulary=7, length=5, batch=4, rows=24)
STEPS = 5


@pytest.fixture(scope="module")
def ours():
    return ablax_text.losses(SMALL, STEPS)


@pytest.mark.slow
def test_flax_trains_the_same(ours):
    start, order, losses = ours
    np.testing.assert_allclose(flax_text.losses(SMALL, start, order), losses, rtol=2e-5)


@pytest.mark.slow
def test_pytorch_trains_the_same(ours):
    pytest.importorskip("torch", reason="PyTorch comes with `make bench`, not with the lock")
    from experiments.benchmarks import torch_text

    start, order, losses = ours
    np.testing.assert_allclose(torch_text.losses(SMALL, start, order), losses, rtol=2e-5)


@pytest.mark.slow
def test_a_shared_batch_trains_the_same(ours):
    _, order, losses = ours
    _, theirs, shared = ablax_text.losses(SMALL, STEPS, Override(shares=2))
    np.testing.assert_array_equal(theirs, order)
    np.testing.assert_allclose(shared, losses, rtol=2e-5)


def test_an_epoch_is_counted_in_tokens():
    assert (TextProblem(128).steps, TextProblem(128).tokens) == (10, 10 * 32 * 64)


def test_without_pytorch_one_message_and_exit_code_2(monkeypatch, capsys):
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    assert recurrent.main([]) == 2
    assert "make bench" in capsys.readouterr().err


@pytest.mark.parametrize("argv", [["--rounds", "0"], ["--widths", "x"]])
def test_wrong_options_are_refused(argv, capsys):
    with pytest.raises(SystemExit) as refused:
        recurrent.main(argv)
    assert refused.value.code == 2
    assert argv[1] in capsys.readouterr().err
