"""`--shard i/n` and `merge`: parts of a study trained apart, and joined again."""

import contextlib
import dataclasses
import pathlib
import re
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from experiments.engine import results
from experiments.engine.beginning import note_look
from experiments.engine.errors import UsageError
from experiments.engine.folder import (
    claim_folder,
    folder_of,
    looks_of,
    make_folder,
    shares_of,
    write_study,
)
from experiments.engine.jobs import reporting_pairs, reporting_seeds, tuning_jobs
from experiments.engine.lease import lease
from experiments.engine.log import Log, finished, line_key, read_lines
from experiments.engine.record import differences, mixture, told
from experiments.engine.reopen import Reopened
from experiments.engine.sealed import read_json, write_json
from experiments.engine.statistics import Metric
from experiments.engine.study import Part, Study, label, specification
from experiments.engine.tables import write_results
from experiments.engine.wording import count

Line = Mapping[str, Any]


def shard(study: Study, text: str) -> Study:
    """Part `i/n` of a study: every n-th cell, or every n-th seed where cells are fewer than n.

    Raises:
        UsageError: it is not `i/n` with 1 <= i <= n, or there are not that many parts.
    """
    match = re.fullmatch(r"(\d+)/(\d+)", text.strip())
    number, count = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1 <= number <= count:
        raise UsageError(f"--shard {text}: expected i/n, such as 2/3 for the second of three parts")
    if count == 1:
        return study
    cells, seeds = range(len(study.cells)), reporting_seeds(study)
    chosen = slice(number - 1, None, count)
    if count <= len(cells):
        return dataclasses.replace(study, part=Part(cells=tuple(cells[chosen])))
    if count <= len(seeds):
        return dataclasses.replace(study, part=Part(seeds=tuple(seeds[chosen])))
    raise UsageError(f"--shard {text}: {len(cells)} cells x {len(seeds)} seeds have fewer parts")


def merge(
    parts: Sequence[Reopened],
    out: str | pathlib.Path | None = None,
    echo: Callable[[str], None] = print,
) -> Reopened:
    """Joins finished parts into the folder of the whole study.

    Args:
        parts: the folders of all shards.
        out: the new folder; by default the study's own.
        echo: called with a warning where parts were trained in other environments or plans.

    Raises:
        UsageError: the parts are of different studies, overlap, or leave replicas out.
    """
    if len(parts) < 2:
        raise UsageError("merge joins the folders of two parts or more")
    _refuse_strangers(parts)
    lines = _join(parts)
    whole = dataclasses.replace(
        parts[0].study, part=Part(), seeds=max(part.study.seeds for part in parts)
    )
    _refuse_gaps(whole, finished(lines))
    folder = folder_of(whole, out)
    contents = claim_folder(folder, whole)
    if contents["programs"]:
        raise UsageError(f"{folder} holds this study already; choose another --out")
    make_folder(folder)
    apart = _apart(parts)
    for text in apart:
        echo(f"warning: {text}")
    with lease(folder):
        write_study(folder, contents)  # without programs: cut short, it is filled again
        contents = _write(folder, whole, parts, lines, apart)
    return Reopened(folder, whole, contents)


def _apart(parts: Sequence[Reopened]) -> list[str]:
    """Where the parts' bits cannot be those of one machine and code, one sentence each."""
    first, plans, found = _record(parts[0].folder) or {}, {}, []
    for part in parts:
        other = [
            plan["static"] for plan in part.contents["programs"]
            if plans.setdefault(str(plan["static"]), _layout(plan)) != _layout(plan)
        ]  # fmt: skip
        record = _record(part.folder) or {}
        told_apart = told(differences(first, record))
        told_apart += ["the plan: lanes and devices"] if other else []
        if told_apart:
            found.append(
                f"{part.folder} differs from {parts[0].folder}, so they agree to a tolerance at "
                f"best, not to the bit: {'; '.join(told_apart)}"
            )
        if part is not parts[0]:
            found += [f"{part.folder}: {text}" for text in mixture(record)]
    return found


def _layout(plan: Mapping[str, Any]) -> tuple[int, int, int]:
    return plan["lanes"], plan["devices"], shares_of(plan)


def _refuse_strangers(parts: Sequence[Reopened]) -> None:
    wanted = _shared(parts[0].study)
    digests: dict[str, str] = {}  # parts may vary the data set: they have some in common, or none
    for part in parts:
        found = _shared(part.study)
        different = [name for name in wanted if found[name] != wanted[name]]
        different += [
            f"the data {data['name']}"
            for data in (_record(part.folder) or {"data": []})["data"]
            if digests.setdefault(data["name"], data["digest"]) != data["digest"]
        ]
        if different:
            raise UsageError(
                f"{part.folder} is not of the same study as {parts[0].folder}: they differ in "
                f"{', '.join(different)}"
            )
    named = {*digests.values()} or {*parts[0].contents["data"]}
    for part in parts:
        if _record(part.folder) is None and not named.issuperset(part.contents["data"]):
            raise UsageError(
                f"{part.folder / 'record.json'} is missing or damaged, and without it nothing says "
                f"which data those are that {parts[0].folder} does not have: restore it"
            )


def _shared(study: Study) -> dict[str, Any]:
    """What all parts of a study have in common."""
    return {**specification(study), "part": None, "margin": study.margin}


def _join(parts: Sequence[Reopened]) -> list[Line]:
    """The lines of all parts; tuning that several parts repeated to the bit is kept once."""
    owner: dict[tuple[Any, ...], pathlib.Path] = {}
    kept: list[Line] = []
    for part in parts:
        lines = read_lines(part.folder)
        for key, line in finished(lines).items():
            if key not in owner:
                continue
            same = [old for old in kept if line_key(old) == key and old.get("final")] == [line]
            _refuse_overlap(part, owner[key], key, same)
        mine = [line for line in lines if line_key(line) not in owner]
        owner |= {line_key(line): part.folder for line in mine}
        kept += mine
    return kept


def _refuse_overlap(part: Reopened, other: pathlib.Path, key: tuple[Any, ...], same: bool) -> None:
    phase, cell, tuned, seed = key
    both = f"{part.folder} and {other} both hold {label(part.study, cell)}"
    if phase == "report":
        raise UsageError(f"{both}, seed {seed}: parts of a study do not overlap")
    if not same:
        values = " ".join(f"{name}={text}" for name, text in tuned)
        raise UsageError(
            f"{both} {values}, seed {seed}, of the tuning, and there they differ: train the parts "
            "with the same versions on machines of the same kind"
        )


def _refuse_gaps(study: Study, done: Mapping[tuple[Any, ...], Line]) -> None:
    reported = {(cell, seed) for phase, cell, _, seed in done if phase == "report"}
    missing = [pair for pair in reporting_pairs(study) if pair not in reported]
    tuning = [job for job in tuning_jobs(study) if job.key not in done]
    if missing:
        cell, seed = missing[0]
        raise UsageError(
            f"in none of these folders: {count(len(missing), 'replica')}, the first of them "
            f"{label(study, cell)}, seed {seed}; train and name all parts"
        )
    if tuning:
        raise UsageError(f"in none of these folders: {count(len(tuning), 'tuning replica')}")


def _write(
    folder: pathlib.Path,
    study: Study,
    parts: Sequence[Reopened],
    lines: Sequence[Line],
    apart: Sequence[str],
) -> dict[str, Any]:
    for part in parts:
        for name in ("parameters", "pictures"):
            if (part.folder / name).is_dir():
                shutil.copytree(part.folder / name, folder / name, dirs_exist_ok=True)
    records = [record for part in parts if (record := _record(part.folder))]
    if records:
        for number, part in enumerate(parts):
            for source in sorted(part.folder.glob("sources*.tar.gz")):
                name = f"part-{number}-{source.name}" if number else source.name
                shutil.copyfile(source, folder / name)
        data = _distinct(data for record in records for data in record["data"])
        others = {"data": data, "parts": records[1:], "apart": apart}
        write_json(folder / "record.json", {**records[0], **others})
    with Log(folder) as log:
        log.keep(())
        log.write(lines, durable=True)
    looks = max((part.contents["looks"] for part in parts), key=len)
    contents = {**parts[0].contents, **specification(study), "seeds": study.seeds, "looks": looks}
    note_look(contents, study)
    contents["extendable"] = False  # the parts' training states stay where they are
    growing = sorted(parts, key=lambda part: len(reporting_pairs(part.study)))
    programs = [program for part in growing for program in part.contents["programs"]]
    contents["programs"] = list({str(p["static"]): p for p in programs}.values())
    contents["data"] = sorted({digest for part in parts for digest in part.contents["data"]})
    measured = zip(*(part.contents["metrics"] for part in parts), strict=True)
    contents["metrics"] = [min(same, key=lambda metric: metric["examples"]) for same in measured]
    metrics = [Metric(**metric) for metric in contents["metrics"]]
    write_results(folder, study, finished(lines))
    answer = results.answer(study, metrics, lines, looks_of(contents))
    results.save(folder, answer)
    contents |= results.digests(answer)
    write_study(folder, contents)
    return contents


def _distinct(items: Iterable[Any]) -> list[Any]:
    found: list[Any] = []
    found.extend(item for item in items if item not in found)
    return found


def _record(folder: pathlib.Path) -> dict[str, Any] | None:
    with contextlib.suppress(OSError, ValueError):
        return read_json(folder / "record.json")
    return None
