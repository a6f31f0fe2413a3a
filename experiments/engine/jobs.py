"""The replicas of a study: which there are, what identifies each, and which share a program."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.engine.config import replace, spell, split
from experiments.engine.study import FIRST_TUNING_SEED, Study


@dataclasses.dataclass(frozen=True)
class Job:
    """One replica to train.

    Attributes:
        phase: "tune" (validation only) or "report".
        cell: index of its cell.
        tuned: values of the tuned fields.
        seed: the replicate's number.
        config: the full config.
    """

    phase: str
    cell: int
    tuned: tuple[tuple[str, str], ...]
    seed: int
    config: Any = dataclasses.field(compare=False)

    @property
    def key(self) -> tuple[Any, ...]:
        """What identifies the replica in the study folder."""
        return self.phase, self.cell, self.tuned, self.seed


def reporting_seeds(study: Study) -> range:
    """The seeds the answer is about."""
    return range(study.first_seed, study.first_seed + study.seeds)


def tuning_seeds(study: Study) -> range:
    """The seeds that choose the tuned values."""
    if study.tune_per_seed:
        return reporting_seeds(study)
    return range(FIRST_TUNING_SEED, FIRST_TUNING_SEED + study.tune_seeds)


def part_cells(study: Study) -> list[int]:
    """The cells trained here, by index."""
    wanted = study.part.cells
    return [i for i in range(len(study.cells)) if wanted is None or i in wanted]


def reporting_pairs(study: Study) -> list[tuple[int, int]]:
    """(cell, seed) of every reporting replica trained here."""
    wanted = study.part.seeds
    seeds = [seed for seed in reporting_seeds(study) if wanted is None or seed in wanted]
    return [(cell, seed) for cell in part_cells(study) for seed in seeds]


def tuning_jobs(study: Study) -> list[Job]:
    """All replicas of the tuning phase; none without `tune`."""
    wanted = study.part.seeds if study.tune_per_seed else None
    return [
        make_job(study, "tune", cell, tuned, seed)
        for cell in part_cells(study)
        if study.cells[cell].tune
        for tuned in study.cells[cell].grid
        for seed in tuning_seeds(study)
        if wanted is None or seed in wanted
    ]


def make_job(study: Study, phase: str, cell: int, tuned: Mapping[str, Any], seed: int) -> Job:
    """One replica of a study."""
    config = replace(study.config, {**study.cells[cell].values, **tuned})
    spelled = tuple((name, spell(value)) for name, value in tuned.items())
    return Job(phase, cell, spelled, seed, config)


def programs(jobs: Sequence[Job]) -> dict[Any, list[Job]]:
    """Jobs by static config: each group shares one compiled program."""
    groups: dict[Any, list[Job]] = {}
    for job in jobs:
        groups.setdefault(split(job.config)[0], []).append(job)
    return groups
