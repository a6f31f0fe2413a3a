"""`reproduce`: trains a recorded study again and says of every replica whether it is the same."""

import dataclasses
import math
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from experiments.engine.control import Saving
from experiments.engine.errors import UsageError
from experiments.engine.folder import claim_folder, make_folder, strangers
from experiments.engine.jobs import reporting_pairs, tuning_jobs
from experiments.engine.log import finished, read_lines
from experiments.engine.parameters import DIGEST, digest_of, read_parameters
from experiments.engine.paths import path_of
from experiments.engine.record import differences, make_record, mixture, told
from experiments.engine.reopen import Reopened
from experiments.engine.run import train_study
from experiments.engine.sealed import read_json, write_json
from experiments.engine.study import Part, Study, label, specification
from experiments.engine.tables import contradiction, read_results

Line = Mapping[str, Any]
REPRODUCTION = "reproduction.json"


@dataclasses.dataclass(frozen=True)
class Finding:
    """One replica trained again.

    Attributes:
        replica: which one, for people.
        verdict: identical, close (within the tolerance), different or lost (not recorded).
        text: how far it is off, or why nothing can be said.
    """

    replica: str
    verdict: str
    text: str = ""

    @property
    def is_fine(self) -> bool:
        """Whether it counts as reproduced."""
        return self.verdict in ("identical", "close")

    def __str__(self) -> str:
        return f"{self.replica}: {self.verdict}" + (f" ({self.text})" if self.text else "")


def reproduce(
    recorded: Reopened,
    *,
    cells: Sequence[int] = (),
    seeds: Sequence[int] = (),
    out: str | pathlib.Path | None = None,
    manual_dir: str | None = None,
    tolerance: float = 0.0,
    saving: Saving = Saving(),
    echo: Callable[[str], None] = print,
) -> list[Finding]:
    """Trains a recorded study, or part of it, under its recorded plan into a fresh folder.

    Args:
        recorded: the study and its folder.
        cells, seeds: which replicas, by index of the cell and by seed; all where empty.
        out: the fresh folder; by default `<folder>-reproduced`.
        tolerance: largest difference in parameters and metrics that still counts.
        echo: called with each line of the account.

    Returns:
        A finding for every replica, tuning ones first; also in `reproduction.json` of the folder,
        which says from the start of what it is the reproduction.

    Raises:
        UsageError: there is nothing of the kind to reproduce, the data are not those recorded, or
            the folder holds a study that was not begun to reproduce this one.
    """
    if not 0 <= tolerance < math.inf:
        raise UsageError(f"--tolerance {tolerance:g}: 0 or a positive number")
    study = _part(recorded.study, cells, seeds)
    part = specification(study)["part"]
    differ = _tell_environment(recorded.folder, echo)
    folder = path_of(out) if out else _fresh(recorded.folder.resolve(), part)
    _refuse_other(folder, study, recorded.folder)
    echo(f"training again into {folder}")
    make_folder(folder)
    about = {"of": str(recorded.folder.resolve()), "part": part, "tolerance": tolerance}
    about["differs"] = differ
    if _begun(folder) is None:
        write_json(folder / REPRODUCTION, about)
    outcome = train_study(
        study, folder, manual_dir=manual_dir, saving=saving, recorded=recorded.contents, echo=echo
    )
    findings = compare(study, (recorded.folder, folder), outcome.lines, tolerance)
    told_of = [dataclasses.asdict(finding) for finding in findings]
    write_json(folder / REPRODUCTION, {**about, "replicas": told_of})
    return findings


def _tell_environment(
    folder: pathlib.Path, echo: Callable[[str], None]
) -> dict[str, list[Any]] | None:
    """Where the environment here differs from the recorded one; None if that cannot be read."""
    try:
        record = read_json(folder / "record.json")
    except (OSError, ValueError):
        echo("warning: record.json cannot be read: whether the environment differs is not known")
        return None
    if record.get("begun_anew"):
        echo("warning: an earlier record.json was damaged: what was trained under it may differ")
    for sentence in mixture(record):
        echo(f"warning: no one plan and environment gives the bits of all: {sentence}")
    differ = differences(record, make_record([]))
    for line in told(differ):
        echo(f"differs: {line}")
    return differ


def _part(study: Study, cells: Sequence[int], seeds: Sequence[int]) -> Study:
    pairs = reporting_pairs(study)
    known = {"--cells": sorted({c for c, _ in pairs}), "--seeds": sorted({s for _, s in pairs})}
    for flag, wanted in (("--cells", cells), ("--seeds", seeds)):
        if strange := [number for number in wanted if number not in known[flag]]:
            first, last = known[flag][0], known[flag][-1]
            raise UsageError(f"{flag} {strange[0]}: the study has {first} to {last}")
    part = Part(tuple(cells) or study.part.cells, tuple(seeds) or study.part.seeds)
    return dataclasses.replace(study, part=part)


def _fresh(folder: pathlib.Path, part: Any) -> pathlib.Path:
    """The first folder of that name that is not there, or where this part was left unfinished."""
    number, path = 1, folder.with_name(f"{folder.name}-reproduced")
    while path.exists():
        begun = _begun(path)
        if begun is None and path.is_dir() and not strangers(path):
            break  # killed before it could say of what it is the reproduction
        if begun is not None and begun.get("part") == part and "replicas" not in begun:
            break
        number += 1
        path = folder.with_name(f"{folder.name}-reproduced-{number}")
    return path


def _begun(folder: pathlib.Path) -> dict[str, Any] | None:
    """What a folder says it is the reproduction of; None where it does not say."""
    try:
        return read_json(folder / REPRODUCTION)
    except (OSError, ValueError):
        return None


def _refuse_other(folder: pathlib.Path, study: Study, recorded: pathlib.Path) -> None:
    """What was trained before in another folder than one of this purpose would prove nothing: it
    may be the recorded study, a copy, or what that was merged from."""
    if not (folder / "study.json").exists():
        claim_folder(folder, study)
        return
    begun = _begun(folder)
    if begun is None or begun.get("of") != str(recorded.resolve()):
        raise UsageError(
            f"{folder} holds a study that was not begun to reproduce {recorded}; choose another "
            "--out"
        )


def compare(
    study: Study,
    folders: tuple[pathlib.Path, pathlib.Path],
    again: Mapping[tuple[Any, ...], Line],
    tolerance: float,
) -> list[Finding]:
    """Every replica of a study: as recorded in the first folder against `again`, of the second."""
    before, rows = finished(read_lines(folders[0])), read_results(folders[0])
    findings = [
        _compare(_name(study, job.key), before.get(job.key), again[job.key], None, tolerance)
        for job in tuning_jobs(study)
    ]
    for cell, seed in reporting_pairs(study):
        old, new = (_report_line(lines, cell, seed) for lines in (before, again))
        name = _name(study, ("report", cell, (), seed))
        if old is not None and (text := contradiction(study, old, rows.get((cell, seed)))):
            findings.append(Finding(name, "different", text))
            continue
        off, kept = None, read_parameters(folders[0], cell, seed)
        if old is not None and kept is not None and digest_of(kept) != old[DIGEST]:
            text = "the recorded parameters are not those of the recorded digest"
            findings.append(Finding(name, "different", text))
            continue
        if old is not None and new is not None and old[DIGEST] != new[DIGEST]:
            off = [kept, read_parameters(folders[1], cell, seed)]
        found = _compare(name, old, new, off, tolerance)
        if found.is_fine and kept is None and (folders[0] / "parameters").is_dir():
            text = "; ".join([*filter(None, [found.text]), "its recorded parameters are lost"])
            found = dataclasses.replace(found, text=text)
        findings.append(found)
    return findings


def _name(study: Study, key: tuple[Any, ...]) -> str:
    phase, cell, tuned, seed = key
    values = " ".join(f"{name}={text}" for name, text in tuned)
    kind = f"tuning {values}, " if phase == "tune" else ""
    return f"{kind}cell {cell} ({label(study, cell)}), seed {seed}"


def _report_line(lines: Mapping[tuple[Any, ...], Line], cell: int, seed: int) -> Line | None:
    found = [line for (p, c, _, s), line in lines.items() if (p, c, s) == ("report", cell, seed)]
    return found[0] if found else None


def _compare(
    name: str, old: Line | None, new: Line | None, parameters: list[Any] | None, tolerance: float
) -> Finding:
    if old is None or new is None:
        return Finding(name, "lost", "its line in metrics.jsonl is missing or damaged")
    parts, largest = [], 0.0
    if parameters is not None:
        largest, text = _parameter_difference(*parameters)
        parts.append(text)
    for field in sorted({*old, *new} - {DIGEST}):
        a, b = old.get(field), new.get(field)
        if a != b and field == "test_correct":
            parts.append("other test examples are right")
            largest = max(largest, np.finfo(float).tiny)
        elif a != b:
            far = abs(a - b) if isinstance(a, float) and isinstance(b, float) else np.inf
            largest = max(largest, far)
            parts.append(f"{field} {_short(a)}, now {_short(b)}")
    if not parts:
        return Finding(name, "identical")
    verdict = "close" if tolerance > 0 and largest <= tolerance else "different"
    return Finding(name, verdict, "; ".join(parts[:4]))


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 24 else f"{text[:21]}..."


def _largest(difference: np.ndarray) -> float:
    """The largest absolute value; infinite where a number is none."""
    return float(np.max(np.nan_to_num(np.abs(difference), nan=np.inf, posinf=np.inf), initial=0.0))


def _parameter_difference(old: Any, new: Any) -> tuple[float, str]:
    """The largest difference of two sets of parameters, and where it is."""
    if old is None or new is None or {k: v.shape for k, v in old.items()} != {
        k: v.shape for k, v in new.items()
    }:  # fmt: skip
        return np.inf, "other parameters; the recorded ones cannot be read or have other shapes"
    far = {
        name: _largest(old[name].astype(np.float64) - new[name].astype(np.float64)) for name in old
    }
    where = max(far, key=lambda name: far[name])
    return far[where], f"parameters off by up to {far[where]:.2g} ({where})"
