"""Every experiment's update can be lowered for devices that are not here; none is compiled."""

import functools

import jax
import jax.numpy as jnp
import pytest

from experiments import EXPERIMENTS
from experiments.engine import prepare
from experiments.engine.config import replace
from experiments.engine.experiment import Data
from experiments.engine.plan import Override
from experiments.engine.study import make_study

CASES = {
    "mlp": {"dataset": "digits", "dropout": 0.2, "norm": "batch"},
    "convnet": {"dataset": "digits", "layers": "32k3 32k3 max2 d16"},
    "resnet": {"dataset": "digits", "depth": 8},
    "features": {"dataset": "digits", "layers": "32k3 max2 d16"},
    "super_resolution": {"layers": "8k3 8k3"},
    "detection": {"layers": "8k3 max2 8k3"},
    "language_model": {"width": (8,), "embedding": 8},
    "memory": {"width": (8,), "length": 10},
    "sequence_classifier": {"dataset": "digits", "width": (8,)},
    "word2vec": {"dimension": 8},
}


@functools.cache
def traced(name):
    """One update of a replica."""
    experiment = EXPERIMENTS[name].load()
    study = make_study(experiment, replace(experiment.config, CASES[name]), seeds=1)
    (entry,) = prepare.prepare_programs(study, None, Override(), [], print).values()
    trainer, (replica, own) = entry.trainer, entry.shapes
    data = Data(prepare.shapes_of(entry.dataset), own)
    state = jax.eval_shape(trainer.init, replica)
    zero = jax.ShapeDtypeStruct((), jnp.int32)
    xs = jax.eval_shape(trainer.epoch_inputs, replica, data, zero)
    return jax.jit(trainer.first_step).trace(state, replica, data, xs)


def lowered(name, platform):
    """Its StableHLO for a platform."""
    return traced(name).lower(lowering_platforms=(platform,)).as_text()


def test_every_experiment_is_here():
    assert {*CASES} == {*EXPERIMENTS}


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_updates_lower_for_other_devices(name):
    for platform in ("cuda", "rocm", "tpu"):
        assert "func.func public @main" in lowered(name, platform)


@pytest.mark.slow
def test_the_forms_for_a_cpu_stay_on_it():
    """Two convolutions forward, two by the kernel, one by the input; tiles and pieces on a CPU."""
    for platform in ("cuda", "tpu"):
        text = lowered("convnet", platform)
        assert text.count("stablehlo.convolution") == 5 and "stablehlo.while" not in text
    assert "stablehlo.while" in lowered("convnet", "cpu")
