"""The MLP against an independent NumPy float64 one, and every option in every layer."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from nets.activations import ACTIVATIONS, as_activation
from nets.initializers import INITIALIZERS
from nets.mlp import MLP, UnitNorm

RNG = np.random.default_rng(0)
INPUTS = jnp.asarray(RNG.normal(size=(6, 4)), jnp.float32)
WIDE_INPUTS = np.asarray(INPUTS, np.float64)
WEIGHTS = RNG.normal(size=(6, 3))  # makes a scalar of the scores
WIDTHS = (5, 5, 4)
NUMPY_ACTIVATIONS = {"tanh": np.tanh, "relu": lambda x: np.maximum(x, 0)}
NOISE: dict[str, Any] = {"dropout": 0.5, "input_dropout": 0.25, "input_noise": 0.1}
MIXED = ("tanh", "relu", "tanh")
EPSILON = 1e-5


def numpy_norm(kind, x, params, running):
    """Normalises over the batch, over the units, or by running statistics."""
    if kind == "none":
        return x
    axis = 0 if kind == "batch" else 1
    mean, variance = x.mean(axis=axis, keepdims=True), x.var(axis=axis, keepdims=True)
    if running is not None:
        mean, variance = running["mean"], running["var"]
    return (x - mean) / np.sqrt(variance + EPSILON) * params["scale"] + params["bias"]


def numpy_mlp(params, x, *, norm="none", skip=False, activations=MIXED, running=None):
    """Class scores in float64 from the definition in `MLP`'s docstring."""
    for i, name in enumerate(activations, start=1):
        layer = params[f"layer_{i}"]
        y = x @ layer["kernel"] + layer.get("bias", 0)
        own = running[f"norm_{i}"] if running else None
        y = numpy_norm(norm, y, params.get(f"norm_{i}"), own)
        y = NUMPY_ACTIVATIONS[name](y)
        x = x + y if skip and x.shape == y.shape else y
    return x @ params["output"]["kernel"] + params["output"]["bias"]


def wide(tree):
    return jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), tree)


def initial(net, x=INPUTS):
    """The net's initial variables, by one compiled program."""
    return jax.jit(functools.partial(net.init, train=False))(jax.random.key(0), x)


@functools.cache
def random_variables(norm):
    """Variables of the shapes of a mixed net, none of which is 0 or 1; variances are positive."""
    rng = np.random.default_rng(1)
    shapes = jax.eval_shape(lambda: initial(mixed(norm, False)))

    def draw(leaf):
        values = (
            rng.normal(size=leaf.shape) if leaf.ndim == 2 else rng.uniform(0.3, 1.3, leaf.shape)
        )
        return values.astype(leaf.dtype)

    return jax.tree.map(draw, shapes)


def mixed(norm, skip) -> Any:
    return MLP(WIDTHS, 3, tuple(ACTIVATIONS[name] for name in MIXED), norm, skip=skip)


def built(norm, skip) -> tuple[Any, Any]:
    """A net of mixed activations with its variables, which do not depend on `skip`."""
    return mixed(norm, skip), random_variables(norm)


def numerical_gradient(function, tree, step=1e-6):
    """Central differences of a scalar function over every number of a tree of float64 arrays."""
    gradient = jax.tree.map(np.zeros_like, tree)
    for leaf, slopes in zip(jax.tree.leaves(tree), jax.tree.leaves(gradient), strict=True):
        for place in np.ndindex(leaf.shape):
            kept = leaf[place]
            leaf[place] = kept + step
            ahead = function(tree)
            leaf[place] = kept - step
            slopes[place] = (ahead - function(tree)) / (2 * step)
            leaf[place] = kept
    return gradient


BUILDS = [(norm, skip) for norm in ("none", "batch", "layer") for skip in (False, True)]


@pytest.mark.parametrize(("norm", "skip"), BUILDS)
def test_scores_and_gradients(norm, skip):
    net, variables = built(norm, skip)
    stats = {name: value for name, value in variables.items() if name != "params"}

    def total(params, weights):
        scores, _ = net.apply({"params": params, **stats}, INPUTS, train=True, mutable=list(stats))
        return (scores * weights).sum(), scores

    params = wide(variables["params"])
    reference = functools.partial(numpy_mlp, x=WIDE_INPUTS, norm=norm, skip=skip)
    (_, scores), gradient = jax.jit(jax.value_and_grad(total, has_aux=True))(
        variables["params"], WEIGHTS.astype(np.float32)
    )
    np.testing.assert_allclose(scores, reference(params), rtol=1e-5, atol=1e-5)
    expected = numerical_gradient(lambda p: (reference(p) * WEIGHTS).sum(), params)
    assert jax.tree.structure(gradient) == jax.tree.structure(expected)
    jax.tree.map(
        lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-4, atol=2e-5),
        gradient,
        expected,
    )


@pytest.mark.slow
@pytest.mark.parametrize("norm", ["none", "batch", "layer"])
def test_derivatives_of_both_modes(norm):
    smooth = MLP((4, 4), 2, ACTIVATIONS["softsign"], norm, skip=True)
    with jax.enable_x64(True):
        x = jnp.asarray(INPUTS, jnp.float64)
        variables = initial(smooth, x)
        stats = {name: value for name, value in variables.items() if name != "params"}

        @jax.jit
        def scores(params):
            return smooth.apply({"params": params, **stats}, x, train=True, mutable=list(stats))[0]

        params = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), variables["params"])
        check_grads(scores, (params,), order=1, atol=1e-5, rtol=1e-5)


def test_batch_norm_running_statistics():
    net, variables = built("batch", False)
    x = WIDE_INPUTS
    _, state = net.apply(variables, INPUTS, train=True, mutable=["batch_stats"])
    layer = wide(variables["params"]["layer_1"])
    first = x @ layer["kernel"]
    before = wide(variables["batch_stats"]["norm_1"])
    after = state["batch_stats"]["norm_1"]
    expected_mean = 0.9 * before["mean"] + 0.1 * first.mean(axis=0)
    np.testing.assert_allclose(after["mean"], expected_mean, rtol=1e-5, atol=1e-6)
    expected_variance = 0.9 * before["var"] + 0.1 * first.var(axis=0)
    np.testing.assert_allclose(after["var"], expected_variance, rtol=1e-5)
    running = wide(variables["batch_stats"])
    evaluated = net.apply(variables, INPUTS, train=False)
    expected = numpy_mlp(wide(variables["params"]), x, norm="batch", running=running)
    np.testing.assert_allclose(evaluated, expected, rtol=1e-5, atol=1e-5)


def test_norms_survive_a_large_mean():
    """A variance as E[x^2] - E[x]^2 in float32 would be lost next to a mean of 1e3."""
    x = np.random.default_rng(2).normal(size=(64, 3)).astype(np.float32) + np.float32(1e3)
    wide_x = x.astype(np.float64)
    norms: tuple[tuple[UnitNorm, int], ...] = (("batch", 0), ("layer", 1))
    for norm, axis in norms:
        net: Any = MLP((3,), 3, ACTIVATIONS["identity"], norm, kernel_init=INITIALIZERS["identity"])
        variables = initial(net, jnp.asarray(x))
        scores, _ = net.apply(variables, jnp.asarray(x), train=True, mutable=["batch_stats"])
        centred = wide_x - wide_x.mean(axis=axis, keepdims=True)
        expected = centred / np.sqrt(wide_x.var(axis=axis, keepdims=True) + EPSILON)
        np.testing.assert_allclose(scores, expected, atol=0.01)


def shapes(net, width):
    x = jax.ShapeDtypeStruct((2, width), jnp.float32)
    variables = jax.eval_shape(functools.partial(net.init, train=False), jax.random.key(0), x)
    return jax.tree.map(lambda leaf: leaf.shape, variables["params"])


def count(net, width):
    return sum(int(np.prod(s)) for s in jax.tree.leaves(shapes(net, width), is_leaf=is_shape))


def is_shape(value):
    return isinstance(value, tuple)


def test_parameter_counts_of_mnist_1d():
    assert count(MLP((), 10), 40) == 410
    assert count(MLP((100, 100), 10, skip=True, bias_init="fan_in_uniform"), 40) == 15_210


@pytest.mark.parametrize(
    ("choice", "first"),
    [
        ({}, {"layer_1": {"kernel": (7, 4), "bias": (4,)}}),
        (
            {"norm": "layer"},
            {
                "layer_1": {"kernel": (7, 4), "bias": (4,)},
                "norm_1": {"scale": (4,), "bias": (4,)},
            },
        ),
        (
            {"norm": "batch"},
            {"layer_1": {"kernel": (7, 4)}, "norm_1": {"scale": (4,), "bias": (4,)}},
        ),
        (
            {"activation": ACTIVATIONS["prelu"]},
            {"layer_1": {"kernel": (7, 4), "bias": (4,)}, "activation_1": {"slope": (4,)}},
        ),
        (
            {"activation": as_activation("maxout:3")},
            {"layer_1": {"kernel": (7, 12), "bias": (12,)}},
        ),
        (
            {"activation": jnp.sin, "dropout": 0.5, "input_dropout": 0.1, "input_noise": 0.1},
            {"layer_1": {"kernel": (7, 4), "bias": (4,)}},
        ),
    ],
)
def test_parameter_shapes(choice, first):
    assert shapes(MLP((4,), 3, **choice), 7) == first | {"output": {"kernel": (4, 3), "bias": (3,)}}


def test_inputs_are_flattened():
    net, variables = built("none", False)
    folded = net.apply(variables, INPUTS.reshape(6, 2, 2), train=False)
    np.testing.assert_array_equal(folded, net.apply(variables, INPUTS, train=False))


def test_penultimate_features_give_the_scores():
    net, variables = built("layer", True)
    features = net.apply(variables, INPUTS, method=net.penultimate)
    assert features.shape == (6, WIDTHS[-1])
    output = wide(variables["params"]["output"])
    scores = np.asarray(features, np.float64) @ output["kernel"] + output["bias"]
    np.testing.assert_allclose(net.apply(variables, INPUTS, train=False), scores, rtol=1e-5)


def test_one_activation_reaches_every_layer():
    relu, tanh = ACTIVATIONS["relu"], ACTIVATIONS["tanh"]
    _, variables = built("none", False)

    def scores(activation):
        return np.asarray(MLP(WIDTHS, 3, activation).apply(variables, INPUTS, train=False))

    np.testing.assert_array_equal(scores(relu), scores((relu,) * 3))
    for layer in range(3):
        replaced = tuple(tanh if place == layer else relu for place in range(3))
        assert np.abs(scores(replaced) - scores(relu)).max() > 1e-3, layer
    with pytest.raises(ValueError, match="2 activations for 3 hidden layers"):
        scores((relu, tanh))


def test_diagnostics_of_every_layer():
    net, variables = built("none", False)
    _, state = net.apply(variables, INPUTS, train=False, mutable=["diagnostics"])
    assert set(state["diagnostics"]) == {"activation_1", "activation_2", "activation_3"}
    hidden = net.apply(variables, INPUTS, method=net.penultimate)
    np.testing.assert_allclose(
        state["diagnostics"]["activation_3"]["sd"], np.std(hidden), rtol=1e-5
    )


def intermediates(net, variables, rngs, *, train):
    """What every module of the net gave, by name."""
    _, state = net.apply(variables, INPUTS, train=train, rngs=rngs, capture_intermediates=True)
    modules = state["intermediates"].items()
    return {name: value["__call__"][0] for name, value in modules if name != "__call__"}


def test_dropout_and_noise_reach_every_place():
    net = MLP((64, 64, 64), 3, ACTIVATIONS["softplus"], **NOISE)
    variables = initial(net)
    train = jax.jit(functools.partial(intermediates, net, train=True))
    places = jax.device_get(train(variables, {"dropout": jax.random.key(1)}))
    masks = [places[f"dropout_{layer}"] == 0 for layer in (1, 2, 3)]
    for layer, gone in enumerate(masks, start=1):
        assert 0.35 < gone.mean() < 0.65
        kept, active = places[f"dropout_{layer}"][~gone], places[f"activation_{layer}"][~gone]
        np.testing.assert_allclose(kept, 2 * active, rtol=1e-6)
    assert not np.array_equal(masks[0], masks[1]) and not np.array_equal(masks[1], masks[2])
    assert 0.05 < np.std(places["input_noise"] - INPUTS) < 0.2
    gone = places["input_dropout"] == 0
    assert 0 < gone.mean() < 0.6
    kept = places["input_noise"][~gone] / 0.75
    np.testing.assert_allclose(places["input_dropout"][~gone], kept, rtol=1e-6)


def test_evaluation_has_neither_dropout_nor_noise():
    _, variables = built("none", False)

    def program(**choices):
        apply = functools.partial(MLP(WIDTHS, 3, **choices).apply, train=False)
        return str(jax.make_jaxpr(apply)(variables, INPUTS))

    assert program(**NOISE) == program()


def test_initial_scale_and_biases_reach_every_layer():
    def params(scale, bias_init):
        net = MLP((64, 32), 48, init_scale=scale, bias_init=bias_init)
        return initial(net)["params"]

    once, thrice = params(1.0, "zeros"), params(jnp.float32(3), "fan_in_uniform")
    for layer, fan_in in (("layer_1", 4), ("layer_2", 64), ("output", 32)):
        np.testing.assert_allclose(thrice[layer]["kernel"], 3 * once[layer]["kernel"], rtol=1e-6)
        assert not once[layer]["bias"].any()
        size = np.abs(thrice[layer]["bias"])
        assert 0.8 / np.sqrt(fan_in) < size.max() <= 1 / np.sqrt(fan_in)


def test_initializer_reaches_every_layer():
    net = MLP((4, 4), 4, kernel_init=INITIALIZERS["identity"])
    params = initial(net)["params"]
    for layer in ("layer_1", "layer_2", "output"):
        np.testing.assert_array_equal(params[layer]["kernel"], np.eye(4))


def test_half_precision_reaches_every_layer():
    net = MLP(WIDTHS, 3, ACTIVATIONS["prelu"], "layer", dtype=jnp.bfloat16, skip=True, dropout=0.1)
    variables = jax.eval_shape(lambda: initial(net))
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    rngs = {"dropout": jax.random.key(1)}
    places = jax.eval_shape(functools.partial(intermediates, net, train=True), variables, rngs)
    assert {value.dtype for value in places.values()} == {jnp.dtype("bfloat16")}
    assert len(places) == 3 * 4 + 1
    scores = jax.eval_shape(functools.partial(net.apply, train=False), variables, INPUTS)
    assert scores.dtype == jnp.float32


def test_float_fields_may_be_traced_and_vmapped():
    def trained_scores(rate, scale, momentum, seed):
        net = MLP(
            (5,),
            3,
            norm="batch",
            dropout=rate,
            input_dropout=rate / 2,
            input_noise=rate,
            init_scale=scale,
            norm_momentum=momentum,
        )
        variables = net.init(jax.random.key(seed), INPUTS, train=False)
        rngs = {"dropout": jax.random.key(seed)}
        return net.apply(variables, INPUTS, train=True, rngs=rngs, mutable=["batch_stats"])

    numbers = ([0.0, 0.3], [1.0, 2.0], [0.9, 0.5], [3, 4])
    together = jax.jit(jax.vmap(trained_scores))(*map(jnp.asarray, numbers))
    one_by_one = jax.jit(trained_scores)
    for row, own in enumerate(zip(*numbers, strict=True)):
        alone = one_by_one(*own)
        for one, other in zip(jax.tree.leaves(together), jax.tree.leaves(alone), strict=True):
            np.testing.assert_allclose(one[row], other, rtol=1e-5, atol=1e-5)
