"""The whole default study, by `launch.py study default` and run by run in PyTorch."""

import csv
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
NAME = "default"


class Kind(NamedTuple):
    """Runs that cost the same: those of one cell, whatever their rate and seed.

    Attributes:
        activation: name.
        dropout: rate; 0 costs PyTorch nothing.
        width: of the hidden layers.
        batch, epochs: of the training.
        dataset: name.
        validation: part of the training rows held out.
        reports: whether the final net is evaluated on the other splits than validation too.
    """

    activation: str
    dropout: float
    width: tuple[int, ...]
    batch: int
    epochs: int
    dataset: str
    validation: float
    reports: bool


def kinds(folder: pathlib.Path) -> Counter[Kind]:
    """How many runs of each kind a finished study folder holds, tuning and reporting."""
    counted: Counter[Kind] = Counter()
    for name, reports in (("tuning.csv", False), ("results.csv", True)):
        with (folder / name).open() as stream:
            counted.update(_kind(row, reports) for row in csv.DictReader(stream))
    return counted


def _kind(row: Mapping[str, str], reports: bool) -> Kind:
    return Kind(
        activation=row["activation"],
        dropout=float(row["dropout"]),
        width=tuple(int(width) for width in row["width"].split(",")),
        batch=int(row["batch_size"]),
        epochs=int(row["epochs"]),
        dataset=row["dataset"],
        validation=float(row["validation"]),
        reports=reports,
    )


def ablax_run() -> tuple[float, Counter[Kind]]:
    """The command from start to end: imports, a cold compile cache, training, statistics.

    Returns:
        Its seconds, and the runs it made.

    Raises:
        RuntimeError: it failed; the message is what it printed.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "study"
        environment = dict(os.environ)
        environment.pop("JAX_ENABLE_COMPILATION_CACHE", None)
        environment["JAX_COMPILATION_CACHE_DIR"] = str(pathlib.Path(folder) / "cache")
        command = [sys.executable, "launch.py", "study", NAME, "--out", str(out)]
        start = time.perf_counter()
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
        seconds = time.perf_counter() - start
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
        return seconds, kinds(out)


def torch_seconds(kind: Kind, threads: int) -> float:
    """One run of a kind in PyTorch, from its initial weights to its last evaluation."""
    import torch  # pyright: ignore[reportMissingImports]

    from experiments.benchmarks.pytorch import make_adam, make_net
    from experiments.data import load

    dataset = load(kind.dataset)
    torch.set_num_threads(threads)
    start = time.perf_counter()
    splits = _splits(dataset, kind.validation)
    x, y = splits["train"]
    sizes = (x.shape[1], *kind.width, dataset.spec.classes)
    net = make_net(sizes, kind.activation, kind.dropout)
    adam = make_adam(net, "fused")
    steps = len(x) // kind.batch
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps * kind.epochs)
    for _ in range(kind.epochs):
        net.train()
        for rows in torch.randperm(len(x)).split(kind.batch)[:steps]:
            loss = torch.nn.functional.cross_entropy(net(x[rows]), y[rows])
            adam.zero_grad()
            loss.backward()
            adam.step()
            cosine.step()
        _evaluate(net, *splits["validation"])
    for name in ("train", "test") if kind.reports else ():
        _evaluate(net, *splits[name])
    return time.perf_counter() - start


def _splits(dataset: Any, validation: float) -> dict[str, Any]:
    """Centred float32 tensors, made once a run: its steps have nothing left to prepare."""
    import torch  # pyright: ignore[reportMissingImports]

    train, test = dataset.splits["train"], dataset.splits["test"]
    order = np.random.default_rng(0).permutation(len(train["x"]))
    held_out = round(validation * len(order))
    mean = train["x"][order[held_out:]].mean(0)
    parts = {"train": (train, order[held_out:]), "validation": (train, order[:held_out])}
    return {
        name: (torch.tensor(arrays["x"][rows] - mean), torch.tensor(arrays["y"][rows]).long())
        for name, (arrays, rows) in {**parts, "test": (test, slice(None))}.items()
    }


def _evaluate(net: Any, x: Any, y: Any) -> tuple[float, float]:
    """Accuracy and mean loss over a whole split."""
    import torch  # pyright: ignore[reportMissingImports]

    net.eval()
    with torch.no_grad():
        scores = net(x)
        loss = torch.nn.functional.cross_entropy(scores, y)
        return float((scores.argmax(1) == y).float().mean()), float(loss)
