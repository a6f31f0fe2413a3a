"""Window arithmetic against XLA and against loops."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nets.geometry import (
    Sharing,
    Window,
    paths,
    receptive_field,
    shared_against_unshared,
    visits,
    windows,
)

PADDINGS = ("same", "valid", 0, 1, (2,), ((1, 0),), ((0, 3),))


def lax_shape(n, size, stride, padding, dilation):
    """The output size of XLA's own convolution."""
    if isinstance(padding, str):
        pads = padding.upper()
    else:
        each = (padding,) if isinstance(padding, int) else padding
        pads = [(p, p) if isinstance(p, int) else p for p in each]
    x, kernel = jnp.ones((1, n, 1)), jnp.ones((size, 1, 1))

    def convolve(x, kernel):
        return jax.lax.conv_general_dilated(
            x, kernel, (stride,), pads, rhs_dilation=(dilation,),
            dimension_numbers=("NWC", "WIO", "NWC"),
        )  # fmt: skip

    return jax.eval_shape(convolve, x, kernel).shape[1]


@pytest.mark.parametrize("padding", PADDINGS)
def test_output_sizes_are_those_of_xla(padding):
    for n, size, stride, dilation in itertools.product((7, 8), (1, 2, 3), (1, 2, 3), (1, 2)):
        (window,) = windows((n,), size, stride, padding, dilation)
        assert window.output_size(n) == lax_shape(n, size, stride, padding, dilation)


def test_same_pads_as_xla_does():
    for n, size, stride, dilation in itertools.product((1, 5, 8), (1, 2, 5), (1, 2, 3), (1, 2)):
        (window,) = windows((n,), size, stride, "same", dilation)
        reach = dilation * (size - 1) + 1
        (expected,) = jax.lax.padtype_to_pads((n,), (reach,), (stride,), "SAME")
        assert window.padding == tuple(expected)


def test_each_axis_has_its_own_numbers():
    rows, columns = windows((9, 5), (3, 1), (2, 1), ((1, 0), (2, 3)), (2, 1))
    assert (rows.size, rows.stride, rows.padding, rows.dilation) == (3, 2, (1, 0), 2)
    assert (columns.size, columns.stride, columns.padding, columns.dilation) == (1, 1, (2, 3), 1)
    assert windows((9, 5), 3, padding=(1, 2))[1].padding == (2, 2)
    assert rows.reach == 5 and columns.reach == 1
    assert windows((), 3) == ()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((5,), 0), "kernel 0: must be at least 1"),
        (((5,), 3, 0), "stride 0: must be at least 1"),
        (((5,), 3, 1, "same", 0), "dilation 0: must be at least 1"),
        (((5,), 3, 1, -1), "padding -1: must not be negative"),
        (((5,), 3, 1, ((0, -2),)), "padding -2: must not be negative"),
        (((5,), 7, 1, "valid"), "kernel 7 is larger than the padded input of 5"),
        (((3,), 7, 1, 1), "kernel 7 is larger than the padded input of 5"),
        (((5,), 3, 1, 0, 3), "kernel 3 with dilation 3 reaches 7 and is larger than the padded"),
        (((5, 5), (3,)), r"kernel \(3,\): 1 values for 2 axes"),
        (((5,), 3, (1, 1)), r"stride \(1, 1\): 2 values for 1 axis"),
        (((5,), 3, 1, (1, 1)), r"padding \(1, 1\): 2 values for 1 axis"),
    ],
)
def test_refuses_with_the_number_at_fault(arguments, message):
    with pytest.raises(ValueError, match=message):
        windows(*arguments)


STACKS = (
    [Window(3, 1, (1, 1))],
    [Window(3, 2, (0, 1)), Window(2, 2), Window(3, 1, (1, 1))],
    [Window(3, 1, (2, 2), dilation=2), Window(3, 3), Window(2)],
    [Window(1, 2), Window(4, 1, (3, 0)), Window(3, 2, dilation=2)],
)


def sum_of_windows(x, stack):
    """A linear net: each unit adds up what its window covers."""
    for window in stack:
        x = np.pad(x, window.padding)
        outputs = (len(x) - window.reach) // window.stride + 1
        first = window.stride * np.arange(outputs)
        x = sum(x[first + window.dilation * k] for k in range(window.size))
    return x


@pytest.mark.parametrize("stack", STACKS)
def test_receptive_field_is_where_the_output_changes(stack):
    """A change of one input at a time, at inputs that no unit's field loses to the edge."""
    n = 40
    changes = np.stack([sum_of_windows(row, stack) for row in np.eye(n)])
    field = receptive_field(stack)
    for unit in range(changes.shape[1]):
        seen = np.flatnonzero(changes[:, unit])
        first = field.start + unit * field.jump
        assert seen[0] == max(first, 0) or first < 0
        assert seen[-1] == first + field.size - 1 or first + field.size > n
    inner = np.flatnonzero(changes[:, changes.shape[1] // 2])
    assert inner[-1] - inner[0] + 1 == field.size


@pytest.mark.parametrize("shape", [(7,), (6, 5)])
def test_visits_count_covering_positions(shape):
    for size, stride, padding, dilation in itertools.product((1, 3), (1, 2, 4), (0, 1), (1, 2)):
        axes = windows(shape, size, stride, padding, dilation)
        counted = np.zeros(shape, int)
        outputs = [range(w.output_size(n)) for w, n in zip(axes, shape, strict=True)]
        taps = [range(w.size) for w in axes]
        for at, tap in itertools.product(itertools.product(*outputs), itertools.product(*taps)):
            place = tuple(o * stride + k * dilation - padding for o, k in zip(at, tap, strict=True))
            if all(0 <= p < n for p, n in zip(place, shape, strict=True)):
                counted[place] += 1
        np.testing.assert_array_equal(visits(shape, axes), counted)


def test_visits_of_a_padded_kernel():
    """3x3: padded 4, 6 or 9 visits; unpadded, a corner is seen once."""
    padded = visits((5, 5), windows((5, 5), 3))
    assert (padded[0, 0], padded[0, 2], padded[2, 2]) == (4, 6, 9)
    bare = visits((5, 5), windows((5, 5), 3, padding="valid"))
    assert (bare[0, 0], bare[0, 2], bare[2, 2]) == (1, 3, 9)


def test_paths_are_the_gradient_of_convolutions_with_ones():
    shape = (17, 12)
    first = windows(shape, (3, 2), (2, 1), "same")
    middle = tuple(w.output_size(n) for w, n in zip(first, shape, strict=True))
    second = windows(middle, 3, (1, 2), ((0, 0), (1, 2)), (2, 1))

    def total(x):
        for layer in (first, second):
            sizes, strides, pads, dilations = (
                [getattr(w, name) for w in layer]
                for name in ("size", "stride", "padding", "dilation")
            )
            kernel = jnp.ones((1, 1, *sizes))
            x = jax.lax.conv_general_dilated(x, kernel, strides, pads, rhs_dilation=dilations)
        return x.sum()

    expected = jax.grad(total)(jnp.ones((1, 1, *shape)))[0, 0]
    np.testing.assert_array_equal(paths(shape, [first, second]), expected)
    np.testing.assert_array_equal(paths(shape, []), np.ones(shape))


def test_the_numbers_of_the_lecture_notes():
    """5x5 on 32x32 colour images, 10 filters."""
    axes = windows((32, 32), 5)
    positions = axes[0].output_size(32) * axes[1].output_size(32)
    assert shared_against_unshared(75, positions, 10) == Sharing(760, 768_010, 778_240)
    assert shared_against_unshared(75, positions, 10, bias=False) == Sharing(750, *[768_000] * 2)
