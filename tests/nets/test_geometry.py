"""Window arithmetic against XLA and against loops."""

import itertools

import jax
import jax.numpy as jnp
import pytest

from nets.geometry import windows

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
