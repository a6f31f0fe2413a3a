"""The tools that can follow a study: TensorBoard and Weights & Biases, both off by default."""

import hashlib
import os
import pathlib
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.engine.errors import UsageError
from experiments.engine.sealed import read_json
from experiments.engine.study import Study
from experiments.engine.tracking import Line, Run, Tracker, given, run_name

PROJECT = "ablax"
"""The W&B project where WANDB_PROJECT names none."""


def trackers(
    folder: pathlib.Path, study: Study, *, tensorboard: bool = False, wandb: bool = False
) -> Sequence[Tracker]:
    """The trackers that are asked for, and those that the folder was begun with.

    Raises:
        UsageError: a package is not installed, or W&B not logged in.
    """
    found: list[Tracker] = []
    if tensorboard or (folder / "tensorboard").is_dir():
        found.append(TensorBoard(folder, study))
    if wandb or (folder / "wandb").is_dir():
        found.append(WeightsAndBiases(folder, study))
    return found


class TensorBoard:
    """Event files in `tensorboard/`, with levels, tuned values and seed as hyper-parameters."""

    name = "TensorBoard events"

    def __init__(self, folder: pathlib.Path, study: Study) -> None:
        try:
            import tensorboardX
        except ImportError:
            raise _missing("tensorboard", "tensorboardX") from None
        del tensorboardX
        self._place, self._study = folder / "tensorboard", study

    def restart(self) -> None:
        """Removes the events."""
        shutil.rmtree(self._place, ignore_errors=True)

    def begin(self, line: Line) -> Run:
        """An event file of its own."""
        from tensorboardX import SummaryWriter
        from tensorboardX.summary import hparams

        writer: Any = SummaryWriter(logdir=str(self._place / run_name(line)))
        _, *session = hparams(given(self._study, line), {})
        for summary in session:
            writer.file_writer.add_summary(summary)
        return _Events(writer)


class _Events:
    """One replica's event file."""

    def __init__(self, writer: Any) -> None:
        self._writer = writer

    def add(self, values: Mapping[str, float], step: int) -> None:
        """A scalar of each number."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Closes the file."""
        self._writer.close()


class WeightsAndBiases:
    """A W&B run per replica, grouped by study folder; W&B's own variables say where and how
    (WANDB_PROJECT, WANDB_ENTITY, WANDB_MODE=offline). What it keeps here is in `wandb/`."""

    name = "W&B runs"

    def __init__(self, folder: pathlib.Path, study: Study) -> None:
        try:
            import wandb  # pyright: ignore[reportMissingImports]
        except ImportError:
            raise _missing("wandb", "'wandb>=0.31'") from None
        online = os.environ.get("WANDB_MODE", "online") == "online"
        if online and not wandb.login(prompt=False, verify=False):
            raise UsageError(
                "--wandb needs to be logged in: `wandb login`, or WANDB_API_KEY; "
                "WANDB_MODE=offline keeps everything here, for `wandb sync` later"
            )
        self._wandb: Any = wandb
        self._folder, self._study = folder, study

    def restart(self) -> None:
        """Nothing: a run told again goes on where W&B knows it to be, with the same numbers."""

    def begin(self, line: Line) -> Run:
        """A run with an identity that the same folder always gives it."""
        name, folder = run_name(line), self._folder
        begun = read_json(folder / "record.json")["time"]
        settings = self._wandb.Settings(silent=True, console="off", root_dir=str(folder))
        run = self._wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT), group=folder.name, name=name,
            id=hashlib.sha256(f"{folder.name}/{name}/{begun}".encode()).hexdigest()[:16],
            config=given(self._study, line), job_type=line["phase"],
            resume="allow", reinit="create_new", settings=settings,
        )  # fmt: skip
        return _WandbRun(run)


class _WandbRun:
    """One replica's run."""

    def __init__(self, run: Any) -> None:
        self._run, self._first = run, run.step

    def add(self, values: Mapping[str, float], step: int) -> None:
        """Logs what W&B does not have yet, and results as a summary."""
        finals = {name: value for name, value in values.items() if name.startswith("final/")}
        if finals:
            self._run.summary.update(finals)
        elif step >= self._first:
            self._run.log(dict(values), step=step)

    def close(self) -> None:
        """Ends the run; W&B has everything when it returns, or says what it lacks."""
        self._run.finish()


def _missing(flag: str, package: str) -> UsageError:
    install = f"python -m pip install {package}"
    return UsageError(f"--{flag} needs the extra `track`: {install}")
