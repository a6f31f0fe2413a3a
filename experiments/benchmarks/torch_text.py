"""PyTorch's side of the language model: `nn.LSTM`, eager, time first, on all cores."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
from torch import nn  # pyright: ignore[reportMissingImports]

from experiments.benchmarks.problem import Side
from experiments.benchmarks.text import LEARNING_RATE, TextProblem, random_text

ORDER = (0, 1, 3, 2)
"""PyTorch's places of Ablax's parts: input, forget, cell, output."""


class Net(nn.Module):
    """Embedding, LSTM layers, a linear layer.

    The second bias that PyTorch keeps for the state stays 0, or Adam would move the sum twice.
    """

    def __init__(self, problem: TextProblem) -> None:
        super().__init__()
        self.embedding = nn.Embedding(problem.vocabulary, problem.width)
        self.lstm = nn.LSTM(problem.width, problem.width, problem.layers)
        self.output = nn.Linear(problem.width, problem.vocabulary)
        for name, parameter in self.lstm.named_parameters():
            if name.startswith("bias_hh"):
                nn.init.zeros_(parameter).requires_grad_(False)

    def forward(self, tokens):
        """[length, batch] -> scores of each next token, [length, batch, vocabulary]"""
        return self.output(self.lstm(self.embedding(tokens))[0])


def make_adam(net: nn.Module) -> torch.optim.Adam:
    """Adam, fused."""
    learned = [parameter for parameter in net.parameters() if parameter.requires_grad]
    return torch.optim.Adam(learned, lr=LEARNING_RATE, fused=True)


def train_step(
    net: Any, optimizer: torch.optim.Optimizer, data: Sequence[torch.Tensor], rows: torch.Tensor
) -> torch.Tensor:
    """One update on these rows; the loss."""
    x, y = (each[rows].T for each in data)
    loss = nn.functional.cross_entropy(net(x).flatten(0, 1), y.flatten())
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.detach()


def tensors(problem: TextProblem, rows: int) -> list[torch.Tensor]:
    """The text as PyTorch wants it."""
    return [torch.tensor(each).long() for each in random_text(problem, rows)]


def prepare(problem: TextProblem) -> Side:
    """Builds the net."""
    threads = os.cpu_count() or 1
    torch.set_num_threads(threads)
    data, net = tensors(problem, problem.rows), Net(problem)
    optimizer = make_adam(net)

    def epoch() -> None:
        order = torch.randperm(problem.rows)
        for rows in order.split(problem.batch)[: problem.steps]:
            train_step(net, optimizer, data, rows)

    epoch()
    return Side(epoch, 0.0, f"{threads} thread{'s' * (threads > 1)}, fused Adam")


def losses(problem: TextProblem, params: Mapping[str, Any], order: np.ndarray) -> np.ndarray:
    """The loss at each of the first steps, from Ablax's parameters, on rows `[steps, batch]`."""
    net = Net(problem)
    with torch.no_grad():
        _load(net, params)
    optimizer, data = make_adam(net), tensors(problem, problem.rows + problem.rows // 8)
    rows = torch.tensor(order).long()
    return np.array([float(train_step(net, optimizer, data, each)) for each in rows])


def _load(net: Net, params: Mapping[str, Any]) -> None:
    targets = {
        "embedding.weight": params["embedding"]["embedding"],
        "output.weight": params["output"]["kernel"].T, "output.bias": params["output"]["bias"],
    }  # fmt: skip
    for place, layer in enumerate(params["stack"][name] for name in sorted(params["stack"])):
        targets[f"lstm.weight_ih_l{place}"] = _ordered(layer["inputs"]["kernel"])
        targets[f"lstm.weight_hh_l{place}"] = _ordered(layer["state"]["kernel"])
        targets[f"lstm.bias_ih_l{place}"] = _ordered(layer["bias"])
    for name, value in targets.items():
        net.get_parameter(name).copy_(torch.tensor(value))


def _ordered(value: np.ndarray) -> np.ndarray:
    parts = np.split(value, len(ORDER), axis=-1)
    return np.concatenate([parts[place] for place in ORDER], axis=-1).T
