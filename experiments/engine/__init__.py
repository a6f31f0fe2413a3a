"""The engine: from a config class and pure functions to a study that is answered with statistics.

`run_study(EXPERIMENT, ...)` and `load_trained(FOLDER, ...)` from Python, `main(EXPERIMENT)` at the
end of a script of one's own.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from experiments.engine.config import Static as Static
    from experiments.engine.experiment import Experiment as Experiment
    from experiments.engine.run import run_study as run_study
    from experiments.engine.run import train_study as train_study
    from experiments.engine.trained import load_trained as load_trained
    from experiments.engine.values import Choices as Choices


def main(experiment: "Experiment") -> None:
    """Gives a script every command but `claim` for its experiment: `python mine.py study ...`."""
    import pathlib
    import sys

    from experiments import Entry
    from experiments.engine.cli import leave
    from experiments.engine.cli import main as command_line

    entries = {experiment.name: Entry(experiment.summary, lambda: experiment)}
    prog = pathlib.Path(sys.argv[0]).name
    leave(command_line(entries, sys.argv[1:], prog=prog, only=experiment.name))


def __getattr__(name: str) -> Any:
    """What imports JAX comes when asked for, so that `--help` does not wait for it."""
    if name in ("Choices", "Static"):
        from experiments.engine import config, values

        return {"Choices": values.Choices, "Static": config.Static}[name]
    if name in ("run_study", "train_study"):
        from experiments.engine import run

        return {"run_study": run.run_study, "train_study": run.train_study}[name]
    if name == "load_trained":
        from experiments.engine.trained import load_trained

        return load_trained
    if name == "Experiment":
        from experiments.engine.experiment import Experiment

        return Experiment
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
