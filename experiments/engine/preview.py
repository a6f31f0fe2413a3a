"""What a study would cost, before anything is trained."""

import pathlib
import textwrap
from collections.abc import Mapping
from typing import Any

from experiments.engine import prepare
from experiments.engine.config import describe, split
from experiments.engine.describe import used
from experiments.engine.folder import claim_folder, folder_of
from experiments.engine.jobs import reporting_pairs, tuning_jobs
from experiments.engine.log import finished, read_lines
from experiments.engine.plan import Override
from experiments.engine.progress import speed_text
from experiments.engine.study import Study, label
from experiments.engine.wording import count


def preview(
    study: Study,
    out: str | pathlib.Path | None = None,
    *,
    manual_dir: str | None = None,
    override: Override = Override(),
    width: int = 100,
) -> str:
    """Cells, programs, plan, estimated time and memory. Trains and writes nothing.

    The time is the first program's, measured on a few steps that are thrown away, scaled by the
    FLOPs of the others.

    Raises:
        UsageError, DataMissingError: whatever `train_study` would refuse before training.
    """
    folder = folder_of(study, out)
    recorded = claim_folder(folder, study)["programs"]
    prepared = prepare.prepare_programs(study, manual_dir, override, recorded, lambda text: None)
    pairs, tuning = reporting_pairs(study), len(tuning_jobs(study))
    cells, seeds = (list(dict.fromkeys(each)) for each in zip(*pairs, strict=True))
    lines = [count(len(cells), "cell") + f" x {count(len(seeds), 'seed')}:"]
    lines += [f"  {label(study, index)}" for index in cells]
    if tuning:
        lines.append(f"{tuning} tuning runs choose {', '.join(_tuned(study))} first")
    lines += [count(len(prepared), "program") + ":", program_table(prepared, width)]
    finals = finished(read_lines(folder))
    reported = {(cell, seed) for phase, cell, _, seed in finals if phase == "report"}
    done = len(reported & set(pairs)) + sum(job.key in finals for job in tuning_jobs(study))
    rate, seconds = _estimate(study, prepared)
    seconds *= 1 - done / (len(pairs) + tuning)
    lines.append(
        f"about {_duration(seconds)} of training, compiling apart ({speed_text(rate)} "
        "measured on program 1)"
    )
    kept = f"; {done} of {len(pairs) + tuning} replicas are done there already" if done else ""
    lines.append(f"folder: {folder}{kept}")
    return "\n".join(textwrap.fill(s, width, subsequent_indent="    ") for s in _each(lines))


def _each(lines: list[str]) -> list[str]:
    return [line for text in lines for line in text.split("\n")]


def _tuned(study: Study) -> list[str]:
    return list(dict.fromkeys(name for cell in study.cells for name in cell.tune))


def _estimate(study: Study, prepared: Mapping[Any, prepare.Prepared]) -> tuple[float, float]:
    """Replica-steps per second of the first program, and seconds for all."""
    first = next(iter(prepared.values()))
    jobs = [j for j in prepare.possible_jobs(study) if split(j.config)[0] == first.static]
    rate = prepare.measure_rate(study, first, jobs)
    work = sum(
        entry.replicas * entry.trainer.total_steps * entry.cost.flops_per_step
        for entry in prepared.values()
    )
    return rate, work / max(first.cost.flops_per_step, 1.0) / rate


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def program_table(prepared: Mapping[Any, prepare.Prepared], width: int) -> str:
    """One row per program: its work, its plan and what tells it from the others."""
    heads = ("", "replicas", "steps", "lanes", "devices", "shares", "steps/call", "memory")
    table: list[tuple[str, ...]] = [(*heads, "")]
    for index, entry in enumerate(prepared.values()):
        layout = entry.plan.layout
        numbers = (
            f"{index + 1}", f"{entry.replicas:,}", f"{entry.trainer.total_steps:,}",
            f"{layout.lanes}", f"{layout.devices}", f"{layout.shares}",
            f"{entry.plan.steps_per_call:,}",
            used(entry.cost.bytes_per_lane * layout.lanes),
        )  # fmt: skip
        table.append((*numbers, _difference(prepared, entry)))
    sizes = [max(len(row[i]) for row in table) for i in range(len(heads))]
    rows = []
    for *numbers, what in table:
        row = "  ".join(f"{text:>{size}}" for text, size in zip(numbers, sizes, strict=True))
        fits = len(row) + len(what) + 4 <= width
        rows.append(f"  {row}  {what}".rstrip() if fits else f"  {row}\n{' ' * 6}{what}")
    return "\n".join(rows)


def _difference(prepared: Mapping[Any, prepare.Prepared], entry: prepare.Prepared) -> str:
    """What tells a program from the others: `activation=relu`, `dropout=traced`."""
    spelled = [_static(static) for static in prepared]
    mine = _static(entry.static)
    names = [name for name in mine if len({each[name] for each in spelled}) > 1]
    return " ".join(f"{name}={mine[name]}" for name in names)


def _static(static: Any) -> dict[str, str]:
    traced = split(static)[1]
    return describe(static) | dict.fromkeys(traced, "traced")
