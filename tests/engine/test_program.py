"""Programs: one trace each, and bits that depend on nothing but the replica and the plan."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.engine import plan, prepare
from experiments.engine.config import replace
from experiments.engine.errors import UsageError
from experiments.engine.experiment import Data
from experiments.engine.log import read_lines
from experiments.engine.plan import Override
from experiments.engine.program import Layout, place, stack
from experiments.engine.step import Replica
from experiments.engine.study import make_study
from tests.engine.probe import PROBE, SMALL, finals, parameters, without
from tests.engine.toy import TOY

HALF = replace(SMALL, {"dropout": 0.5})
WIDE = Override(lanes=4, devices=2)


def assert_equal_where_shared(some, others, least):
    shared = set(some) & set(others)
    assert len(shared) >= least
    for key in shared:
        assert some[key] == others[key]


def test_a_study_is_one_program_and_one_trace(base):
    outcome, said = base
    assert any(text.startswith("12 replicas in 1 program, one trace each") for text in said)
    lines = finals(outcome)
    assert len(lines) == 12
    assert len({tuple(line[f"bits_{i}"] for i in range(4)) for line in lines.values()}) == 12
    assert all(line["status"] == "finished" and line["step"] == 20 for line in lines.values())


def test_layers_are_diagnosed_before_training_and_at_every_evaluation(base):
    outcome, _ = base
    lines = [line for line in read_lines(outcome.folder) if "diagnosis" in line]
    assert sorted((line["cell"], line["seed"], line["epoch"]) for line in lines) == [
        (cell, seed, epoch) for cell in range(4) for seed in range(3) for epoch in range(3)
    ]
    for line in lines:
        found = line["diagnosis"]
        assert set(found["gradient"]) == {"layer_1", "output"}
        assert set(found["activation"]) == {"activation_1"}
        assert set(found["activation"]["activation_1"]) == {"mean", "sd", "saturated", "dead"}
    for cell in outcome.study.cells:
        name = f"learning_rate={cell.levels['learning_rate']} dropout={cell.levels['dropout']}"
        assert f"Layers of {name}, before training (medians over seeds):" in outcome.text
        assert f"Layers of {name}, after epoch 2 (medians over seeds):" in outcome.text
    assert "after epoch 1" not in outcome.text
    assert outcome.text.count("verdict: gradients and activations healthy") == 8


def test_other_neighbours_positions_and_padding_change_no_bit(base, train):
    """Nine replicas in three groups: a third of them diverge, the last group is padded."""
    others = train(PROBE, HALF, vary={"learning_rate": [1e30, 0.03, 0.01]}, seeds=3, override=WIDE)
    lines = finals(others)
    assert_equal_where_shared(finals(base[0]), lines, 6)
    lost = {key: line for key, line in lines.items() if line["status"] == "diverged"}
    assert {config.optimizer.learning_rate for config, _ in lost} == {1e30} and len(lost) == 3
    for line in lost.values():
        assert 0 <= line["diverged_step"] < 20 and line["step"] == 20
    assert all(np.isfinite(leaf).all() for leaf in parameters(others, 0).values())
    assert [cell.diverged for cell in others.analysis.cells] == [3, 0, 0]


def test_a_replica_alone_with_copies_and_in_short_calls_changes_no_bit(base, train):
    alone = train(
        PROBE, replace(HALF, {"learning_rate": 0.03}), seeds=1, first_seed=2,
        override=Override(lanes=4, devices=2, steps_per_call=3),
    )  # fmt: skip
    assert_equal_where_shared(finals(base[0]), finals(alone), 1)
    curves = [
        [
            without(line, "cell", "lines") for line in read_lines(outcome.folder)
            if "validation_loss" in line and line["cell"] == cell and line["seed"] == 2
        ]
        for outcome, cell in ((base[0], 3), (alone, 0))
    ]  # fmt: skip
    assert curves[0] == curves[1] and len(curves[0]) == 3  # two epochs, and the end


@pytest.mark.slow
@pytest.mark.parametrize("override", [Override(lanes=1, devices=1), Override(lanes=2, devices=1)])
def test_another_plan_agrees_to_rounding_after_twenty_steps(base, train, override):
    """One after another on one device, or as many lanes per device as before on fewer devices."""
    other = train(
        PROBE, SMALL, vary={"learning_rate": [0.01, 0.03], "dropout": [0.0, 0.5]}, seeds=1,
        override=override,
    )  # fmt: skip
    for cell in range(4):
        mine, theirs = parameters(base[0], cell), parameters(other, cell)
        assert set(mine) == set(theirs) and len(mine) == 4
        for name in mine:
            np.testing.assert_allclose(theirs[name], mine[name], rtol=0, atol=1e-5)
    for key, line in finals(other).items():
        for name in ("test_loss", "validation_loss", "train_loss", "test_accuracy"):
            assert line[name] == pytest.approx(finals(base[0])[key][name], rel=1e-5)


@pytest.fixture(scope="module")
def compiled():
    """The toy's program for four lanes on two devices, and what it was compiled from."""
    study = make_study(TOY, vary={"rate": [0.1, 0.01]}, seeds=2)
    (entry,) = prepare.prepare_programs(study, None, WIDE, [], print).values()
    program, splits = prepare.compile_program(study, entry)
    return study, entry, program, splits


def test_every_function_of_a_program_is_traced_once(compiled):
    _, entry, program, splits = compiled
    assert program.traces == dict.fromkeys(("init", "order", "train", "validate", "finish"), 1)
    assert program.diagnose is None and program.memory_bytes > 0
    assert program.layout == Layout(4, 2) == entry.plan.layout
    assert program.steps_per_epoch == 40 // 8 and entry.trainer.total_steps == 10
    for leaf in jax.tree.leaves(splits):
        assert leaf.sharding.is_fully_replicated and len(leaf.devices()) == 2


def test_lanes_are_shared_between_devices(compiled):
    _, entry, _, _ = compiled
    rows = [np.arange(3) + i for i in range(4)]
    replicas = [Replica({"rate": jnp.float32(i)}, jnp.int32(i)) for i in range(4)]
    own = stack([{"rows": row} for row in rows])
    replica, own = place(entry.plan.layout, (stack(replicas), own))
    np.testing.assert_array_equal(own["rows"], np.stack(rows))
    shards = [np.asarray(shard.data).tolist() for shard in replica.seed.addressable_shards]
    assert shards == [[0, 1], [2, 3]]
    assert [shard.data.shape for shard in own["rows"].addressable_shards] == [(2, 3), (2, 3)]


def test_a_rate_is_measured_on_steps_that_are_thrown_away(compiled, monkeypatch):
    study, entry, _, _ = compiled
    monkeypatch.setattr(plan, "time_calls", lambda call, seconds: (call(), call(), 0.5)[-1])
    jobs = prepare.possible_jobs(study)
    assert prepare.measure_rate(study, entry, jobs) == 5 * 4 / 0.5  # an epoch of four replicas


def test_an_epoch_without_a_step_is_refused():
    study = make_study(TOY, replace(TOY.config, {"batch_size": 99}), seeds=1)
    with pytest.raises(UsageError, match="the batch is larger than the training set"):
        prepare.prepare_programs(study, None, Override(), [], print)


def test_a_traced_field_in_an_if_is_explained():
    def make_net(config, spec):
        assert config.rate < 1
        return TOY.make_net(config, spec)

    branching = dataclasses.replace(TOY, make_net=make_net)
    study = make_study(branching, TOY.config, seeds=1)
    with pytest.raises(jax.errors.ConcretizationTypeError) as raised:
        prepare.prepare_programs(study, None, Override(), [], print)
    assert any("annotate the field Static[float]" in note for note in raised.value.__notes__)


def test_the_estimate_counts_what_an_update_must_compute():
    study = make_study(PROBE, replace(SMALL, {"width": (128, 64)}), seeds=1)
    (entry,) = prepare.prepare_programs(study, None, Override(), [], print).values()
    sizes = [(64, 128), (128, 64), (64, 10)]
    products = 3 * sum(a * b for a, b in sizes) - math.prod(sizes[0])  # no input gradient
    assert 1 <= entry.cost.flops_per_step / (2 * 16 * products) < 1.25
    parameters = sum(a * b + b for a, b in sizes)
    assert entry.cost.bytes_per_lane >= 2 * 3 * 4 * parameters  # weights and two Adam moments
    data = Data(prepare.shapes_of(entry.dataset), entry.shapes[1])
    assert data.splits["train"]["x"].shape == (1442, 8, 8)
