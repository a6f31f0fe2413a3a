"""What the verbs of the command line do. The answer goes to stdout, progress to stderr."""

import contextlib
import pathlib
import shlex
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from experiments.engine.cli import rows, terminal_width
from experiments.engine.errors import AblaxError, UsageError

if TYPE_CHECKING:
    from experiments import Entry
    from experiments.engine import options
    from experiments.engine.experiment import Experiment
    from experiments.engine.study import Study
    from experiments.studies import Declared


def show_list(experiments: "Mapping[str, Entry]", only: str) -> int:
    """`list`: what can be named on the command line."""
    from experiments.data import DATASETS
    from experiments.data.texts import TEXTS
    from experiments.studies import STUDIES

    sections: dict[str, dict[str, str]] = {
        "experiments": {name: entry.summary for name, entry in experiments.items()},
        "studies": {} if only else {name: each.question for name, each in STUDIES.items()},
        "data sets": dict(DATASETS),
        "texts": dict(TEXTS),
    }
    print("\n\n".join(f"{title}:\n{rows(named)}" for title, named in sections.items() if named))
    return 0


def describe(experiment: "Experiment", named: str | None, argv: Sequence[str], usage: str) -> int:
    """`describe`: layers, shapes, parameters, and FLOPs of the compiled forward and update."""
    from experiments.engine import arguments, options
    from experiments.engine.describe import describe_net
    from experiments.engine.devices import setup

    del named
    asked, config = arguments.read(
        options.Describe(), experiment.config, argv, usage, experiment.name
    )
    setup()
    print(describe_net(experiment, config, asked.source.manual_dir, terminal_width()))
    return 0


def run(experiment: "Experiment", named: str | None, argv: Sequence[str], usage: str) -> int:
    """`run`: a study of one cell and one seed."""
    from experiments.engine import arguments, options
    from experiments.engine.study import make_study

    del named
    asked, config = arguments.read(options.Run(), experiment.config, argv, usage, experiment.name)
    training = asked.training
    study = make_study(
        experiment, config, seeds=1, first_seed=asked.run.seed, name="run",
        evaluate_every=training.evaluate_every, diagnose=training.diagnose,
    )  # fmt: skip
    return train(study, asked)


def study(experiment: "Experiment", named: str | None, argv: Sequence[str], usage: str) -> int:
    """`study`: a declared study, or the grid given by `--vary` and `--arm`."""
    from experiments.engine import arguments, grids
    from experiments.engine.merge import shard
    from experiments.engine.study import make_study
    from experiments.studies import STUDIES, Declared

    declared = STUDIES[named] if named else Declared(experiment.name, "", {})
    config = grids.override_fields(experiment.config, declared.config)
    asked, config = arguments.read(_defaults(declared), config, argv, usage, experiment.name)
    grid, training = asked.study, asked.training
    own_vary = grids.assignments(config, grid.vary, "--vary")
    own_tune = grids.assignments(config, grid.tune, "--tune")
    declared_vary = grids.assignments(config, _spelled(declared.vary, own_tune), "--vary")
    declared_tune = grids.assignments(config, _spelled(declared.tune, own_vary), "--tune")
    vary, tune = declared_vary | own_vary, declared_tune | own_tune
    arms = grids.read_arms(config, grid.arm or _spelled_arms(declared))
    if not vary and not arms:
        raise UsageError(
            "a study needs something to vary: --vary FIELD=VALUE,VALUE; `run` trains one cell"
        )
    chosen = dict.fromkeys(tune, "--tune") | dict.fromkeys(vary, "--vary")
    chosen |= dict.fromkeys(set.intersection(*map(set, arms.values())) if arms else (), "--arm")
    grids.refuse_idle(argv, type(config), chosen)
    wanted = make_study(
        experiment, config, vary=vary, arms=arms, tune=tune, seeds=grid.seeds,
        tune_seeds=grid.tune_seeds, tune_per_seed=grid.tune_per_seed, fix=grid.fix,
        metric=grid.metric, margin=grid.margin, evaluate_every=training.evaluate_every,
        diagnose=training.diagnose, name=named or "study", question=declared.question,
    )  # fmt: skip
    grids.refuse_idle_tuning(argv, wanted)
    return train(wanted if grid.shard is None else shard(wanted, grid.shard), asked)


def _defaults(declared: "Declared") -> "options.Study":
    from experiments.engine import config, options

    values = {
        "seeds": declared.seeds, "margin": declared.margin, "diagnose": declared.diagnose,
    }  # fmt: skip
    return config.replace(options.Study(), values)


def _spelled(values: Mapping[str, str], without: Collection[str] = ()) -> list[str]:
    return [f"{name}={text}" for name, text in values.items() if name not in without]


def _spelled_arms(declared: "Declared") -> list[str]:
    return [shlex.join([name, *_spelled(values)]) for name, values in declared.arms.items()]


def train(
    study: "Study",
    asked: "options.Run | options.Study",
    conclude: Callable[[pathlib.Path], str] | None = None,
) -> int:
    """Trains a study, or takes it up, and prints its answer; or what it would cost.

    Args:
        conclude: what else to say, from the study folder.
    """
    from experiments.engine.control import Control
    from experiments.engine.devices import setup
    from experiments.engine.folder import folder_of, planned_devices
    from experiments.engine.options import override_of
    from experiments.engine.page.told import page_line
    from experiments.engine.preview import preview
    from experiments.engine.reopen import reopened
    from experiments.engine.run import train_study
    from experiments.engine.trackers import trackers
    from experiments.engine.tracking import tracked

    training = asked.training
    setup(planned_devices(folder_of(study, training.out)))
    given: dict[str, Any] = {
        "manual_dir": training.manual_dir,
        "override": override_of(asked.layout),
        "width": terminal_width(),
    }
    if training.dry_run:
        Control(asked.saving)  # which refuses what cannot be meant
        print(preview(study, training.out, **given))
        return 0
    folder = folder_of(study, training.out)
    wanted = {"tensorboard": training.tensorboard, "wandb": training.wandb}
    with memory_told(), tracked(folder, trackers(folder, study, **wanted), account):
        outcome = train_study(study, training.out, saving=asked.saving, echo=account, **given)
    parts = [outcome.text, *([conclude(outcome.folder)] if conclude else [])]
    parts.append(page_line(reopened(outcome.folder, outcome.study)))
    print("\n\n".join([*parts, f"folder: {outcome.folder}"]))
    return 0


@contextlib.contextmanager
def memory_told() -> Iterator[None]:
    """Turns XLA's running out of memory into a message. Raises `AblaxError`."""
    import jax

    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if "out of memory" not in str(error).lower():
            raise
        raise AblaxError(
            "out of memory; what was recorded is kept. Fewer replicas side by side need less (the "
            "study's command with --lanes 1 and another --out), and so does a smaller net or batch"
        ) from None


def account(text: str) -> None:
    """A line of the account: to stderr, so that stdout holds the answer alone."""
    print(text, file=sys.stderr, flush=True)
