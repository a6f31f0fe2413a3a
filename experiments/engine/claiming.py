"""The verb `claim`: a claim as a study, what study folders say about it, and the command."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from experiments.engine import claim_text
from experiments.engine.claim_text import Standing
from experiments.engine.claims import Claim, Line, Quantity, judge
from experiments.engine.cli import rows, terminal_width
from experiments.engine.errors import UsageError
from experiments.engine.paths import path_of

if TYPE_CHECKING:
    from experiments import Entry
    from experiments.engine.experiment import Experiment
    from experiments.engine.study import Study


def study_of(name: str, claim: Claim, experiment: "Experiment", seeds: int | None) -> "Study":
    """The study that a claim is: one arm per row, the rules as its question.

    Args:
        seeds: the claim's own number if None.

    Raises:
        UsageError: a field or value of the declaration is wrong.
    """
    from experiments.engine.grids import override_fields
    from experiments.engine.study import make_study

    arms = {
        row: {field: text.split("|") if "|" in text else text for field, text in fields.items()}
        for row, fields in claim.rows.items()
    }
    return make_study(
        experiment, override_fields(experiment.config, claim.config), arms=arms,
        seeds=claim.seeds if seeds is None else seeds, tune_seeds=claim.tune_seeds,
        evaluate_every=claim.evaluate_every, name=name, question=claim_text.question(claim),
    )  # fmt: skip


def values_of(claim: Claim, lines: Sequence[Line]) -> dict[str, np.ndarray]:
    """Row -> [seeds] of the claim's quantity, from recorded lines; NaN where none is final."""
    from experiments.engine.log import finished

    replicas: dict[tuple[int, int], list[Line]] = {}
    for line in lines:
        if line["phase"] == "report":
            replicas.setdefault((line["cell"], line["seed"]), []).append(line)
    complete = {(cell, seed) for phase, cell, _, seed in finished(lines) if phase == "report"}
    done = {key: own for key, own in replicas.items() if key in complete}
    seeds = sorted({seed for _, seed in done})
    values = {row: np.full(len(seeds), np.nan) for row in claim.rows}
    for (cell, seed), own in done.items():
        values[list(claim.rows)[cell]][seeds.index(seed)] = _number(claim.quantity, own)
    return values


def _number(quantity: Quantity, own: Sequence[Line]) -> float:
    """What a replica scored; the worst if it diverged or its number is not finite (null)."""
    if own[-1]["status"] == "diverged":
        return quantity.worst
    known = [{k: np.nan if v is None else v for k, v in line.items()} for line in own]
    value = quantity.read(known)
    return value if np.isfinite(value) else quantity.worst


def standing_in(name: str, claim: Claim, folder: pathlib.Path) -> Standing:
    """What the study folder of a claim says about it."""
    from experiments.engine.folder import read_study
    from experiments.engine.log import read_lines

    looks = read_study(folder)["looks"]
    if not looks:  # under way: judging it now would be a look of its own
        return Standing(name, claim)
    enough = sum(look["seeds"] >= claim.seeds for look in looks)
    seen = max(look["seeds"] for look in looks)
    lines = read_lines(folder)
    values = values_of(claim, [each for each in lines if each["seed"] < seen])
    started = any(len(column) for column in values.values())
    return Standing(name, claim, judge(claim, values, enough) if started else ())


def standings(
    experiments: "Mapping[str, Entry]", claims: Mapping[str, Claim], out: str | None
) -> list[Standing]:
    """Every claim with what is known of it.

    Args:
        out: a study folder, or a folder of them; the default folders below `runs/` if None.

    Raises:
        UsageError: `out` is no folder.
    """
    from experiments.engine.folder import default_folder

    below = [] if out is None else _below(path_of(out))
    found = []
    for name, claim in claims.items():
        study = study_of(name, claim, experiments[claim.experiment].load(), None)
        places = [default_folder(study)] if out is None else below
        own = [place for place in places if _holds(place, study)]
        found.append(standing_in(name, claim, own[0]) if own else Standing(name, claim))
    return found


def _below(folder: pathlib.Path) -> list[pathlib.Path]:
    if not folder.is_dir():
        raise UsageError(f"{folder}: there is no such folder")
    return [folder, *sorted(path for path in folder.glob("*") if path.is_dir())]


def _holds(folder: pathlib.Path, study: "Study") -> bool:
    """Whether a folder holds this very study, under this name."""
    from experiments.engine.folder import read_study
    from experiments.engine.study import specification

    try:
        found = read_study(folder)
    except UsageError:  # not a study, or a damaged one
        return False
    wanted = {**specification(study), "name": study.name}
    return all(found.get(key) == value for key, value in wanted.items())


def show(
    experiments: "Mapping[str, Entry]", claims: Mapping[str, Claim], argv: Sequence[str], usage: str
) -> int:
    """`claim` without a name: all claims with their status, or the Markdown table of them."""
    from experiments.engine import arguments, options

    asked, _ = arguments.read(options.Claims(), options.Nothing(), argv, usage, "claims")
    known = standings(experiments, claims, asked.claims.out)
    if asked.claims.table:
        print(claim_text.markdown(known))
    else:
        print(rows(claim_text.listing(known, usage)))
    return 0


def run(
    experiments: "Mapping[str, Entry]", name: str, claim: Claim, argv: Sequence[str], usage: str
) -> int:
    """`claim NAME`: trains a claim's study, or takes it up, and judges it."""
    from experiments.engine import arguments, commands, options

    asked, _ = arguments.read(options.Claim(), options.Nothing(), argv, usage, name)
    given = asked.claim
    study = study_of(name, claim, experiments[claim.experiment].load(), given.seeds)
    training = options.Training(
        out=given.out, dry_run=given.dry_run, manual_dir=given.manual_dir,
        evaluate_every=claim.evaluate_every,
    )  # fmt: skip
    if claim.needs_gpu and not (given.dry_run or given.force):
        _refuse_cpu(name, claim, usage)

    def conclude(folder: pathlib.Path) -> str:
        from experiments.engine.folder import read_study

        declared = read_study(folder)["question"]
        standing = standing_in(name, claim, folder)
        return claim_text.conclusion(standing, declared, terminal_width())

    training_options = options.Study(training=training, saving=asked.saving, layout=asked.layout)
    return commands.train(study, training_options, conclude)


def _refuse_cpu(name: str, claim: Claim, usage: str) -> None:
    import jax

    from experiments.engine.devices import setup

    setup()  # before the first use of a device
    if jax.default_backend() == "cpu":
        raise UsageError(
            f"{name} needs a GPU ({claim.cost}); {usage} --force trains it on this CPU"
        )
