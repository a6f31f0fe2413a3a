"""What a study is: cells x seeds, how they are tuned, and what is compared."""

import dataclasses
import functools
import itertools
import math
import numbers
import operator
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from experiments.engine.config import (
    coerce,
    describe,
    fitted,
    get,
    leaf_of,
    leaves,
    parse_values,
    spell,
)
from experiments.engine.errors import UsageError
from experiments.engine.experiment import Experiment
from experiments.engine.functions import typed_functions
from experiments.engine.keys import STREAMS
from experiments.engine.values import nearest
from nets.options import Option

FIRST_TUNING_SEED = 1_000_000
"""Tuning seeds start here: disjoint from the reporting seeds 0, 1, 2, ..."""

COUNTS = ("seeds", "first_seed", "tune_seeds", "evaluate_every")

Values = Mapping[str, tuple[Any, ...]]


@dataclasses.dataclass(frozen=True)
class Arm:
    """A named level that sets several fields at once, or one with a strength of its own.

    Attributes:
        name: the level.
        values: field -> value.
        tune: field -> grid, chosen by validation score like `Study.tune`.
    """

    name: str
    values: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    tune: Values = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Cell:
    """One point of the grid.

    Attributes:
        levels: factor -> its level as text, for tables.
        values: config fields it sets.
        tune: field -> grid of the fields tuned for it.
    """

    levels: dict[str, str]
    values: dict[str, Any]
    tune: dict[str, tuple[Any, ...]]

    @property
    def grid(self) -> list[dict[str, Any]]:
        """Every combination of the tuned fields' values."""
        products = itertools.product(*self.tune.values())
        return [dict(zip(self.tune, values, strict=True)) for values in products]


@dataclasses.dataclass(frozen=True)
class Part:
    """Which replicas of a study are trained; None: all of them.

    Attributes:
        cells: indices of cells.
        seeds: reporting seeds.
    """

    cells: tuple[int, ...] | None = None
    seeds: tuple[int, ...] | None = None


@dataclasses.dataclass(frozen=True)
class Study:
    """A grid of cells with seeds; a run is a study of size one.

    Attributes:
        experiment: the task.
        config: what the cells share.
        vary: factor -> its levels, the reference first; the cells are their product.
        arms: levels of one more factor, called "arm", that set several fields; reference first.
        tune: nuisance field -> grid. Every cell gets the same grid; the value with the best
            mean validation score is frozen before the reporting seeds are trained.
        seeds: number of reporting seeds.
        first_seed: the first of them; the others follow it.
        tune_seeds: seeds that choose the tuned values, disjoint from the reporting ones.
        tune_per_seed: choose inside each reporting seed instead, so that intervals include it.
        fix: random streams pinned to seed 0 in every replica.
        metric: the primary metric, declared before training; "" is the experiment's first.
        margin: differences smaller than this count as equivalent; None: no equivalence test.
        evaluate_every: epochs between evaluations.
        diagnose: record gradients and activations per layer at every evaluation.
        name: of the study folder.
        question: what it asks, printed above the answer.
        part: which of its replicas are trained here.
    """

    experiment: Experiment
    config: Any
    vary: Values = dataclasses.field(default_factory=dict)
    arms: tuple[Arm, ...] = ()
    tune: Values = dataclasses.field(default_factory=dict)
    seeds: int = 10
    first_seed: int = 0
    tune_seeds: int = 3
    tune_per_seed: bool = False
    fix: tuple[str, ...] = ()
    metric: str = ""
    margin: float | None = None
    evaluate_every: int = 1
    diagnose: bool = False
    name: str = "study"
    question: str = ""
    part: Part = Part()

    @functools.cached_property
    def cells(self) -> list[Cell]:
        """The product of all levels, the last factor fastest."""
        found = []
        for arm, *levels in itertools.product(self.arms or (Arm(""),), *self.vary.values()):
            values = dict(zip(self.vary, levels, strict=True))
            named = {"arm": arm.name} if self.arms else {}
            spelled = named | {name: spell(value) for name, value in values.items()}
            found.append(Cell(spelled, {**arm.values, **values}, {**self.tune, **arm.tune}))
        return found


def make_study(
    experiment: Experiment,
    config: Any = None,
    *,
    vary: Mapping[str, Sequence[Any]] | None = None,
    arms: Mapping[str, Mapping[str, Any]] | None = None,
    tune: Mapping[str, Sequence[Any]] | None = None,
    **options: Any,
) -> Study:
    """A checked study. Values may be given as Python values or spelled as on the command line.

    Args:
        arms: name -> field -> value; a list of values is a grid to tune the field on.

    Raises:
        UsageError: unknown or repeated fields, no values, no seeds, an unknown stream.
    """
    config = fitted(experiment.config if config is None else config)
    _refuse_unknown(options, config)
    factors, nuisances = (_values(config, given or {}) for given in (vary, tune))
    chosen = tuple(_arm(config, name, values) for name, values in (arms or {}).items())
    _refuse_overlap(factors, nuisances, chosen)
    return checked(Study(experiment, config, factors, chosen, nuisances, **options))


def _refuse_unknown(options: Mapping[str, Any], config: Any) -> None:
    known = [field.name for field in dataclasses.fields(Study)]
    for name in options.keys() - set(known):  # a config may have a field of an option's name
        if name in leaves(type(config)):
            raise UsageError(
                f"{name} is a field of the config: vary it, or give config="
                f"experiments.engine.config.replace(EXPERIMENT.config, {{{name!r}: ...}})"
            )
        raise UsageError(f"unknown option {name!r}; {nearest(name, known)}")


def checked(study: Study) -> Study:
    """The study with its counts as whole numbers and its streams as a tuple.

    Raises:
        UsageError: it cannot be trained or kept; says what is wrong.
    """
    counts = {name: _whole(name, getattr(study, name)) for name in COUNTS}
    texts = {name: _text(name, getattr(study, name)) for name in ("metric", "name", "question")}
    study = dataclasses.replace(study, fix=tuple(study.fix), **counts, **texts)
    if study.seeds < 1:
        raise UsageError(f"--seeds {study.seeds}: at least one seed is needed")
    if not 0 <= study.first_seed < FIRST_TUNING_SEED:
        raise UsageError(f"--seed {study.first_seed}: from 0 to {FIRST_TUNING_SEED - 1}")
    if study.first_seed + study.seeds > FIRST_TUNING_SEED:
        raise UsageError(f"--seeds {study.seeds}: at most {FIRST_TUNING_SEED - study.first_seed}")
    if any(cell.tune for cell in study.cells) and study.tune_seeds < 1:
        raise UsageError(f"--tune-seeds {study.tune_seeds}: at least one seed is needed")
    if study.evaluate_every < 1:
        raise UsageError(f"--evaluate-every {study.evaluate_every}: at least 1 epoch")
    if study.margin is not None and not (
        isinstance(study.margin, numbers.Real) and 0 < study.margin < math.inf
    ):
        raise UsageError(f"--margin {study.margin}: must be a positive number")
    if unknown := [stream for stream in study.fix if stream not in STREAMS]:
        raise UsageError(f"--fix {unknown[0]}: streams are {', '.join(STREAMS)}")
    if pathlib.PurePath(study.name).name != study.name or "\0" in study.name:
        raise UsageError(f"name {study.name!r}: it is part of a folder's name, so no / in it")
    if odd := [arm.name for arm in study.arms if not (isinstance(arm.name, str) and arm.name)]:
        raise UsageError(f"arm {odd[0]!r}: its name must be some text")
    return study


def _whole(name: str, value: Any) -> int:
    try:
        return operator.index(value)
    except TypeError:
        raise UsageError(f"{name} {value!r}: must be a whole number") from None


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise UsageError(f"{name} {value!r}: must be some text")
    return value


def _values(config: Any, given: Mapping[str, Sequence[Any]]) -> dict[str, tuple[Any, ...]]:
    found: dict[str, tuple[Any, ...]] = {}
    for name, values in given.items():
        leaf = leaf_of(type(config), name)
        values = parse_values(leaf, values) if isinstance(values, str) else values
        if not isinstance(values, Iterable):
            raise UsageError(f"{name}: expected a list of values, not {values!r}")
        values = tuple(values)
        if not values:
            raise UsageError(f"{name}: no values given; write {name}=a,b,c")
        found[leaf.name] = tuple(coerce(leaf, value) for value in values)
        spelled = [spell(value) for value in found[leaf.name]]
        if twice := [text for text in spelled if spelled.count(text) > 1]:
            raise UsageError(f"{name}: {twice[0]} is given twice; every level needs its own name")
    return found


def _arm(config: Any, name: str, given: Mapping[str, Any]) -> Arm:
    tuned = {field: values for field, values in given.items() if isinstance(values, list)}
    fixed = _values(config, {f: [v] for f, v in given.items() if f not in tuned})
    values = {field: value for field, (value,) in fixed.items()}
    return Arm(name, values, _values(config, tuned))


def _refuse_overlap(factors: Values, nuisances: Values, arms: tuple[Arm, ...]) -> None:
    in_arms = {field for arm in arms for field in (*arm.values, *arm.tune)}
    groups = {"--vary": set(factors), "--tune": set(nuisances), "--arm": in_arms}
    for (flag, fields), (other, others) in itertools.combinations(groups.items(), 2):
        if both := sorted(fields & others):
            raise UsageError(f"{both[0]}: either in {flag} or in {other}, not in both")


def factors(study: Study) -> dict[str, tuple[str, ...]]:
    """Factor -> its levels as text, the reference first."""
    named = {"arm": tuple(arm.name for arm in study.arms)} if study.arms else {}
    return named | {name: tuple(spell(v) for v in values) for name, values in study.vary.items()}


def specification(study: Study) -> dict[str, Any]:
    """What makes two studies the same one, as JSON: everything but the number of
    seeds, the margin, the name and the question."""
    typed = typed_functions([*vars(study.experiment).items(), *_options(study)])
    return {
        **({"functions": typed} if typed else {}),
        "experiment": study.experiment.name,
        "config": {
            name: text
            for name, text in describe(study.config).items()
            if name not in study.vary and name not in study.tune
        },
        "arms": {arm.name: _spell_arm(arm) for arm in study.arms},
        "vary": {name: [spell(v) for v in values] for name, values in study.vary.items()},
        "tune": {name: [spell(v) for v in values] for name, values in study.tune.items()},
        "tune_seeds": study.tune_seeds,
        "tune_per_seed": study.tune_per_seed,
        "first_seed": study.first_seed,
        "fix": list(study.fix),
        "metric": study.metric,
        "evaluate_every": study.evaluate_every,
        "diagnose": study.diagnose,
        "part": {
            name: None if chosen is None else list(chosen)
            for name, chosen in dataclasses.asdict(study.part).items()
        },
    }


def _options(study: Study) -> list[tuple[str, Any]]:
    """The functions among the values of all fields, by their spelling."""
    grids = [study.vary, study.tune, *(arm.tune for arm in study.arms)]
    values = [value for grid in grids for level in grid.values() for value in level]
    values += [value for arm in study.arms for value in arm.values.values()]
    values += [get(study.config, name) for name in leaves(type(study.config))]
    return [(str(value), value.function) for value in values if isinstance(value, Option)]


def label(study: Study, cell: int) -> str:
    """A cell's levels for people: `activation=relu dropout=0.2`."""
    levels = study.cells[cell].levels
    return " ".join(f"{name}={text}" for name, text in levels.items()) or study.name


def _spell_arm(arm: Arm) -> dict[str, Any]:
    fixed = {name: spell(value) for name, value in arm.values.items()}
    return fixed | {name: [spell(v) for v in values] for name, values in arm.tune.items()}
