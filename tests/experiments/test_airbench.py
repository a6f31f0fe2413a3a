"""The training of airbench94 against PyTorch: a small net of the same form, step by step."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import convnet
from experiments.claims import CLAIMS
from experiments.engine.grids import override_fields
from experiments.engine.step import State
from tests.experiments.conftest import make_pieces

EPOCHS, STEPS, BATCH = 7, 14, 6
SMALL = "w2 4k3m2 4k3 6k3m2 6k3 max2"
RECIPE: Any = override_fields(convnet.Config(), CLAIMS["airbench94"].config)


@pytest.fixture(scope="module")
def pieces(tmp_path_factory):
    """A replica of the recipe on 12 images, with a narrow net in full precision."""
    random = np.random.default_rng(0)
    file = tmp_path_factory.mktemp("airbench") / "images.npz"
    x, y = random.integers(0, 256, (16, 12, 12, 3), np.uint8), random.integers(0, 3, 16)
    np.savez(file, x_train=x[:12], y_train=y[:12], x_test=x[12:], y_test=y[12:])
    experiment = dataclasses.replace(convnet.EXPERIMENT, config=RECIPE)
    return make_pieces(
        experiment, dataset="file", data_file=str(file), layers=SMALL, batch_size=BATCH,
        epochs=EPOCHS, compute_dtype="float32", translate=None, flip="none",
    )  # fmt: skip


def drawn(shapes: Any) -> Any:
    """Parameters with weights of variance 1 / fan-in, and zero biases."""
    random = np.random.default_rng(1)

    def draw(leaf: Any) -> Any:
        deviation = 1 / np.sqrt(np.prod(leaf.shape[:-1])) if len(leaf.shape) > 1 else 0
        return jnp.asarray(random.normal(0, deviation, leaf.shape), jnp.float32)

    return jax.tree.map(draw, shapes)


def trained(pieces: Any) -> tuple[Any, list[Any], list[np.ndarray]]:
    """The parameters before the first step, after each, and the rows of each batch."""
    trainer, replica, data = pieces.trainer, pieces.replica, pieces.data
    shapes = jax.eval_shape(trainer.init, replica, data.own)
    params = drawn(shapes.params)
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes.model_state)
    state = State(
        jnp.int32(0), params, trainer.model(replica).optimizer.init(params),
        convnet.EXPERIMENT.adapt(pieces.config, zeros, data.own), jnp.int32(-1),
    )  # fmt: skip
    order, step = jax.jit(trainer.epoch_inputs), jax.jit(trainer.first_step)
    after, rows = [], []
    for number in range(STEPS):
        xs = order(replica, data, jnp.int32(number // 2))
        now = jax.tree.map(lambda leaf, n=number: jnp.roll(leaf, -(n % 2), axis=0), xs)
        state, _ = step(state, replica, data, now)
        after.append(jax.device_get(state.params))
        rows.append(np.asarray(now["rows"][0]))
    return params, after, rows


def batches(pieces: Any, rows: list[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Images, each channel standardised over all training images, and labels."""
    train, own = pieces.dataset.splits["train"], pieces.data.own["train_rows"]
    x = train["x"][own] / 255.0
    x = (x - x.mean((0, 1, 2))) / x.std((0, 1, 2))
    return [(x[chosen].astype(np.float32), train["y"][own][chosen]) for chosen in rows]


def torch_net(torch: Any, params: Any, filters: np.ndarray) -> tuple[Any, dict[str, Any]]:
    """The original's net as a function of leaves that require gradients, by our names."""
    functional = torch.nn.functional

    def leaf(array: np.ndarray) -> Any:
        return torch.tensor(channels_first(np.asarray(array)).copy(), requires_grad=True)

    leaves = {f"{m}/{n}": leaf(a) for m, named in params.items() for n, a in named.items()}
    frozen = leaf(filters).detach()

    def net(x: Any) -> Any:
        bias = leaves["whitening/bias"]
        x = functional.gelu(functional.conv2d(x, frozen, bias))
        for number in range(1, 5):
            x = functional.conv2d(x, leaves[f"conv_{number}/kernel"], padding="same")
            x = functional.max_pool2d(x, 2) if number % 2 else x
            shift = leaves[f"norm_{number}/bias"]
            x = functional.batch_norm(x, None, None, None, shift, training=True, eps=1e-12)
            x = functional.gelu(x)
        x = functional.max_pool2d(x, 2).flatten(1)
        return functional.linear(x, leaves["output/kernel"]) / 9

    return net, leaves


def torch_steps(torch: Any, net: Any, leaves: dict[str, Any], seen: list[Any]) -> list[Any]:
    """The original's loop: summed losses, two groups, its schedule and look-ahead; all leaves."""
    scale = 1024 * (1 + 1 / (1 - 0.85))
    rate, decay = 11.5 / scale * 1024 / BATCH, 0.0153 * 1024 / scale  # a batch of 1024 as one of 6
    norms = [leaf for name, leaf in leaves.items() if "norm" in name]
    others = [leaf for name, leaf in leaves.items() if "norm" not in name]
    groups = [
        {"params": norms, "lr": 64 * rate, "weight_decay": decay / (64 * rate)},
        {"params": others, "lr": rate, "weight_decay": decay / rate},
    ]
    optimizer = torch.optim.SGD(groups, momentum=0.85, nesterov=True)
    rise = int(0.23 * STEPS)
    factor = np.interp(np.arange(STEPS + 1), [0, rise, STEPS], [0.2, 1, 0.07])
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: factor[step])
    slow = {name: leaf.detach().clone() for name, leaf in leaves.items()}
    after = []
    for step, (x, y) in enumerate(seen):
        leaves["whitening/bias"].requires_grad_(step < 3 * 2)
        loss = torch.nn.functional.cross_entropy(
            net(torch.tensor(np.moveaxis(x, -1, 1).copy())), torch.tensor(y).long(),
            label_smoothing=0.2, reduction="sum",
        )  # fmt: skip
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
        done = step + 1
        share = 0.95**5 * (done / STEPS) ** 3
        for name, leaf in leaves.items():
            if done % 5 == 0:
                slow[name].lerp_(leaf.detach(), 1 - share)
            if done % 5 == 0 or done == STEPS:
                leaf.data.copy_(slow[name])
        after.append({name: leaf.detach().numpy().copy() for name, leaf in leaves.items()})
    return after


def channels_first(array: np.ndarray) -> np.ndarray:
    """A parameter as PyTorch has it."""
    return np.moveaxis(array, (-1, -2), (0, 1)) if array.ndim > 1 else array


@pytest.mark.slow
def test_every_step_is_that_of_the_original(pieces):
    """To 5e-5 of the way gone before the look-ahead; later the rounding of both has grown."""
    torch = pytest.importorskip("torch", reason="PyTorch comes with the extra `bench`")
    start, after, rows = trained(pieces)
    net, leaves = torch_net(torch, start, pieces.data.own["filters"])
    first = {name: leaf.detach().numpy().copy() for name, leaf in leaves.items()}
    theirs = torch_steps(torch, net, leaves, batches(pieces, rows))
    for step, want in enumerate(theirs):
        for name, leaf in want.items():
            module, kind = name.split("/")
            mine = channels_first(after[step][module][kind])
            error = np.linalg.norm(mine - leaf) / np.linalg.norm(leaf - first[name])
            assert error < (5e-5 if step < 4 else 0.02), (step, name)
    biases = np.stack([params["whitening"]["bias"] for params in after])
    np.testing.assert_array_equal(biases[6:9], np.broadcast_to(biases[5], (3, 24)))
    assert (biases[5] != biases[4]).any()
