"""Optimizers against NumPy loops in float64 and against PyTorch, many traced rates at once."""

import dataclasses
import math
from typing import Any, get_args, get_type_hints

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments.engine.errors import UsageError
from experiments.optimizers import Optimizer, check_optimizer, make_optimizer
from nets.regularizers import max_norm
from tests.experiments.updating import (
    GRADIENTS,
    ORTHOGONALISED,
    START,
    assert_lanes_match,
    named,
    single,
    train,
)

OPTIMIZERS = get_args(get_type_hints(Optimizer)["optimizer"])
WITH_MOMENTUM = tuple(name for name in OPTIMIZERS if name not in ("sgd", "rmsprop"))
COUPLING = tuple(name for name in OPTIMIZERS if name not in ("adamw", "muon"))
LANES = [
    {
        "learning_rate": 0.003, "momentum": 0.9, "second_moment": 0.99, "weight_decay": 0.0,
        "clip": 1e6, "clip_value": 1e6, "bias_rate": 1.0,
    },
    {
        "learning_rate": 0.1, "momentum": 0.5, "second_moment": 0.9, "weight_decay": 0.3,
        "clip": 4.0, "clip_value": 0.9, "bias_rate": 1.7,
    },
]  # fmt: skip
"""Two values of every rate; in the first lane most do nothing."""

TOLERANCES = {"muon": 0.02}
"""PyTorch orthogonalises in bfloat16."""


def with_all_options(name: str, **changes: Any) -> Optimizer:
    return Optimizer(optimizer=name, schedule="constant", **LANES[1], **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("decay_on", ["kernels", "all"])
def test_every_optimizer_against_numpy_with_traced_rates(name, decay_on):
    assert_lanes_match(with_all_options(name, decay_on=decay_on), LANES)


@pytest.mark.slow
@pytest.mark.parametrize("name", COUPLING)
@pytest.mark.parametrize("decay_on", ["kernels", "all"])
def test_a_coupled_decay_goes_through_the_optimizer(name, decay_on):
    config = with_all_options(name, decay_on=decay_on, decay_form="coupled")
    assert_lanes_match(config, LANES)


@pytest.mark.slow
@pytest.mark.parametrize("name", WITH_MOMENTUM)
def test_the_momentum_changes_when_the_warm_up_is_over(name):
    """After two of five steps, with momenta of their own side by side."""
    config = Optimizer(optimizer=name, warmup=0.4, start_factor=1, momentum_after=0.0)
    lanes = [{"momentum": 0.9, "momentum_after": 0.5}, {"momentum": 0.3, "momentum_after": 0.9}]
    assert_lanes_match(config, lanes)


@pytest.mark.slow
def test_rates_side_by_side_with_a_look_ahead_give_what_each_gives_alone():
    config = with_all_options("nesterov", decay_on="all", lookahead=2)
    floats = {key: jnp.array([lane[key] for lane in LANES]) for key in LANES[0]}
    together = train(config, floats)
    for index in range(len(LANES)):
        alone = train(config, {key: rates[index : index + 1] for key, rates in floats.items()})
        for leaf, values in alone.items():
            np.testing.assert_allclose(together[leaf][index], values[0], rtol=1e-5, atol=1e-6)


def test_adam_with_its_default_decay_is_adamw():
    adam, adamw = (train(with_all_options(n), {"clip": jnp.ones(1)}) for n in ("adam", "adamw"))
    for name, leaf in adam.items():
        np.testing.assert_array_equal(leaf, adamw[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_against_pytorch(name):
    """A group per rate and decay, as airbench94 has them; PyTorch couples but in AdamW, Muon."""
    torch = pytest.importorskip("torch", reason="PyTorch comes with the extra `bench`")
    form = "coupled" if name in COUPLING else "decoupled"
    config = with_all_options(name, decay_on="all", decay_form=form)
    ours = train(config, {"learning_rate": jnp.array([config.learning_rate])})
    names = ORTHOGONALISED if name == "muon" else tuple(named(START))
    weights = {n: torch.nn.Parameter(torch.from_numpy(matrix(named(START)[n]))) for n in names}
    moved = pytorch_steps(torch, config, weights)
    for leaf, want in moved.items():
        got, start = matrix(ours[leaf][0]), matrix(named(START)[leaf])
        error = np.linalg.norm(got - want) / np.linalg.norm(want - start)
        assert error < TOLERANCES.get(name, 1e-5), leaf


def matrix(array: np.ndarray) -> np.ndarray:
    """A copy of a parameter as PyTorch has it: outputs first."""
    return np.array(array.reshape(-1, array.shape[-1]).T, order="C")


def pytorch_steps(torch: Any, config: Optimizer, weights: dict[str, Any]) -> dict[str, np.ndarray]:
    rate, decay, factor = config.learning_rate, config.weight_decay, config.bias_rate
    assert decay is not None and factor is not None
    kernels, others = (
        [w for n, w in weights.items() if n.endswith("kernel") == kernel]
        for kernel in (True, False)
    )
    groups = [{"params": kernels, "lr": rate, "weight_decay": decay}]
    if others:
        groups += [{"params": others, "lr": rate * factor, "weight_decay": decay / factor}]
    betas = (config.momentum, config.second_moment)
    optim = torch.optim
    optimizer = {
        "sgd": lambda: optim.SGD(groups),
        "momentum": lambda: optim.SGD(groups, momentum=betas[0]),
        "nesterov": lambda: optim.SGD(groups, momentum=betas[0], nesterov=True),
        "adam": lambda: optim.Adam(groups, betas=betas),
        "adamw": lambda: optim.AdamW(groups, betas=betas),
        "rmsprop": lambda: optim.RMSprop(groups, alpha=betas[1]),
        "rmsprop_momentum": lambda: optim.RMSprop(groups, alpha=betas[1], momentum=betas[0]),
        "muon": lambda: optim.Muon(groups, momentum=betas[0], adjust_lr_fn="match_rms_adamw"),
    }[config.optimizer]()
    for gradient in GRADIENTS:
        every = {n: torch.nn.Parameter(torch.from_numpy(matrix(g)))
                 for n, g in named(gradient).items()}  # fmt: skip
        for name, parameter in every.items():
            parameter.grad = parameter.detach().clone()
            if name in weights:
                weights[name].grad = parameter.grad
        torch.nn.utils.clip_grad_value_(every.values(), config.clip_value)
        torch.nn.utils.clip_grad_norm_(every.values(), config.clip)
        optimizer.step()
    return {name: weight.detach().numpy() for name, weight in weights.items()}


@pytest.mark.parametrize("name", ["adam", "rmsprop", "rmsprop_momentum"])
def test_steps_of_small_gradients_are_as_large_as_of_large_ones(name):
    """Epsilon is added to the root: to the square, 1e-8 would be more than a gradient of 1e-5."""
    config = Optimizer(optimizer=name, learning_rate=0.1, schedule="constant")
    optimizer = make_optimizer(config, 3)
    params = {"kernel": jnp.ones((2, 2))}

    def step(size: float) -> float:
        gradient = {"kernel": jnp.full((2, 2), size)}
        updates: Any = optimizer.update(gradient, optimizer.init(params), params)[0]
        return float(updates["kernel"][0, 0])

    assert step(1e-5) == pytest.approx(step(1.0), rel=0.05)


def test_the_rate_of_biases_may_be_that_of_some_alone_and_decay_is_shared_out_likewise():
    """With a rate of 1/2 and a factor of 4, all but the chosen bias move by 1/2 (g + 0.2 w)."""
    config = Optimizer(
        optimizer="sgd", learning_rate=0.5, schedule="constant", weight_decay=0.2, bias_rate=4.0,
        decay_on="all",
    )  # fmt: skip
    chosen = "norm/bias"
    optimizer = make_optimizer(
        config, 10, faster=lambda path, leaf: jax.tree_util.keystr(path) == "['norm']['bias']"
    )
    params, gradient = single(START), single(GRADIENTS[0])
    updates, _ = jax.jit(optimizer.update)(gradient, optimizer.init(params), params)
    for name, update in named(updates).items():
        factor = 4 if name == chosen else 1
        want = -0.5 * (factor * named(gradient)[name] + 0.2 * named(params)[name])
        np.testing.assert_allclose(update, want, rtol=1e-5, atol=1e-6, err_msg=name)


def test_options_that_are_off_are_not_there():
    on = make_optimizer(Optimizer(optimizer="sgd", clip=1.0, weight_decay=0.1), 3)
    off = make_optimizer(Optimizer(optimizer="sgd"), 3)
    params = single(START)
    assert len(on.init(params)) == 3 and len(off.init(params)) == 1  # type: ignore[arg-type]
    assert_lanes_match(Optimizer(optimizer="sgd", schedule="constant"), [{"learning_rate": 0.1}])


@pytest.mark.parametrize("form", ["decoupled", "coupled"])
def test_what_decays_does_not_follow_the_rate_of_biases(form):
    """Without gradients, a share `rate * decay` of every weight goes, whatever `bias_rate` is."""
    config = Optimizer(
        optimizer="sgd", schedule="constant", learning_rate=0.1, weight_decay=0.5, decay_on="all",
        decay_form=form, bias_rate=64.0,
    )  # fmt: skip
    optimizer, params = make_optimizer(config, 3), single(START)
    zero = jax.tree.map(jnp.zeros_like, params)
    updates, _ = optimizer.update(zero, optimizer.init(params), params)
    for name, update in named(updates).items():
        np.testing.assert_allclose(update, -0.05 * named(START)[name], rtol=1e-5)


def test_the_projection_comes_after_the_step():
    limit = 0.5
    optimizer = make_optimizer(
        Optimizer(optimizer="sgd", learning_rate=0.1, lookahead=1), 5, max_norm(limit)
    )
    params = single(START)
    state = optimizer.init(params)
    for gradient in GRADIENTS:
        updates, state = optimizer.update(single(gradient), state, params)
        params = optax.apply_updates(params, updates)
        for name, leaf in named(params).items():
            if name.endswith("kernel"):
                norms = np.linalg.norm(leaf.reshape(-1, leaf.shape[-1]), axis=0)
                assert norms.max() <= limit * (1 + 1e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"learning_rate": -1.0}, "--learning-rate -1.0: must be positive"),
        ({"learning_rate": 0.0}, "--learning-rate 0.0: must be positive"),
        ({"learning_rate": math.nan}, "--learning-rate nan: must be positive"),
        ({"learning_rate": math.inf}, "--learning-rate inf: must be positive"),
        ({"clip": 0.0}, "--clip 0.0: must be positive"),
        ({"clip_value": -1.0}, "--clip-value -1.0: must be positive"),
        ({"bias_rate": 0.0}, "--bias-rate 0.0: must be positive"),
        ({"momentum": 1.0}, "--momentum 1.0: must be at least 0 and below 1"),
        ({"momentum_after": 1.0, "warmup": 0.5}, "--momentum-after 1.0: must be at least 0 and"),
        ({"momentum_after": 0.5}, "--momentum-after 0.5: it follows the warm-up; give --warmup"),
        ({"momentum_after": 0, "warmup": 0.1, "optimizer": "sgd"}, "--momentum-after 0: sgd has"),
        ({"second_moment": -0.1}, "--second-moment -0.1: must be at least 0 and below 1"),
        ({"warmup": 1.5}, "--warmup 1.5: must be at least 0 and below 1"),
        ({"weight_decay": -1e-3}, "--weight-decay -0.001: must not be negative"),
        ({"start_factor": 0.2}, "--start-factor 0.2: nothing rises from it; give --warmup"),
        ({"start_factor": 2.0, "warmup": 0.1}, "--start-factor 2.0: must be at least 0 and at"),
        ({"end_factor": -0.1}, "--end-factor -0.1: must be at least 0 and at most 1"),
        ({"step_factor": 1.1}, "--step-factor 1.1: must be at least 0 and at most 1"),
        ({"step_at": (0.5, 0.5)}, "--step-at 0.5,0.5: must be shares between 0 and 1, each"),
        ({"step_at": (0.0, 0.5)}, "--step-at 0,0.5: must be shares between 0 and 1, each"),
        ({"step_at": (math.nan,)}, "--step-at nan: must be shares between 0 and 1, each"),
        ({"schedule": "triangle"}, "--schedule triangle: give --warmup, the share at which"),
        ({"optimizer": "adamw", "decay_form": "coupled"}, "--decay-form coupled: adamw decouples"),
        ({"optimizer": "muon", "decay_form": "coupled"}, "--decay-form coupled: muon decouples"),
        ({"lookahead": 0}, "--lookahead 0: at least 1"),
        ({"lookahead": 101}, "--lookahead 101: the training has only 100 steps"),
        ({"batch_size": 0}, "--batch-size 0: at least 1"),
        ({"epochs": 0}, "--epochs 0: at least 1"),
        ({"batch_size": 51}, "--batch-size 51 is larger than the training set (50 examples)"),
    ],
)
def test_values_that_cannot_train_are_refused(changes, message):
    with pytest.raises(UsageError) as caught:
        check_optimizer(dataclasses.replace(Optimizer(batch_size=10), **changes), 50)
    assert str(caught.value).startswith(message)


def test_the_defaults_and_a_recipe_can_train():
    check_optimizer(Optimizer(clip=1.0, weight_decay=0.0), 100)
    airbench94 = Optimizer(
        optimizer="nesterov", learning_rate=1.5, momentum=0.85, weight_decay=1.3e-3,
        decay_on="all", decay_form="coupled", bias_rate=64.0, schedule="triangle", warmup=0.23,
        start_factor=0.2, end_factor=0.07, lookahead=5,
    )  # fmt: skip
    check_optimizer(airbench94, 100)
    params = {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}
    updates, _ = (made := make_optimizer(airbench94, 20)).update(params, made.init(params), params)
    assert all(jnp.isfinite(step).all() and step.any() for step in jax.tree.leaves(updates))
