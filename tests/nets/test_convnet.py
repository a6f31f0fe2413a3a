"""Convolutional nets from a spec: published sizes, and every option reaches every place."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nets.activations import ACTIVATIONS
from nets.convnet import ConvNet
from nets.initializers import INITIALIZERS
from nets.layers import depth, layers
from nets.specs import NETS, Block, parse_block, parse_blocks
from tests.nets import compiled

SPEC = "6k3 lrn max2 8k3s2 avg2 d12"
INPUTS = jnp.asarray(np.random.default_rng(0).normal(size=(4, 16, 16, 3)), jnp.float32)


def initial(net, x=INPUTS) -> Any:
    return compiled.initial(net, x, train=False)


def shapes_of(net, x=INPUTS) -> Any:
    return jax.eval_shape(functools.partial(initial, net), x)


def scores(net, variables, x=INPUTS) -> Any:
    return compiled.applied(net, variables, x, train=False)


def state_of(net, variables, **options) -> Any:
    """Statistics and what every layer gives, of a step of training."""
    return compiled.applied(
        net, variables, INPUTS, train=True, mutable=True, capture_intermediates=True, **options
    )[1]


def parameters(spec, classes, shape) -> int:
    net, sample = ConvNet(parse_blocks(spec), classes), jnp.zeros((1, *shape))
    shapes = shapes_of(net, sample)
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes["params"]))


PUBLISHED = {
    "linear": (10, (28, 28, 1), 7_850, 1),
    "lenet5": (10, (28, 28, 1), 61_706, 5),
    "alexnet": (1000, (224, 224, 3), 60_965_224, 8),
    "alexnet_one_tower": (1000, (224, 224, 3), 61_100_840, 8),
    "vgg11": (1000, (224, 224, 3), 132_863_336, 11),
    "vgg13": (1000, (224, 224, 3), 133_047_848, 13),
    "vgg16": (1000, (224, 224, 3), 138_357_544, 16),
    "vgg19": (1000, (224, 224, 3), 143_667_240, 19),
    "vgg11_bn": (1000, (224, 224, 3), 132_868_840, 11),
    "vgg13_bn": (1000, (224, 224, 3), 133_053_736, 13),
    "vgg16_bn": (1000, (224, 224, 3), 138_365_992, 16),
    "vgg19_bn": (1000, (224, 224, 3), 143_678_248, 19),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
def test_published_numbers_of_parameters_and_layers(name):
    classes, shape, expected, weight_layers = PUBLISHED[name]
    assert parameters(name, classes, shape) == expected
    net, sample = ConvNet(parse_blocks(name), classes), jnp.zeros((1, *shape))
    shapes = shapes_of(net, sample)
    assert depth(layers(net, shapes, sample)) == weight_layers


def test_every_net_takes_its_images():
    assert parameters("alexnet_cifar", 10, (32, 32, 3)) > 0
    assert set(NETS) == {*PUBLISHED, "alexnet_cifar", "airbench94"}


def test_airbench94_has_the_parameters_of_its_publication():
    """6 convolutions without biases, biases of norms and of 24 frozen filters, a linear layer.

    Its parameters without a gradient are the filters, and the scales of batch norm that stay 1,
    which are not there here.
    """
    net = ConvNet(parse_blocks("airbench94"), 10, norm="batch", norm_scale=False, output_bias=False)
    shapes = shapes_of(net, jnp.zeros((1, 32, 32, 3)))
    trained, frozen = (
        sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes[name]))
        for name in ("params", "frozen")
    )
    widths = [(24, 64), (64, 64), (64, 256), (256, 256), (256, 256), (256, 256)]
    norms = sum(outputs for _, outputs in widths)
    assert trained == sum(9 * i * o for i, o in widths) + norms + 24 + 256 * 10 == 1_971_352
    assert frozen == 2 * 2 * 3 * 24 and trained + frozen + norms == 1_972_792


WORDS = {
    "64k3": Block("conv", 64, 3),
    "96k11s4p2": Block("conv", 96, 11, 4, 2),
    "16k5v": Block("conv", 16, 5, 1, "valid"),
    "16k3s2d3g4u": Block("conv", 16, 3, 2, "same", 3, 4, False),
    "64k3b": Block("conv", 64, 3, batch_norm=True),
    "64k3m2": Block("conv", 64, 3, pool=2),
    "64k3ubm3": Block("conv", 64, 3, shared=False, batch_norm=True, pool=3),
    "w2": Block("whitening", 0, 2),
    "max3s2p1": Block("max", 0, 3, 2, 1),
    "avg2": Block("average", 0, 2, 2, "valid"),
    "global": Block("global"),
    "lrn": Block("lrn"),
    "d120": Block("dense", 120),
}


@pytest.mark.parametrize("word", WORDS)
def test_words_of_a_spec(word):
    assert parse_block(word) == WORDS[word]


@pytest.mark.parametrize(
    "word", ["64", "k3", "64k", "max", "64k3p2v", "d", "64k3x", "64k3m0", "w", "mean2"]
)
def test_words_that_are_no_layer(word):
    with pytest.raises(ValueError, match="is no layer: write a convolution as 64k3"):
        parse_blocks(f"8k3 {word}")


@pytest.mark.parametrize("word", ["0k3", "d0", "w0"])
def test_layers_without_features_are_refused(word):
    with pytest.raises(ValueError, match=f"'{word}': a layer has at least one feature"):
        parse_blocks(word)


@pytest.mark.parametrize("spec", ["d10 8k3", "global max2"])
def test_windows_need_positions(spec):
    with pytest.raises(ValueError, match="follows a layer whose output has no positions"):
        parse_blocks(spec)


def test_scores_are_those_of_the_layers_one_after_another():
    net = ConvNet(parse_blocks("6k3 max2 d5"), 3, activation=ACTIVATIONS["tanh"])
    params = initial(net)["params"]
    kernel = np.asarray(params["conv_1"]["kernel"], np.float64)
    padded = np.pad(np.asarray(INPUTS, np.float64), ((0, 0), (1, 1), (1, 1), (0, 0)))
    maps = sum(padded[:, i : i + 16, j : j + 16] @ kernel[i, j] for i in range(3) for j in range(3))
    maps = np.tanh(maps).reshape(4, 8, 2, 8, 2, 6).max((2, 4)).reshape(4, -1)
    hidden = np.tanh(maps @ np.asarray(params["dense_2"]["kernel"], np.float64))
    expected = hidden @ np.asarray(params["output"]["kernel"], np.float64)
    np.testing.assert_allclose(scores(net, {"params": params}), expected, rtol=1e-4, atol=1e-5)


def test_activation_and_its_learned_values_reach_every_place():
    net = ConvNet(parse_blocks(SPEC), 3, activation=ACTIVATIONS["prelu"])
    params = jax.tree.map(np.asarray, initial(net)["params"])
    for name in ("activation_1", "activation_2", "activation_3"):
        changed = params | {name: jax.tree.map(lambda a: a + 1, params[name])}
        there, before = (np.asarray(scores(net, {"params": p})) for p in (changed, params))
        assert np.abs(there - before).max() > 1e-3, name


@pytest.mark.slow
@pytest.mark.parametrize("norm", ["batch", "layer", "group"])
def test_normalisation_before_every_activation(norm):
    net = ConvNet(parse_blocks(SPEC), 3, activation=ACTIVATIONS["identity"], norm=norm)
    variables = initial(net)
    assert {"norm_1", "norm_2", "norm_3"} <= set(variables["params"])
    assert ("bias" in variables["params"]["conv_1"]) == (norm != "batch")
    state = state_of(net, variables)
    maps = np.asarray(state["intermediates"]["activation_1"]["__call__"][0])
    axes = (0, 1, 2) if norm == "batch" else (1, 2, 3)
    if norm == "group":  # six channels, three groups
        maps, axes = np.reshape(maps, (*maps.shape[:-1], 3, 2)), (1, 2, 4)
    np.testing.assert_allclose(np.mean(maps, axes), 0, atol=1e-4)
    np.testing.assert_allclose(np.var(maps, axes), 1, atol=1e-2)


def test_whitening_is_the_first_layer():
    with pytest.raises(ValueError, match="'w2' whitens the input: it can only be the first layer"):
        parse_blocks("8k3 w2")


@pytest.mark.parametrize(
    ("options", "same"),
    [({}, True), ({"activation": ACTIVATIONS["gelu"]}, False), ({"norm": "layer"}, False)],
)
def test_pooling_inside_a_layer_comes_before_norm_and_activation(options, same):
    """A rising activation alone may as well come before; one that falls and a norm may not."""
    inside, after = (ConvNet(parse_blocks(s), 3, **options) for s in ("8k3m2 d5", "8k3 max2 d5"))
    random, shapes = np.random.default_rng(1), shapes_of(inside)
    variables = jax.tree.map(lambda leaf: jnp.asarray(random.normal(0, 0.2, leaf.shape)), shapes)
    found = [scores(net, variables) for net in (inside, after)]
    assert np.allclose(*found, rtol=1e-5, atol=1e-5) == same


def test_the_output_may_lack_a_bias_and_be_scaled():
    plain = ConvNet(parse_blocks("4k3"), 3)
    small = ConvNet(parse_blocks("4k3"), 3, output_bias=False, output_scale=1 / 9)
    variables = jax.tree.map(np.asarray, initial(plain))
    output = dict(variables["params"]["output"])
    assert not output.pop("bias").any()
    without = {"params": {**variables["params"], "output": output}}
    assert jax.tree.structure(without) == jax.tree.structure(shapes_of(small))
    expected = np.asarray(scores(plain, variables)) / 9
    np.testing.assert_allclose(scores(small, without), expected, rtol=1e-5, atol=1e-6)


def test_the_norm_of_a_net_has_its_scale_epsilon_and_momentum():
    options = {"norm_scale": False, "norm_momentum": 0.6, "norm_epsilon": 0.5}
    net = ConvNet(parse_blocks("4k3"), 3, norm="batch", **options)
    variables = initial(net)
    assert set(variables["params"]["norm_1"]) == {"bias"}
    state = state_of(net, variables)
    seen = state["intermediates"]
    maps = np.asarray(seen["conv_1"]["__call__"][0], np.float64)
    mean, variance = maps.mean((0, 1, 2)), maps.var((0, 1, 2))
    normed = (maps - mean) / np.sqrt(variance + 0.5)
    np.testing.assert_allclose(seen["norm_1"]["__call__"][0], normed, rtol=1e-4, atol=1e-5)
    kept = state["batch_stats"]["norm_1"]
    np.testing.assert_allclose(kept["var"], 0.6 + 0.4 * variance, rtol=1e-4)


def test_batch_norm_of_a_layer_is_beside_its_bias_and_in_place_of_the_norm_of_the_net():
    net = ConvNet(parse_blocks("6k3b 6k3 d5"), 3, norm="group")
    variables = shapes_of(net)
    assert set(variables["batch_stats"]) == {"norm_1"}
    assert {"norm_1", "norm_2", "norm_3"} <= set(variables["params"])
    assert all("bias" in variables["params"][name] for name in ("conv_1", "conv_2", "dense_3"))
    batch = shapes_of(ConvNet(parse_blocks("6k3b 6k3 d5"), 3, norm="batch"))["params"]
    assert [("bias" in batch[name]) for name in ("conv_1", "conv_2", "dense_3")] == [
        True,
        False,
        False,
    ]


def test_local_response_norm_follows_the_activation_of_convolutions_alone():
    by_norm = ConvNet(parse_blocks("8k3 max2 d5"), 3, norm="local_response")
    by_word = ConvNet(parse_blocks("8k3 lrn max2 d5"), 3)
    variables = initial(by_norm)
    assert set(variables["params"]) == set(shapes_of(by_word)["params"])  # biases, no scale
    assert "bias" in variables["params"]["conv_1"]
    np.testing.assert_array_equal(scores(by_norm, variables), scores(by_word, variables))


DROPS = {
    "every": {"dropout_1", "dropout_4", "dropout_6"},
    "conv": {"dropout_1", "dropout_4"},
    "dense": {"dropout_6"},
    "pool": {"dropout_3", "dropout_5"},
}


@pytest.mark.slow
@pytest.mark.parametrize("places", DROPS)
def test_dropout_at_every_place_asked_for(places):
    net = ConvNet(
        parse_blocks(SPEC), 3, activation=ACTIVATIONS["softplus"], dropout=0.5, dropout_at=places
    )
    rngs = {"dropout": jax.random.key(1)}
    variables = initial(ConvNet(parse_blocks(SPEC), 3))
    found = state_of(net, variables, rngs=rngs)["intermediates"]
    dropped = {name for name in found if name.startswith("dropout")}
    assert dropped == DROPS[places]
    for name in dropped:
        assert 0.2 < np.mean(np.asarray(found[name]["__call__"][0]) == 0) < 0.8


def test_initial_weights_of_every_layer():
    plain = initial(ConvNet(parse_blocks(SPEC), 3))["params"]
    changed = initial(ConvNet(parse_blocks(SPEC), 3, init_scale=2.0, bias_init="fan_in_uniform"))[
        "params"
    ]
    zeros = initial(ConvNet(parse_blocks(SPEC), 3, kernel_init=INITIALIZERS["zeros"]))["params"]
    plain, changed, zeros = (jax.tree.map(np.asarray, each) for each in (plain, changed, zeros))
    for name in ("conv_1", "conv_2", "dense_3", "output"):
        np.testing.assert_allclose(changed[name]["kernel"], 2 * plain[name]["kernel"], rtol=1e-6)
        assert changed[name]["bias"].any() and not plain[name]["bias"].any()
        assert not zeros[name]["kernel"].any()


def test_biases_of_unshared_layers():
    def bias(**choices):
        return shapes_of(ConvNet(parse_blocks("6k3u"), 3, **choices))["params"]["conv_1"]["bias"]

    assert bias().shape == (6,)
    assert bias(bias_per_position=True).shape == (16, 16, 6)


def test_sequences():
    net, x = ConvNet(parse_blocks("25k5s2p1 25k3s2p1 25k3s2p1"), 10), jnp.zeros((2, 40, 1))
    shapes = shapes_of(net, x)
    assert sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes)) == 5_210
    assert jax.eval_shape(functools.partial(scores, net), shapes, x).shape == (2, 10)


def test_half_precision_in_the_layers_and_not_in_the_scores():
    net = ConvNet(parse_blocks(SPEC), 3, norm="batch", dtype=jnp.bfloat16)
    shapes = shapes_of(net)
    assert {leaf.dtype for leaf in jax.tree.leaves(shapes)} == {jnp.dtype("float32")}
    assert jax.eval_shape(functools.partial(scores, net), shapes).dtype == jnp.float32


def test_each_position_has_scores_of_its_own():
    """The output layer at a position sees the channels there, and nothing else."""
    net = ConvNet(parse_blocks("6k3 max2"), 4, reading="each")
    variables = initial(net)
    found = scores(net, variables)
    assert found.shape == (4, 8, 8, 4)
    whole = ConvNet(parse_blocks("6k3 max2"), 4)
    own, maps = (
        jax.jit(functools.partial(each.apply, method=each.penultimate))(initial(each), INPUTS)
        for each in (net, whole)
    )
    np.testing.assert_array_equal(maps.reshape(own.shape), own)
    output = jax.tree.map(np.asarray, variables["params"]["output"])
    want = np.asarray(own, np.float64) @ output["kernel"] + output["bias"]
    np.testing.assert_allclose(found, want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("layers", ["6k3 global", "6k3 d5"])
def test_scores_at_positions_need_positions(layers):
    with pytest.raises(ValueError, match="the last layer has no positions to give scores at"):
        shapes_of(ConvNet(parse_blocks(layers), 4, reading="each"))
