"""A linear regression with a config of its own: an experiment that compiles in no time.

It stands in for a user's script, and also runs as one: `python toy.py study --vary rate=...`.
"""

import dataclasses
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.data.dataset import Dataset, Spec, make_dataset
from experiments.engine import main
from experiments.engine.experiment import Data, Experiment
from experiments.engine.statistics import Metric


@dataclasses.dataclass(frozen=True)
class Config:
    """How a line is fitted.

    Attributes:
        rate: of gradient descent.
        decay: strength of w^2.
        noise: standard deviation of noise on the inputs.
        power: what is minimised, the error to this power.
        batch_size: examples per step.
        epochs: passes over the training rows.
    """

    rate: float = 0.1
    decay: float | None = None
    noise: float = 0.0
    power: Literal["square", "quartic"] = "square"
    batch_size: int = 8
    epochs: int = 2


def load(config: Any, manual_dir: str | None) -> Dataset:
    del config, manual_dir
    random = np.random.default_rng(0)
    x = random.normal(size=(61, 3)).astype(np.float32)
    y = (x @ np.array([1.0, -2.0, 0.5]) + 0.3 * random.normal(size=61)).astype(np.float32)
    splits = {"train": {"x": x[:50], "y": y[:50]}, "test": {"x": x[50:], "y": y[50:]}}
    return make_dataset("line", splits, Spec((3,), 1))


def prepare(config: Any, dataset: Dataset, streams: Any) -> dict[str, Any]:
    order = streams("split").permutation(len(dataset.splits["train"]["x"])).astype(np.int32)
    return {"train_rows": order[10:], "validation_rows": order[:10]}


def epoch_inputs(config: Any, data: Data, key: jax.Array, epoch: jax.Array) -> jax.Array:
    rows = jax.random.permutation(jax.random.fold_in(key, epoch), data.own["train_rows"])
    steps = rows.shape[0] // config.batch_size
    return rows[: steps * config.batch_size].reshape(steps, config.batch_size)


def make_batch(config: Any, data: Data, x: jax.Array, key: jax.Array) -> dict[str, jax.Array]:
    inputs = data.splits["train"]["x"][x]
    noise = config.noise * jax.random.normal(key, inputs.shape)
    return {"x": inputs + noise, "y": data.splits["train"]["y"][x]}


def error(net: Any, params: Any, batch: Any, power: int) -> jax.Array:
    outputs = net.apply({"params": params}, batch["x"], train=False)[:, 0]
    return jnp.mean(jnp.abs(outputs - batch["y"]) ** power)


def loss_fn(config: Any, net: Any, params: Any, model_state: Any, batch: Any, key: jax.Array):
    loss = error(net, params, batch, 2 if config.power == "square" else 4)
    if config.decay is not None:
        loss = loss + config.decay * jnp.sum(jnp.square(params["Dense_0"]["kernel"]))
    return loss, (model_state, {"loss": loss})


def evaluate(config: Any, net: Any, params: Any, model_state: Any, data: Data, split: str):
    rows = data.own.get(f"{split}_rows", slice(None))
    arrays = data.splits["test" if split == "test" else "train"]
    batch = {"x": arrays["x"][rows], "y": arrays["y"][rows]}
    return {"error": error(net, params, batch, 2), "size": error(net, params, batch, 1)}, None


class Line(nn.Module):
    """One linear unit."""

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        return nn.Dense(1)(x)


TOY = Experiment(
    name="toy",
    summary="fits a line",
    config=Config(),
    metrics=lambda config, spec: (
        Metric("error", higher_is_better=False),
        Metric("size", higher_is_better=False),
    ),
    load=load,
    check=lambda config, spec: None,
    prepare=prepare,
    make_net=lambda config, spec: Line(),
    sample_input=lambda config, spec: jnp.zeros((1, 3)),
    make_optimizer=lambda config, total_steps: optax.chain(
        optax.trace(0.5), optax.scale_by_schedule(lambda step: -config.rate)
    ),
    epoch_inputs=epoch_inputs,
    make_batch=make_batch,
    loss_fn=loss_fn,
    evaluate=evaluate,
)

if __name__ == "__main__":
    main(TOY)
