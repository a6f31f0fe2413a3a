"""The study folder: the single source of truth that everything shown is derived from.

`study.json` (what was asked, the plan, the looks), `record.json` (where it came from),
`sources.tar.gz`, `metrics.jsonl` (append-only, a line per replica and evaluation), `checkpoints/`
(of the lane group in training), `parameters/` (final ones, a file per reporting replica),
`results.csv` and `tuning.csv` (a row per replica), `report.txt` and `analysis.json`, `report.html`
(`page`), `figures/`, `tensorboard/`.
"""

import hashlib
import json
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

from experiments.engine.config import describe
from experiments.engine.errors import UsageError
from experiments.engine.paths import path_of
from experiments.engine.sealed import read_json, write_json
from experiments.engine.statistics import MINIMUM_SEEDS
from experiments.engine.study import Study, specification

FORMAT = 1
BEGUN = ("lease.json", "study.json.", "reproduction.json")
"""How the names begin of what a process may leave behind before there is a `study.json`."""


def default_folder(study: Study) -> pathlib.Path:
    """`runs/<experiment>-<name>-<digest>`: the same study, the same folder; another, another."""
    text = json.dumps(specification(study), sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    return pathlib.Path("runs") / f"{study.experiment.name}-{study.name}-{digest}"


def folder_of(study: Study, out: str | pathlib.Path | None) -> pathlib.Path:
    """The folder asked for, or the study's default one."""
    return default_folder(study) if out is None else path_of(out)


def read_study(folder: pathlib.Path) -> dict[str, Any]:
    """`study.json` of a folder.

    Raises:
        UsageError: there is none, or it cannot be read.
    """
    path = folder / "study.json"
    if not folder.is_dir():
        raise UsageError(f"{folder}: there is no such folder")
    try:
        contents = read_json(path)
    except FileNotFoundError:
        raise UsageError(f"{folder} is not a study folder: it has no study.json") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise UsageError(
            f"{path} is damaged ({error}): restore it, or train the study anew in another folder"
        ) from None
    if missing := [name for name in ("format", "programs", "looks") if name not in contents]:
        raise UsageError(f"{path} is damaged: it has no {missing[0]!r}")
    if contents["format"] != FORMAT:
        raise UsageError(
            f"{path} has format {contents['format']}, and this Ablax reads {FORMAT}: use "
            "the version in the folder's record.json"
        )
    return contents


def planned_devices(folder: pathlib.Path) -> int | None:
    """How many devices a folder's study was planned for; None where it is not planned yet."""
    try:
        plans = read_study(folder)["programs"]
    except (UsageError, KeyError):
        return None
    return most_devices(plans)


def most_devices(plans: Iterable[Mapping[str, Any]]) -> int | None:
    """How many devices the largest of the recorded plans takes; None without any."""
    return max((plan["devices"] * shares_of(plan) for plan in plans), default=None)


def shares_of(plan: Mapping[str, Any]) -> int:
    """How many devices share a batch by a recorded plan; the first ones recorded did not say."""
    return plan.get("shares", 1)


def strangers(folder: pathlib.Path) -> list[str]:
    """Names in a folder without a `study.json` that no process of a study can have left there."""
    return [path.name for path in folder.iterdir() if not path.name.startswith(BEGUN)]


def claim_folder(folder: pathlib.Path, study: Study) -> dict[str, Any]:
    """Looks whether a folder is free for a study, or holds the same one. Writes nothing.

    Returns:
        The contents of `study.json`; empty "programs" and "looks" in a new folder.

    Raises:
        UsageError: the folder holds another study, or something else.
    """
    wanted = specification(study)
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file; choose another --out")
    if not (folder / "study.json").exists():
        if folder.exists() and (others := strangers(folder)):
            raise UsageError(
                f"{folder} is not empty and not a study ({others[0]}); choose another --out"
            )
        return {"format": FORMAT, **wanted, "programs": [], "looks": []}
    found = read_study(folder)
    free = {*study.vary, *study.tune}
    new = {n: text for n, text in describe(study.experiment.config).items() if n not in free}
    found["config"] = new | found.get("config", {})  # fields that Ablax has gained since
    different = [name for name in wanted if found.get(name) != wanted[name]]
    if different:
        raise UsageError(
            f"{folder} holds another study ({_difference(found, wanted, different[0])}); "
            "choose another --out"
        )
    return found


def looks_of(contents: Mapping[str, Any]) -> int:
    """How often a finished study was looked at, as its `study.json` says; 0 before it finished.

    With fewer seeds than give a verdict it costs nothing: no such look can go wrong.
    """
    seeds = [look["seeds"] for look in contents["looks"]]
    return max(sum(n >= MINIMUM_SEEDS for n in seeds), 1) if seeds else 0


def make_folder(folder: pathlib.Path) -> None:
    """Makes the folder of a study.

    Raises:
        UsageError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"{folder} cannot be made: {error.strerror}; choose another --out"
        ) from None


def _difference(found: Mapping[str, Any], wanted: Mapping[str, Any], name: str) -> str:
    old, new = found.get(name), wanted[name]
    if isinstance(old, dict) and isinstance(new, dict):
        name = next(key for key in {**old, **new} if old.get(key) != new.get(key))
        old, new = (values.get(name, "varied or tuned") for values in (old, new))
    return f"{name}: {old} there, {new} here"


def write_study(folder: pathlib.Path, contents: Mapping[str, Any]) -> None:
    """Writes `study.json`."""
    write_json(folder / "study.json", contents)
