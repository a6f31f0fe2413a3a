"""What the verbs of the command line do."""

import pathlib
import shutil
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from experiments.engine import arguments
from experiments.engine.errors import UsageError

if TYPE_CHECKING:
    from experiments import Entry
    from experiments.engine.experiment import Experiment
    from experiments.engine.study import Study


def show_list(experiments: "Mapping[str, Entry]", only: str) -> int:
    """`list`: what can be named on the command line."""
    from experiments.data import DATASETS
    from experiments.studies import STUDIES

    sections: dict[str, dict[str, str]] = {
        "experiments": {name: entry.summary for name, entry in experiments.items()},
        "studies": {} if only else {name: each.question for name, each in STUDIES.items()},
        "data sets": dict(DATASETS),
    }
    for title, rows in sections.items():
        if rows:
            print(f"{title}:")
            size = max(map(len, rows))
            for name, text in rows.items():
                print(f"  {name:<{size}}  {text}")
    return 0


def run(experiment: "Experiment", named: str | None, argv: Sequence[str], usage: str) -> int:
    """`run`: a study of one cell and one seed."""
    from experiments.engine.devices import setup
    from experiments.engine.study import make_study

    del named
    setup()
    options, config = arguments.read(arguments.Run, experiment.config, argv, usage, {})
    study = make_study(
        experiment, config, seeds=1, first_seed=options.seed, name="run",
        evaluate_every=options.evaluate_every, diagnose=options.diagnose,
    )  # fmt: skip
    return _train(study, options)


def study(experiment: "Experiment", named: str | None, argv: Sequence[str], usage: str) -> int:
    """`study`: a declared study, or the grid given by `--vary` and `--arm`."""
    from experiments.engine.devices import setup
    from experiments.engine.study import make_study
    from experiments.studies import STUDIES

    setup()
    config, defaults, question = experiment.config, {}, ""
    declared = STUDIES[named] if named else None
    if declared:
        config = arguments.override_fields(config, declared.config)
        defaults = {"seeds": declared.seeds, "diagnose": declared.diagnose}
        question = declared.question
    options, config = arguments.read(arguments.Study, config, argv, usage, defaults)
    vary = arguments.assignments(config, options.vary, "--vary")
    tune = arguments.assignments(config, options.tune, "--tune")
    arms = arguments.read_arms(options.arm)
    if declared:
        vary = arguments.assignments(config, _spelled(declared.vary), "--vary") | vary
        tune = arguments.assignments(config, _spelled(declared.tune), "--tune") | tune
        arms = arms or arguments.read_arms(
            [f"{name} {' '.join(_spelled(values))}" for name, values in declared.arms.items()]
        )
    if not vary and not arms:
        raise UsageError(
            "a study needs something to vary: --vary activation=relu,tanh; `run` trains one cell"
        )
    asked = make_study(
        experiment, config, vary=vary, arms=arms, tune=tune, seeds=options.seeds,
        tune_seeds=options.tune_seeds, tune_per_seed=options.tune_per_seed, fix=options.fix,
        metric=options.metric, margin=options.margin, evaluate_every=options.evaluate_every,
        diagnose=options.diagnose, name=named or "study", question=question,
    )  # fmt: skip
    return _train(asked, options)


def _spelled(values: Mapping[str, str]) -> list[str]:
    return [f"{name}={text}" for name, text in values.items()]


def _train(asked: "Study", options: arguments.Training) -> int:
    from experiments.engine.run import train_study

    override = arguments.override_of(options)
    if options.dry_run:
        from experiments.engine.preview import preview

        print(preview(asked, options.manual_dir, override))
        return 0
    train_study(
        asked, options.out, manual_dir=options.manual_dir, override=override, width=_width(),
        echo=lambda text: print(text, flush=True),
    )  # fmt: skip
    return 0


def _width() -> int:
    return max(60, min(shutil.get_terminal_size((100, 24)).columns, 120))


def report(experiments: "Mapping[str, Entry]", argv: Sequence[str], prog: str) -> int:
    """`report`: the answer of a folder, from what is recorded there."""
    from experiments.engine.reopen import reopen

    if len(argv) != 1 or argv[0].startswith("-"):
        print(f"usage: {prog} report DIR\n\nPrints the answer of a study folder again.")
        return 0 if argv and argv[0] in ("-h", "--help") else UsageError.code
    print(reopen(experiments, pathlib.Path(argv[0])).report(_width()))
    return 0


def describe(experiment: "Experiment", named: str | None, argv: Sequence[str], usage: str) -> int:
    """`describe`: layers, shapes, parameters, and FLOPs of the compiled forward and update."""
    from experiments.engine.devices import setup
    from experiments.engine.preview import describe_net

    del named
    setup()
    options, config = arguments.read(arguments.Where, experiment.config, argv, usage, {})
    print(describe_net(experiment, config, options.manual_dir, _width()))
    return 0
