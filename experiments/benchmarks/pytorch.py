"""PyTorch's side: eager training, one replica after another, in its fastest mode here."""

import itertools
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch  # pyright: ignore[reportMissingImports]

from experiments.benchmarks.problem import (
    LEARNING_RATE,
    Arrays,
    Problem,
    Side,
    Start,
    standardised,
)

ACTIVATIONS = {
    "relu": torch.nn.ReLU,
    "tanh": torch.nn.Tanh,
    "gelu": torch.nn.GELU,
    "silu": torch.nn.SiLU,
}
MODES = ("foreach", "fused")  # of Adam; the plain loop over parameters was never faster
TRIAL_STEPS = 100


def make_net(
    sizes: Sequence[int], activation: str = "relu", dropout: float = 0.0
) -> torch.nn.Sequential:
    """An MLP with these layer sizes, inputs first and classes last; no dropout layer at rate 0."""
    layers: list[torch.nn.Module] = []
    for inputs, outputs in itertools.pairwise(sizes[:-1]):
        layers += [torch.nn.Linear(inputs, outputs), ACTIVATIONS[activation]()]
        if dropout:
            layers.append(torch.nn.Dropout(dropout))
    return torch.nn.Sequential(*layers, torch.nn.Linear(sizes[-2], sizes[-1]))


def make_adam(net: torch.nn.Module, mode: str) -> torch.optim.Adam:
    """Adam in one of `MODES`."""
    flags: dict[str, Any] = {mode: True}
    return torch.optim.Adam(net.parameters(), lr=LEARNING_RATE, **flags)


def train_step(
    net: torch.nn.Module, adam: torch.optim.Optimizer, data: Sequence[torch.Tensor], rows
) -> torch.Tensor:
    """One update on these rows; the loss."""
    x, y, mean, scale = data
    batch = (x[rows].float() / 255 - mean) * scale
    loss = torch.nn.functional.cross_entropy(net(batch), y[rows])
    adam.zero_grad()
    loss.backward()
    adam.step()
    return loss.detach()


def tensors(arrays: Arrays) -> list[torch.Tensor]:
    """The data in memory; labels as PyTorch wants them."""
    return [torch.tensor(arrays.x), torch.tensor(arrays.y).long(), *map(torch.tensor, arrays[2:])]


def sizes_of(problem: Problem) -> tuple[int, ...]:
    """Layer sizes, inputs first."""
    return problem.inputs, problem.width, problem.width, problem.classes


def prepare(problem: Problem) -> Side:
    """Builds every replica, in the threads and Adam mode that are fastest here."""
    data = tensors(standardised(problem))
    threads, mode = fastest(problem, data)
    torch.set_num_threads(threads)
    nets = [make_net(sizes_of(problem)) for _ in range(problem.replicas)]
    pairs = [(net, make_adam(net, mode)) for net in nets]

    def epoch() -> None:
        for net, adam in pairs:
            for rows in torch.randperm(problem.rows).split(problem.batch)[: problem.steps]:
                train_step(net, adam, data, rows)

    epoch()
    plural = "s" * (threads > 1)
    return Side(epoch, 0.0, f"{threads} thread{plural}, {mode} Adam")


def fastest(problem: Problem, data: Sequence[torch.Tensor]) -> tuple[int, str]:
    """The number of threads and the Adam mode with the fastest step."""
    cores = torch.get_num_threads()
    trials = itertools.product(sorted({1, cores}), MODES)
    return min(trials, key=lambda trial: _trial_seconds(problem, data, *trial))


def _trial_seconds(
    problem: Problem, data: Sequence[torch.Tensor], threads: int, mode: str
) -> float:
    torch.set_num_threads(threads)
    net = make_net(sizes_of(problem))
    adam = make_adam(net, mode)
    times = []
    for rows in torch.randint(problem.rows, (TRIAL_STEPS, problem.batch)):
        start = time.perf_counter()
        train_step(net, adam, data, rows)
        times.append(time.perf_counter() - start)
    return sorted(times)[TRIAL_STEPS // 2]


def losses(problem: Problem, start: Start, steps: int) -> np.ndarray:
    """The loss at each of the first steps, `[steps]`."""
    net = make_net(sizes_of(problem))
    linear = [layer for layer in net if isinstance(layer, torch.nn.Linear)]
    with torch.no_grad():
        for layer, (kernel, bias) in zip(linear, start.layers, strict=True):
            layer.weight.copy_(torch.tensor(kernel.T))
            layer.bias.copy_(torch.tensor(bias))
    adam, data = make_adam(net, MODES[0]), tensors(start.arrays)
    rows = torch.tensor(start.order[:steps]).long()
    return np.array([float(train_step(net, adam, data, each)) for each in rows])
