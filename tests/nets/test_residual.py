"""Residual nets: published sizes, the blocks against NumPy, and every option at every place."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nets.activations import ACTIVATIONS
from nets.initializers import INITIALIZERS
from nets.layers import Totals, layers, totals
from nets.residual import ResNet, Stage, cifar_stages, imagenet_stages

INPUTS = jnp.asarray(np.random.default_rng(0).normal(size=(4, 8, 8, 3)), jnp.float32)
STAGES = (Stage(1, 4), Stage(1, 8))


def initial(net, x=INPUTS) -> Any:
    return net.init(jax.random.key(0), x, train=False)


def variables_of(net) -> Any:
    """Random numbers in the place of each variable, variances positive."""
    random = np.random.default_rng(1)
    shapes = jax.eval_shape(functools.partial(initial, net))
    drawn = jax.tree.map(lambda leaf: jnp.asarray(random.normal(size=leaf.shape), "f"), shapes)
    return drawn | {"batch_stats": jax.tree.map(jnp.abs, drawn.get("batch_stats", {}))}


def scores(net, variables, x=INPUTS) -> Any:
    return net.apply(variables, x, train=False)


def size(net, shape) -> Totals:
    sample = jnp.zeros((1, *shape))
    shapes = jax.eval_shape(functools.partial(initial, net), sample)
    return totals(layers(net, shapes, sample))


CIFAR = {20: 269_722, 56: 853_018, 110: 1_727_962}


@pytest.mark.slow
@pytest.mark.parametrize("depth", CIFAR)
def test_published_parameters_and_depth_of_cifar_nets(depth):
    found = size(ResNet(cifar_stages(depth), 10), (32, 32, 3))
    assert (found.parameters, found.depth) == (CIFAR[depth], depth)
    if depth == 20:
        plain = size(ResNet(cifar_stages(depth), 10, shortcut="none"), (32, 32, 3))
        assert plain == found


IMAGENET = {18: (11_689_512, 1.8), 34: (21_797_672, 3.6), 50: (25_557_032, 3.8)}
"""Parameters, and the paper's thousand million multiply-adds (table 1; it cuts after a digit)."""


@pytest.mark.slow
@pytest.mark.parametrize("depth", IMAGENET)
def test_published_parameters_depth_and_cost_of_imagenet_nets(depth):
    deep = depth >= 50
    stages = imagenet_stages(depth, bottleneck=deep)
    net = ResNet(stages, 1000, stem="7x7", bottleneck=deep, shortcut="B")
    found = size(net, (224, 224, 3))
    assert (found.parameters, found.depth) == (IMAGENET[depth][0], depth)
    assert int(found.multiply_adds / 1e8) / 10 == IMAGENET[depth][1]


def test_depths_without_a_net_are_refused():
    with pytest.raises(ValueError, match=r"depth 21: three stages have 6n \+ 2 layers \(8, 14, "):
        cifar_stages(21)
    with pytest.raises(ValueError, match=r"depth 20: four stages are published with 18, 34, 50"):
        imagenet_stages(20, bottleneck=False)
    assert cifar_stages(164, bottleneck=True) == (Stage(18, 64), Stage(18, 128), Stage(18, 256))


def convolve(x, kernel, stride=1):
    """A direct convolution in float64, padded by half the kernel."""
    side, places = kernel.shape[0], range(kernel.shape[0])
    padded = np.pad(x, ((0, 0), (side // 2,) * 2, (side // 2,) * 2, (0, 0)))
    height, width = (n + 2 * (side // 2) - side + 1 for n in x.shape[1:3])
    return sum(
        padded[:, i : i + height : stride, j : j + width : stride] @ kernel[i, j]
        for i in places
        for j in places
    )


def relu(x):
    return np.maximum(x, 0)


def normed(x, p):
    scale, shift = p["scale"], p["bias"]
    mean, variance = x.mean((1, 2, 3), keepdims=True), x.var((1, 2, 3), keepdims=True)
    return (x - mean) / np.sqrt(variance + 1e-5) * scale + shift


def around(x, p, name, features, stride):
    """The shortcut `name` of a block in NumPy, before a projection's normalisation."""
    if name == "none":
        return np.float64(0)
    if "shortcut" in p:
        return convolve(x, p["shortcut"]["kernel"], stride) + p["shortcut"]["bias"]
    return np.pad(x[:, ::stride, ::stride], ((0, 0),) * 3 + ((0, features - x.shape[-1]),))


def post(p, x, name, features, stride, count):
    """A block of `count` convolutions in NumPy, activated after the addition."""
    hidden = x
    for number in range(1, count + 1):
        step = stride if number == 1 else 1
        layer = p[f"conv_{number}"]
        hidden = convolve(hidden, layer["kernel"], step) + layer["bias"]
        hidden = normed(hidden, p[f"norm_{number}"])
        hidden = relu(hidden) if number < count else hidden
    shortcut = around(x, p, name, features, stride)
    shortcut = normed(shortcut, p["shortcut_norm"]) if "shortcut" in p else shortcut
    return relu(hidden + shortcut)


def pre(p, x, name, features, stride, count):
    """The same with pre-activation."""
    hidden = active = relu(normed(x, p["norm_1"])) if "norm_1" in p else x
    for number in range(1, count + 1):
        if number > 1:
            hidden = relu(normed(hidden, p[f"norm_{number}"]))
        layer = p[f"conv_{number}"]
        step = stride if number == 1 else 1
        hidden = convolve(hidden, layer["kernel"], step) + layer["bias"]
    source = active if "shortcut" in p else x
    return hidden + around(source, p, name, features, stride)


def in_numpy(params, x, block, stages, name, count):
    """Scores of a net with layer normalisation and ReLU."""
    p = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    x = convolve(np.asarray(x, np.float64), p["stem"]["kernel"]) + p["stem"]["bias"]
    x = relu(normed(x, p["stem_norm"]))
    for place, stage in enumerate(stages, start=1):
        for number in range(1, stage.blocks + 1):
            stride = 2 if place > 1 and number == 1 else 1
            x = block(p[f"block_{place}_{number}"], x, name, stage.features, stride, count)
    x = relu(normed(x, p["norm"])) if "norm" in p else x
    return x.mean((1, 2)) @ p["output"]["kernel"] + p["output"]["bias"]


@pytest.mark.parametrize("name", ["A", "B", "C", "none"])
@pytest.mark.parametrize("preactivation", [False, True], ids=["post", "pre"])
@pytest.mark.parametrize("bottleneck", [False, True], ids=["basic", "bottleneck"])
def test_scores_are_those_of_the_equations(name, preactivation, bottleneck):
    stages = (Stage(2, 4), Stage(2, 8))
    net = ResNet(
        stages, 3, norm="layer", bottleneck=bottleneck, preactivation=preactivation, shortcut=name
    )
    params = variables_of(net)["params"]
    projections = {key for key, block in params.items() if "shortcut" in block}
    first = {"block_2_1"} | ({"block_1_1"} if bottleneck else set())
    every = {"block_1_1", "block_1_2", "block_2_1", "block_2_2"}
    assert projections == {"A": set(), "B": first, "C": every, "none": set()}[name]
    block, count = (pre if preactivation else post), (3 if bottleneck else 2)
    expected = in_numpy(params, INPUTS, block, stages, name, count)
    np.testing.assert_allclose(scores(net, {"params": params}), expected, rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("preactivation", [False, True], ids=["post", "pre"])
def test_activation_and_its_learned_values_reach_every_place(preactivation):
    net = ResNet(STAGES, 3, activation=ACTIVATIONS["prelu"], preactivation=preactivation)
    variables = variables_of(net)
    paths = [
        path for path, _ in jax.tree_util.tree_leaves_with_path(variables["params"])
        if any("activation" in key.key for key in path)
    ]  # fmt: skip
    assert len(paths) == 5
    plain = scores(net, variables)
    for path in paths:
        params = jax.tree_util.tree_map_with_path(
            lambda here, leaf, path=path: leaf + (here == path), variables["params"]
        )
        assert np.abs(scores(net, variables | {"params": params}) - plain).max() > 1e-3, path


@pytest.mark.slow
@pytest.mark.parametrize("preactivation", [False, True], ids=["post", "pre"])
@pytest.mark.parametrize("shortcut", ["A", "B", "none"])
def test_activations_of_several_pieces(shortcut, preactivation):
    net = ResNet(
        STAGES, 3,
        activation=ACTIVATIONS["maxout"], shortcut=shortcut, preactivation=preactivation,
    )  # fmt: skip
    variables = variables_of(net)
    kernel = variables["params"]["block_2_1"]["conv_2"]["kernel"]
    assert kernel.shape == (3, 3, 8, 16)
    assert scores(net, variables).shape == (4, 3)


DROPS = {"every": 5, "block": 2, "output": 1}


@pytest.mark.slow
@pytest.mark.parametrize("preactivation", [False, True], ids=["post", "pre"])
@pytest.mark.parametrize("places", DROPS)
def test_dropout_at_every_place_asked_for(places, preactivation):
    net = ResNet(
        STAGES, 3, activation=ACTIVATIONS["softplus"], dropout=0.5, dropout_at=places,
        preactivation=preactivation,
    )  # fmt: skip
    rngs = {"dropout": jax.random.key(1)}
    _, state = net.apply(
        variables_of(net), INPUTS, train=True, rngs=rngs, capture_intermediates=True, mutable=True
    )
    leaves = jax.tree_util.tree_leaves_with_path(state["intermediates"])
    dropped = {
        jax.tree_util.keystr(path): leaf
        for path, leaf in leaves
        if any("dropout" in str(getattr(key, "key", "")) for key in path)
    }
    assert len(dropped) == DROPS[places]
    assert all(0.2 < np.mean(leaf == 0) < 0.8 for leaf in dropped.values())


@pytest.mark.parametrize("norm", ["none", "batch", "layer", "group"])
def test_normalisation_takes_the_place_of_biases_only_where_it_subtracts_them(norm):
    params = variables_of(ResNet(STAGES, 3, norm=norm, shortcut="B"))["params"]
    block = params["block_2_1"]
    normed = {"norm_1", "norm_2", "shortcut_norm"} <= set(block) and "stem_norm" in params
    assert normed == (norm != "none")
    assert ("bias" in block["conv_1"]) == ("bias" in block["shortcut"]) == (norm != "batch")


@pytest.mark.slow
def test_initial_weights_of_every_layer():
    plain = initial(ResNet(STAGES[:1], 3, norm="none", shortcut="C"))["params"]
    choices: dict[str, Any] = {"norm": "none", "shortcut": "C"}
    scaled = initial(ResNet(STAGES[:1], 3, init_scale=2.0, bias_init="fan_in_uniform", **choices))
    zeros = initial(ResNet(STAGES[:1], 3, kernel_init=INITIALIZERS["zeros"], **choices))
    for path, leaf in jax.tree_util.tree_leaves_with_path(plain):
        names = [key.key for key in path]
        changed = functools.reduce(lambda tree, name: tree[name], names, scaled["params"])
        zero = functools.reduce(lambda tree, name: tree[name], names, zeros["params"])
        assert not zero.any()
        if names[-1] == "kernel":
            np.testing.assert_allclose(changed, 2 * leaf, rtol=1e-6)
        else:
            assert changed.any() and not leaf.any()


def test_sequences_and_half_precision():
    net = ResNet(STAGES, 3, channel_axis=False, dtype=jnp.bfloat16)
    x = jnp.zeros((2, 40))
    shapes = jax.eval_shape(functools.partial(initial, net), x)
    assert {leaf.dtype for leaf in jax.tree.leaves(shapes)} == {jnp.dtype("float32")}
    assert jax.eval_shape(functools.partial(scores, net), shapes, x).dtype == jnp.float32


def test_the_penultimate_layer_is_what_the_output_layer_sees():
    net = ResNet(STAGES, 3)
    variables = variables_of(net)
    seen: Any = net.apply(variables, INPUTS, method=net.penultimate)
    output = jax.tree.map(np.asarray, variables["params"]["output"])
    expected = np.asarray(seen) @ output["kernel"] + output["bias"]
    np.testing.assert_allclose(scores(net, variables), expected, rtol=1e-5, atol=1e-6)
