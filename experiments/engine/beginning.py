"""What `study.json` says as a study begins, goes on and is looked at."""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from experiments.data.dataset import Dataset
from experiments.engine.config import describe
from experiments.engine.control import Saving
from experiments.engine.errors import UsageError
from experiments.engine.folder import write_study
from experiments.engine.prepare import Prepared, epochs_of
from experiments.engine.record import begin_record, utc_now
from experiments.engine.statistics import Metric
from experiments.engine.study import Study


def take_up(
    folder: pathlib.Path,
    study: Study,
    contents: dict[str, Any],
    prepared: Mapping[Any, Prepared],
    saving: Saving,
    echo: Callable[[str], None],
) -> None:
    """Goes on with a study that was begun: on the same data, and with more seeds if asked."""
    _check_data(folder, contents, prepared)
    if saving.extendable and not contents.get("extendable"):
        echo("warning: this study was begun without --extendable, which changes nothing now")
    if study.seeds > contents.get("seeds", 0):
        contents["seeds"] = study.seeds  # what `resume` goes on with
        write_study(folder, contents)
    elif study.seeds < contents.get("seeds", 0):
        echo(
            f"warning: {folder} has {contents['seeds']} seeds, and what follows is about the first "
            f"{study.seeds} of them alone; the others stay where they are"
        )


def begin(
    folder: pathlib.Path,
    study: Study,
    contents: dict[str, Any],
    prepared: Mapping[Any, Prepared],
    metrics: Sequence[Metric],
) -> None:
    """Writes what is known before training: `study.json`, `record.json`, the sources.

    "programs" comes last: without it the folder is begun again.
    """
    contents |= {
        "name": study.name,
        "question": study.question,
        "margin": study.margin,
        "seeds": study.seeds,
        "data": digests_of(prepared),
    }
    write_study(folder, contents)
    begin_record(folder, datasets_of(prepared))
    contents["metrics"] = [dataclasses.asdict(metric) for metric in metrics]
    contents["programs"] = [
        {
            "static": describe(entry.static),
            "lanes": entry.plan.layout.lanes,
            "devices": entry.plan.layout.devices,
            "shares": entry.plan.layout.shares,
            "flops_per_step": entry.cost.flops_per_step,
        }
        for entry in prepared.values()
    ]
    write_study(folder, contents)


def datasets_of(prepared: Mapping[Any, Prepared]) -> list[Dataset]:
    """The data sets of all programs, each once."""
    return list({entry.dataset.digest: entry.dataset for entry in prepared.values()}.values())


def digests_of(prepared: Mapping[Any, Prepared]) -> list[str]:
    """Their digests, sorted."""
    return sorted({entry.dataset.digest for entry in prepared.values()})


def _check_data(
    folder: pathlib.Path, contents: Mapping[str, Any], prepared: Mapping[Any, Prepared]
) -> None:
    if contents.get("data") != digests_of(prepared):
        raise UsageError(
            f"{folder} was begun with other data of that name; bring them back, or choose "
            "another --out"
        )


def note_look(contents: dict[str, Any], study: Study) -> None:
    """Notes that the results were looked at with these seeds, epochs and margin; the last is last.

    A look at a training that was made longer since says how many epochs it was, one by another
    margin by which.
    """
    looks, epochs = contents["looks"], epochs_of(study.config)
    if contents["margin"] != study.margin:
        looks = [{"margin": contents["margin"], **look} for look in looks]
    contents["margin"] = study.margin

    def way(look: Mapping[str, Any]) -> tuple[Any, ...]:
        return look["seeds"], look.get("epochs", epochs), look.get("margin", study.margin)

    this = {"seeds": study.seeds, "time": utc_now()}
    same = [look for look in looks if way(look) == way(this)]
    contents["looks"] = [*(look for look in looks if look not in same), *(same or [this])]
