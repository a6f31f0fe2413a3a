"""A study folder taken up again from what is written in it."""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from experiments.engine import results
from experiments.engine.config import coerce, leaf_of, leaves, replace
from experiments.engine.errors import UsageError
from experiments.engine.folder import looks_of, read_study
from experiments.engine.log import damaged_lines, finished, read_lines
from experiments.engine.record import doubts
from experiments.engine.statistics import Metric
from experiments.engine.study import Part, Study, make_study
from experiments.engine.tuning import missing_replicas
from experiments.engine.values import choices_of

if TYPE_CHECKING:
    from experiments import Entry


@dataclasses.dataclass(frozen=True)
class Reopened:
    """A folder's study and the contents of its `study.json`."""

    folder: pathlib.Path
    study: Study
    contents: Mapping[str, Any]

    @property
    def metrics(self) -> list[Metric]:
        """What is measured, the primary metric first; nothing before training has begun."""
        return [Metric(**metric) for metric in self.contents.get("metrics", [])]

    def answer(self, lines: Sequence[Mapping[str, Any]], width: int) -> "results.Answer | None":
        """What recorded lines say so far; None while no replica has finished."""
        done = finished(lines)
        if not self.metrics or not done:
            return None
        unfinished = missing_replicas(self.study, self.metrics, done)
        looks = 0 if unfinished else looks_of(self.contents)
        return results.answer(self.study, self.metrics, lines, looks, width)

    def report(self, width: int, echo: Callable[[str], None] = print) -> str:
        """The answer from the recorded lines; says so where replicas are missing.

        Args:
            echo: called with a warning where something in the folder is damaged.
        """
        if count := damaged_lines(self.folder):
            echo(
                f"warning: {count} damaged lines of metrics.jsonl are left out; `resume "
                f"{self.folder}` trains their replicas again"
            )
        if self.study.seeds < (held := self.contents.get("seeds", 0)):
            echo(
                f"warning: {self.folder} has {held} seeds, and this is about the first "
                f"{self.study.seeds} of them, looked at last; `resume {self.folder}` takes all"
            )
        answer = self.answer(read_lines(self.folder), width)
        if answer is None:
            return f"{self.folder}: no replica has finished yet"
        for warning in doubts(self.folder):
            echo(f"warning: {warning}")
        wrong = results.saved_otherwise(self.folder, self.contents, answer.analysis)
        if wrong and not answer.analysis.exploratory:
            echo(
                f"warning: {self.folder / wrong} is missing, damaged or not what metrics.jsonl "
                f"says; `resume {self.folder}` writes it anew"
            )
        return answer.text


def reopen(experiments: "Mapping[str, Entry]", folder: pathlib.Path) -> Reopened:
    """Rebuilds the study a folder holds.

    Raises:
        UsageError: not a study folder, or its experiment is not one of `experiments`.
    """
    contents = read_study(folder)
    try:
        name = contents["experiment"]
        if name not in experiments:
            raise UsageError(
                f"{folder} belongs to the experiment {name!r}: give the same command to the "
                f"script that defines it, as in python my_experiment.py report {folder}"
            )
        return Reopened(folder, _study(experiments[name].load(), contents), contents)
    except (KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{folder / 'study.json'} is damaged: {error!r}") from None


def reopened(folder: pathlib.Path, study: Study) -> Reopened:
    """The folder of a study that is at hand."""
    return Reopened(folder, study, read_study(folder))


def _study(experiment: Any, contents: Mapping[str, Any]) -> Study:
    config = experiment.config
    kept = {name: text for name, text in contents["config"].items() if name in leaves(type(config))}
    values = {name: _value(type(config), name, text) for name, text in kept.items()}
    looks = contents["looks"] or [{"seeds": contents["seeds"]}]
    return make_study(
        experiment,
        replace(config, values),
        vary=_read(type(config), contents["vary"]),
        arms={name: _read(type(config), arm) for name, arm in contents["arms"].items()},
        tune=_read(type(config), contents["tune"]),
        seeds=looks[-1]["seeds"],
        **{
            name: contents[name]
            for name in (
                "tune_seeds", "tune_per_seed", "first_seed", "metric", "evaluate_every",
                "diagnose", "name", "question", "margin",
            )
        },
        fix=tuple(contents["fix"]),
        part=Part(*(chosen and tuple(chosen) for chosen in contents["part"].values())),
    )  # fmt: skip


def _read(config_class: type, spelled: Mapping[str, Any]) -> dict[str, Any]:
    """Field -> value, or list of values, from their spelling."""
    return {
        name: [_value(config_class, name, text) for text in given]
        if isinstance(given, list)
        else _value(config_class, name, given)
        for name, given in spelled.items()
    }


def _value(config_class: type, name: str, text: str) -> Any:
    """A field's value; the bare name of a function that only the code of that study knew."""
    leaf = leaf_of(config_class, name)
    try:
        return coerce(leaf, text)
    except UsageError:
        choices = choices_of(leaf.kind)
        if choices is None or choices.convert is None:
            raise
        return choices.option_of(_unknown, text)


def _unknown(*_: Any) -> NoReturn:
    raise UsageError("this study used a function that is not known here: run its own script")
