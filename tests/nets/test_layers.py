"""What is read off a net, against its gradients, XLA's shapes and sums by hand."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nets.geometry import Sharing, Window, windows
from nets.layers import chain, depth, layers, sharing, totals
from nets.mlp import MLP


class MaxPool(nn.Module):
    """A stand-in that has windows and no weights."""

    size: int = 2

    def windows(self, shape: tuple[int, ...]) -> tuple[Window, ...]:
        return windows(shape, self.size, self.size, "valid")

    def __call__(self, x):
        return nn.max_pool(x, (self.size,) * 2, (self.size,) * 2)


class Wrapped(nn.Module):
    """A stand-in whose weights are a submodule's."""

    features: int
    size: int = 3
    stride: int = 1

    def windows(self, shape: tuple[int, ...]) -> tuple[Window, ...]:
        return windows(shape, self.size, self.stride)

    @nn.compact
    def __call__(self, x):
        return nn.Conv(self.features, (self.size,) * 2, self.stride, name="inner")(x)


class Block(nn.Module):
    """A residual block that halves the map."""

    @nn.compact
    def __call__(self, x):
        y = nn.relu(nn.Conv(4, (3, 3), 2, name="conv_1")(x))
        y = nn.Conv(4, (3, 3), name="conv_2")(y)
        return nn.relu(y + nn.Conv(4, (1, 1), 2, name="shortcut")(x))


class ConvNet(nn.Module):
    """Flax's convolution, a stand-in, a pool, a block and two dense layers."""

    @nn.compact
    def __call__(self, x, *, train: bool):
        x = nn.relu(nn.Conv(3, (5, 3), padding=((2, 2), (1, 0)), name="conv")(x))
        x = nn.BatchNorm(use_running_average=not train, name="norm")(x)
        x = Wrapped(4, name="wrapped")(x)
        x = Block(name="block")(MaxPool(name="pool")(x))
        x = nn.relu(nn.Dense(6, name="hidden")(x.reshape(len(x), -1)))
        return nn.Dense(2, name="output")(x)


SAMPLE = jnp.ones((1, 16, 13, 2))


def read(net, sample=SAMPLE, **options):
    variables = jax.eval_shape(lambda: net.init(jax.random.key(0), sample, **options))
    return {"/".join(layer.path): layer for layer in layers(net, variables, sample)}, variables


@pytest.fixture(scope="module")
def convnet():
    return read(ConvNet(), train=False)


def test_lists_modules_in_the_order_of_calls(convnet):
    found, _ = convnet
    assert list(found) == [
        "", "conv", "norm", "wrapped", "pool", "block", "block/conv_1", "block/conv_2",
        "block/shortcut", "hidden", "output",
    ]  # fmt: skip
    assert found["wrapped"].kind == "Wrapped" and found["block"].kind == "Block"
    assert found["conv"].inputs == (16, 13, 2) and found["conv"].outputs == (16, 12, 3)
    assert found["pool"].outputs == (8, 6, 4) and found["block"].outputs == (4, 3, 4)
    assert found["conv"].windows == (Window(5, 1, (2, 2)), Window(3, 1, (1, 0)))


def test_parameters_add_up_and_multiply_adds_are_those_of_the_loops(convnet):
    found, variables = convnet
    assert found["wrapped"].parameters == 3 * 3 * 3 * 4 + 4
    assert found["norm"].parameters == 6 and found["block"].parameters == 0
    costs = {
        "conv": 16 * 12 * 3 * (5 * 3 * 2), "wrapped": 16 * 12 * 4 * (3 * 3 * 3), "pool": 0,
        "block": 0, "block/conv_1": 4 * 3 * 4 * (9 * 4), "block/conv_2": 4 * 3 * 4 * (9 * 4),
        "block/shortcut": 4 * 3 * 4 * 4, "hidden": 48 * 6, "output": 6 * 2, "norm": 0, "": 0,
    }  # fmt: skip
    assert {name: layer.multiply_adds for name, layer in found.items()} == costs
    size = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    sums = totals(found.values())
    assert (sums.parameters, sums.multiply_adds, sums.uncounted) == (size, sum(costs.values()), 0)


def test_depth_counts_weight_layers_off_the_shortcuts(convnet):
    found, _ = convnet
    assert found["block/shortcut"].shortcut and not found["block/conv_2"].shortcut
    assert depth(found.values()) == totals(found.values()).depth == 6
    assert depth(read(MLP((8, 8), 3, norm="batch"), train=False)[0].values()) == 3


def test_the_chain_goes_through_windows_off_the_shortcuts(convnet):
    names = ["/".join(layer.path) for layer in chain(convnet[0].values())]
    assert names == ["conv", "wrapped", "pool", "block/conv_1", "block/conv_2"]


def seen_by_centre(net, variables, name, shape):
    """Inputs with a gradient from the centre unit; all weights are positive, so none cancels."""

    def centre(x):
        _, state = net.apply(variables, x, capture_intermediates=True, mutable=["intermediates"])
        output = state["intermediates"][name]["__call__"][0]
        return output[0, output.shape[1] // 2, output.shape[2] // 2].sum()

    gradient = jax.grad(centre)(jnp.ones((1, *shape, 1)))[0, ..., 0]
    return [np.flatnonzero(np.asarray(gradient).any(axis=axis)) for axis in (1, 0)]


class Linear(nn.Module):
    """Convolutions of every kind."""

    @nn.compact
    def __call__(self, x):
        x = nn.Conv(2, (3, 5), (2, 1), padding="VALID", name="a")(x)
        x = nn.Conv(2, (3, 3), kernel_dilation=(1, 2), name="b")(x)
        x = nn.ConvLocal(1, (2, 2), (1, 2), padding=[1, 0], name="c")(x)
        return nn.Conv(1, (3, 2), 2, padding=((1, 0), (0, 1)), name="d")(x)


@pytest.mark.slow
def test_fields_are_where_gradients_are():
    net, shape = Linear(), (31, 34)
    sample = jnp.ones((1, *shape, 1))
    variables = net.init(jax.random.key(0), sample)
    variables = jax.tree.map(jnp.ones_like, variables)
    found = {layer.path[-1]: layer for layer in layers(net, variables, sample) if layer.path}
    for name, layer in found.items():
        spans = seen_by_centre(net, variables, name, shape)
        for axis, (field, places) in enumerate(zip(layer.fields or (), spans, strict=True)):
            first = field.start + layer.outputs[axis] // 2 * field.jump
            assert (places[0], places[-1]) == (first, first + field.size - 1)


def test_fields_go_through_a_residual_block(convnet):
    found, _ = convnet
    sizes = {
        name: [field.size for field in layer.fields or ()]
        for name, layer in found.items()
        if layer.windows
    }
    assert sizes == {
        "conv": [5, 3], "wrapped": [7, 5], "pool": [8, 6], "block/conv_1": [12, 10],
        "block/conv_2": [20, 18], "block/shortcut": [8, 6],
    }  # fmt: skip
    assert found["block"].fields == found["block/conv_2"].fields
    assert found["block"].fields is not None and found["block"].fields[0].jump == 4
    assert found["norm"].fields == found["conv"].fields
    assert found["hidden"].fields == ()


class Branches(nn.Module):
    """Two branches that take what one module returned, and a function that halves the map."""

    @nn.compact
    def __call__(self, x):
        x = nn.Conv(2, (3, 3), name="stem")(x)
        small = nn.Conv(2, (3, 3), name="small")(x)
        large = nn.Conv(2, (5, 5), name="large")(x)
        x = nn.avg_pool(small + large, (2, 2), (2, 2))
        return nn.Conv(2, (3, 3), name="after")(x)


def test_branches_start_from_their_input_and_an_unknown_function_ends_the_fields():
    found, _ = read(Branches())
    fields = {name: layer.fields for name, layer in found.items()}
    assert [f.size for f in fields["small"] or ()] == [5, 5]
    assert [f.size for f in fields["large"] or ()] == [7, 7]
    assert fields["after"] is None
    assert [layer.path[-1] for layer in chain(found.values())] == ["stem", "small"]


class Odd(nn.Module):
    """Weights of which it is unknown what they meet."""

    @nn.compact
    def __call__(self, x):
        x = nn.Conv(2, (3, 3), padding="CIRCULAR", name="wrapped")(x)
        x = nn.Conv(2, (3, 3), name="conv")(x)
        return nn.ConvTranspose(2, (2, 2), (2, 2), name="up")(x)


def test_what_is_unknown_is_said_to_be():
    found, _ = read(Odd())
    assert found["wrapped"].windows == () and found["wrapped"].multiply_adds is None
    assert found["up"].multiply_adds is None and found["up"].fields is None
    sums = totals(found.values())
    assert sums.uncounted == 2 and sums.multiply_adds == 16 * 13 * 2 * 18


@pytest.mark.parametrize("size", [3, 5])
def test_unshared_weights_are_counted_once(size):
    """ConvLocal has a bias for each position and filter; 3x3 positions look like a 3x3 window."""
    sample = jnp.ones((1, 5, 5, 2))
    shared, _ = read(nn.Conv(4, (size, size), padding=0 if size == 3 else 2), sample)
    own, _ = read(nn.ConvLocal(4, (size, size), padding=0 if size == 3 else 2), sample)
    positions = 9 if size == 3 else 25
    assert own[""].multiply_adds == shared[""].multiply_adds == positions * size**2 * 2 * 4
    assert sharing(own[""]) == sharing(shared[""])
    assert sharing(own[""]).bias_per_position == own[""].parameters
    assert sharing(own[""]).shared == shared[""].parameters


def test_the_numbers_of_the_lecture_notes():
    """75 weights x 32 x 32 positions x 10 filters."""
    found, _ = read(nn.Conv(10, (5, 5)), jnp.ones((1, 32, 32, 3)))
    assert sharing(found[""]) == Sharing(760, 768_010, 778_240)
    found, _ = read(nn.Conv(10, (5, 5), use_bias=False), jnp.ones((1, 32, 32, 3)))
    assert sharing(found[""]).shared == 750
    with pytest.raises(ValueError, match=r"Dense\) is no convolution"):
        sharing(read(nn.Dense(3))[0][""])


def test_groups_and_causal_padding():
    sample = jnp.ones((1, 10, 4))
    found, _ = read(nn.Conv(8, (3,), feature_group_count=2, padding="CAUSAL"), sample)
    assert found[""].multiply_adds == 10 * 8 * 3 * 2
    assert found[""].windows == (Window(3, 1, (2, 0)),)


def test_a_module_called_twice_is_listed_once_with_the_cost_of_both():
    class Twice(nn.Module):
        @nn.compact
        def __call__(self, x):
            layer = nn.Conv(2, (3, 3), name="conv")
            return nn.Conv(2, (3, 3), name="last")(layer(layer(x)))

    found, _ = read(Twice())
    assert totals(found.values()).parameters == 2 * (9 * 4 + 2)
    assert totals(found.values()).multiply_adds == 3 * 16 * 13 * 9 * 4
    assert [field.size for field in found["last"].fields or ()] == [7, 7]
    assert sharing(found["conv"]).shared == sharing(found["last"]).shared == 9 * 4 + 2
    assert sharing(found["conv"]) == sharing(found["last"])


def test_a_table_attended_to_twice_counts_twice():
    class Tied(nn.Module):
        @nn.compact
        def __call__(self, x):
            embed = nn.Embed(9, 4, name="embed")
            return embed.attend(x) + embed.attend(2 * x)

    found, _ = read(Tied(), jnp.ones((1, 5, 4)))
    assert found["embed.attend"].multiply_adds == 2 * 5 * 4 * 9


@pytest.mark.parametrize("time_major", [False, True])
@pytest.mark.parametrize("unroll", [1, 3])
def test_every_step_of_flax_s_loop_over_time_counts(time_major, unroll):
    sample = jnp.ones((1, 7, 4) if not time_major else (7, 1, 4))
    net = nn.RNN(nn.SimpleCell(6), time_major=time_major, unroll=unroll)
    found, _ = read(net, sample)
    assert totals(found.values()).multiply_adds == 7 * (4 * 6 + 6 * 6)
