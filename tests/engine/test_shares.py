"""One replica's batch shared by two devices: the same training, and its own bits every time."""

import dataclasses

import numpy as np
import pytest

from experiments import convnet
from experiments.engine import prepare
from experiments.engine.config import replace
from experiments.engine.cost import Cost
from experiments.engine.errors import UsageError
from experiments.engine.folder import most_devices, read_study
from experiments.engine.parameters import read_parameters
from experiments.engine.plan import Override
from experiments.engine.program import Layout
from tests.engine.probe import finals, fingerprint

CONV = dataclasses.replace(convnet.EXPERIMENT, name="shared", measure=fingerprint)
CONFIG = replace(
    convnet.Config(),
    {
        "dataset": "digits", "train_size": 160, "batch_size": 16, "epochs": 1, "flip": "random",
        "layers": "4k3 max2", "norm": "batch", "dropout": 0.3,
    },
)  # fmt: skip


@pytest.fixture(scope="module")
def shared(train):
    return train(CONV, CONFIG, seeds=1, override=Override(shares=2))


@pytest.mark.slow
def test_noise_statistics_and_scores_are_those_of_the_whole_batch(train, shared):
    alone = train(CONV, CONFIG, seeds=1, override=Override(shares=1))
    mine, theirs = (read_parameters(each.folder, 0, 0) for each in (alone, shared))
    assert mine is not None and theirs is not None
    assert set(mine) == set(theirs) and len(mine) == 7
    for name in mine:
        np.testing.assert_allclose(theirs[name], mine[name], rtol=0, atol=1e-5)
    (one,), (other,) = finals(alone).values(), finals(shared).values()
    for name in ("test_loss", "validation_loss", "train_loss", "test_accuracy"):
        assert other[name] == pytest.approx(one[name], rel=1e-5)


@pytest.mark.slow
def test_its_bits_do_not_depend_on_how_steps_are_cut(train, shared):
    short = train(CONV, CONFIG, seeds=1, override=Override(shares=2, steps_per_call=3))
    assert finals(short) == finals(shared)


@pytest.mark.slow
def test_the_plan_is_recorded_and_kept(train, shared):
    contents = read_study(shared.folder)
    (plan,) = contents["programs"]
    assert (plan["lanes"], plan["devices"], plan["shares"]) == (1, 1, 2)
    assert most_devices([plan]) == 2
    with pytest.raises(UsageError, match="planned with --lanes 1 --devices 1 --shares 2"):
        train(CONV, CONFIG, seeds=1, out=shared.folder, override=Override(shares=1))


def test_a_plan_recorded_before_batches_were_shared_is_kept():
    old = {"lanes": 1, "devices": 1}
    cost = Cost(1e12, 1, convolves=True, batch=128)
    assert prepare._plan(cost, (1,), Override(), old, print).layout == Layout(1, 1)
    assert prepare._plan(cost, (1,), Override(), {**old, "shares": 2}, print).layout.shares == 2
    assert most_devices([old]) == 1


def test_a_plan_for_more_devices_than_there_are_is_told():
    said, cost = [], Cost(1e12, 1, convolves=True, batch=128)
    old = {"lanes": 2, "devices": 2, "shares": 4}
    assert prepare._plan(cost, (2,), Override(), old, said.append).layout == Layout(2, 2)
    assert said[0].startswith("warning: this study was planned for 8 devices, and here are 2: ")
