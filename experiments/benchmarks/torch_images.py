"""PyTorch's side of the convolutional nets: channels-last, eager or compiled, on all cores."""

import os
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
from torch import nn  # pyright: ignore[reportMissingImports]

from experiments.benchmarks.images import (
    LEARNING_RATE,
    MOMENTUM,
    ImageProblem,
    standardised,
)
from experiments.benchmarks.problem import Arrays, Side
from experiments.benchmarks.pytorch import tensors
from nets.residual import cifar_stages
from nets.specs import parse_blocks


class Flat(nn.Module):
    """Channels last in the flattened order too, as in Ablax; no copy of channels-last maps."""

    def forward(self, x):
        """[batch, channels, height, width] -> [batch, height * width * channels]"""
        return x.permute(0, 2, 3, 1).flatten(1)


class Mean(nn.Module):
    """The mean over positions."""

    def forward(self, x):
        """[batch, channels, height, width] -> [batch, channels]"""
        return x.mean((2, 3))


class Block(nn.Module):
    """Two convolutions with batch norm and the parameter-free shortcut (He et al. 2015, A)."""

    def __init__(self, inputs: int, features: int, stride: int) -> None:
        super().__init__()
        self.conv_1 = nn.Conv2d(inputs, features, 3, stride, 1, bias=False)
        self.norm_1 = nn.BatchNorm2d(features)
        self.conv_2 = nn.Conv2d(features, features, 3, 1, 1, bias=False)
        self.norm_2 = nn.BatchNorm2d(features)
        self.stride, self.missing = stride, features - inputs

    def forward(self, x):
        """[batch, inputs, ...] -> [batch, features, ...]"""
        hidden = torch.relu(self.norm_1(self.conv_1(x)))
        hidden = self.norm_2(self.conv_2(hidden))
        if self.missing or self.stride > 1:
            kept = x[:, :, :: self.stride, :: self.stride]
            x = nn.functional.pad(kept, (0, 0, 0, 0, 0, self.missing))
        return torch.relu(hidden + x)


def make_net(problem: ImageProblem) -> nn.Sequential:
    """The problem's net, its modules named as Ablax names its parameters."""
    make = _plain if problem.layers else _residual
    net: Any = nn.Sequential(OrderedDict(make(problem)))
    return net.to(memory_format=torch.channels_last)


def _plain(problem: ImageProblem) -> dict[str, nn.Module]:
    modules: dict[str, nn.Module] = {}
    size, channels, weighted = problem.size, problem.channels, 0
    for place, block in enumerate(parse_blocks(problem.layers)):
        if block.kind == "max":
            modules[f"pool_{place}"] = nn.MaxPool2d(block.size)
            size //= block.size
            continue
        weighted += 1
        padding = block.size // 2
        modules[f"conv_{weighted}"] = nn.Conv2d(
            channels, block.features, block.size, padding=padding
        )
        modules[f"activation_{weighted}"] = nn.ReLU()
        channels = block.features
    output = nn.Linear(size * size * channels, problem.classes)
    return modules | {"flat": Flat(), "output": output}


def _residual(problem: ImageProblem) -> dict[str, nn.Module]:
    stem = nn.Conv2d(problem.channels, problem.width, 3, padding=1, bias=False)
    modules: dict[str, nn.Module] = {"stem": stem, "stem_norm": nn.BatchNorm2d(problem.width)}
    modules["stem_activation"], channels = nn.ReLU(), problem.width
    for stage, (blocks, features) in enumerate(cifar_stages(problem.depth, problem.width), 1):
        for number in range(1, blocks + 1):
            stride = 2 if stage > 1 and number == 1 else 1
            modules[f"block_{stage}_{number}"] = Block(channels, features, stride)
            channels = features
    return modules | {"mean": Mean(), "output": nn.Linear(channels, problem.classes)}


def make_optimizer(net: nn.Module) -> torch.optim.Optimizer:
    """SGD with momentum, fused."""
    return torch.optim.SGD(net.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM, fused=True)


def train_step(
    net: Any, optimizer: torch.optim.Optimizer, data: Sequence[torch.Tensor], rows: torch.Tensor
) -> torch.Tensor:
    """One update on these rows; the loss."""
    x, y, mean, scale = data
    batch = ((x[rows].float() / 255 - mean) * scale).permute(0, 3, 1, 2)
    loss = nn.functional.cross_entropy(net(batch), y[rows])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.detach()


def prepare_eager(problem: ImageProblem) -> Side:
    """Builds every replica."""
    return _prepare(problem, compiles=False)


def prepare_compiled(problem: ImageProblem) -> Side:
    """Builds every replica and compiles their net."""
    return _prepare(problem, compiles=True)


def _prepare(problem: ImageProblem, *, compiles: bool) -> Side:
    threads = os.cpu_count() or 1
    torch.set_num_threads(threads)
    data = tensors(standardised(problem))
    nets = [make_net(problem) for _ in range(problem.replicas)]
    optimizers = [make_optimizer(net) for net in nets]
    begun = time.perf_counter()
    called = [torch.compile(net) if compiles else net for net in nets]

    def epoch() -> None:
        for net, optimizer in zip(called, optimizers, strict=True):
            order = torch.randperm(problem.rows)
            for rows in order.split(problem.batch)[: problem.rows // problem.batch]:
                train_step(net, optimizer, data, rows)

    for net, optimizer in zip(called, optimizers, strict=True):
        train_step(net, optimizer, data, torch.arange(problem.batch))
    seconds = time.perf_counter() - begun if compiles else 0.0
    epoch()
    return Side(epoch, seconds, f"channels-last, {threads} thread{'s' * (threads > 1)}")


def losses(
    problem: ImageProblem, params: Mapping[str, Any], arrays: Arrays, order: np.ndarray
) -> np.ndarray:
    """The loss at each of the first steps, from Ablax's parameters, on rows `[steps, batch]`."""
    net = make_net(problem)
    with torch.no_grad():
        _load(net, params)
    optimizer, data = make_optimizer(net), tensors(arrays)
    rows = torch.tensor(order).long()
    return np.array([float(train_step(net, optimizer, data, each)) for each in rows])


def _load(module: nn.Module, params: Mapping[str, Any]) -> None:
    for name, value in params.items():
        if isinstance(value, Mapping):
            _load(module.get_submodule(name), value)
            continue
        weights = torch.tensor(np.asarray(value))
        if name == "kernel":
            weights = weights.permute(3, 2, 0, 1) if weights.ndim == 4 else weights.T
        target = "bias" if name == "bias" else "weight"
        module.get_parameter(target).copy_(weights)
