"""`run_study`: one call from a declared study to its answer."""

import concurrent.futures
import contextlib
import dataclasses
import pathlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax

from experiments.engine import results
from experiments.engine.beginning import begin, datasets_of, digests_of, note_look, take_up
from experiments.engine.checkpoint import Checkpoints
from experiments.engine.control import Control, Saving
from experiments.engine.devices import setup
from experiments.engine.errors import UsageError
from experiments.engine.experiment import Experiment
from experiments.engine.folder import (
    claim_folder,
    folder_of,
    looks_of,
    make_folder,
    most_devices,
    write_study,
)
from experiments.engine.jobs import tuning_jobs
from experiments.engine.lease import lease
from experiments.engine.log import Log, damaged_lines, finished, read_lines
from experiments.engine.parameters import damage_told
from experiments.engine.plan import Override
from experiments.engine.prepare import Prepared, prepare_programs
from experiments.engine.preview import program_table
from experiments.engine.progress import Meter
from experiments.engine.record import (
    continue_record,
    tell_other_sources,
)
from experiments.engine.session import Session, begun_keys, train_jobs
from experiments.engine.standing import Board
from experiments.engine.statistics import Analysis, Metric
from experiments.engine.study import Study, make_study
from experiments.engine.tables import write_results
from experiments.engine.train import Work
from experiments.engine.tuning import known_reports, missing_replicas, superseded
from experiments.engine.wording import count


@dataclasses.dataclass(frozen=True)
class Outcome:
    """A finished study.

    Attributes:
        folder: where everything is.
        study: what was asked.
        analysis: the statistics of the primary metric.
        text: the answer as printed.
        lines: the final line of every replica, by (phase, cell, tuned values, seed).
    """

    folder: pathlib.Path
    study: Study
    analysis: Analysis
    text: str
    lines: Mapping[tuple[Any, ...], Mapping[str, Any]]


def run_study(
    experiment: Experiment,
    config: Any = None,
    *,
    vary: Mapping[str, Sequence[Any]] | None = None,
    arms: Mapping[str, Mapping[str, Any]] | None = None,
    tune: Mapping[str, Sequence[Any]] | None = None,
    out: str | pathlib.Path | None = None,
    manual_dir: str | None = None,
    override: Override = Override(),
    saving: Saving = Saving(),
    echo: Callable[[str], None] = print,
    **options: Any,
) -> Outcome:
    """Trains cells x seeds of an experiment and answers with statistics.

    Args:
        experiment: the task.
        config: what the cells share; the experiment's defaults if None.
        vary: factor -> levels, the reference first, as values or as text:
            `{"activation": ["relu", jnp.sin], "dropout": [0.0, 0.5]}`.
        arms: name -> field -> value: levels that set several fields; a list is tuned.
        tune: nuisance field -> grid, chosen per cell by validation score.
        out: the study folder; by default one below `runs/` that belongs to this study.
        manual_dir: folder of the publishers' data files.
        override: parts of the plan to fix.
        saving: when checkpoints are made, and a time limit.
        echo: called with each line of the account; `lambda text: None` keeps quiet.
        **options: fields of `Study`: seeds, tune_seeds, fix, metric, margin, ...

    Raises:
        UsageError: a wrong name or value, or a folder of another study.
        DataMissingError: a data set is not there.
        Interrupted: a signal or the time limit ended it; the same call goes on.
    """
    study = make_study(experiment, config, vary=vary, arms=arms, tune=tune, **options)
    outcome = train_study(
        study, out, manual_dir=manual_dir, override=override, saving=saving, echo=echo
    )
    echo(f"\n{outcome.text}\n\nfolder: {outcome.folder}")
    return outcome


def train_study(
    study: Study,
    out: str | pathlib.Path | None = None,
    *,
    manual_dir: str | None = None,
    override: Override = Override(),
    saving: Saving = Saving(),
    recorded: Mapping[str, Any] | None = None,
    echo: Callable[[str], None] = print,
    width: int = 100,
) -> Outcome:
    """`run_study` for a study already declared; `echo` gets the account, not the answer.

    The same study in the same folder goes on where it was left.

    Args:
        recorded: `study.json` of another folder, to train under the same plan, on the same data.
    """
    folder, control = folder_of(study, out), Control(saving)
    with control.leaving(folder):
        contents = claim_folder(folder, study)
        prepared = _prepare(study, contents, manual_dir, override, recorded or {}, echo)
        return _train_in(folder, study, contents, prepared, control, echo, width)


def _prepare(
    study: Study,
    contents: Mapping[str, Any],
    manual_dir: str | None,
    override: Override,
    recorded: Mapping[str, Any],
    echo: Callable[[str], None],
) -> dict[Any, Prepared]:
    """The programs, planned as recorded where they are, on the recorded data."""
    plans = contents["programs"] or recorded.get("programs", ())
    config: Any = jax.config
    if config.jax_disable_jit:
        raise UsageError("studies are compiled: leave jax.disable_jit (JAX_DISABLE_JIT) off")
    setup(most_devices(plans))
    prepared = prepare_programs(study, manual_dir, override, plans, echo)
    if not {*digests_of(prepared)} <= {*recorded.get("data", digests_of(prepared))}:
        raise UsageError(
            "the data are not those of the recorded study, only of the same name; bring those back"
        )
    return prepared


def _train_in(
    folder: pathlib.Path,
    study: Study,
    contents: dict[str, Any],
    prepared: dict[Any, Prepared],
    control: Control,
    echo: Callable[[str], None],
    width: int,
) -> Outcome:
    """Trains what a folder lacks, as the one process that may write there."""
    saving = control.saving
    metrics = results.metrics(study, [(e.static, e.dataset) for e in prepared.values()])
    make_folder(folder)
    with lease(folder) as is_lost:
        if claim_folder(folder, study) != contents:
            raise UsageError(f"{folder} was changed by another process just now; try again")
        if contents["programs"]:
            take_up(folder, study, contents, prepared, saving, echo)
        else:
            contents["extendable"] = saving.extendable
            begin(folder, study, contents, prepared, metrics)
        with control.watch(is_lost):
            saved = (
                Checkpoints(folder / "checkpoints", saving.keep_checkpoints, echo),
                Checkpoints(folder / "states", None, echo) if contents.get("extendable") else None,
                control,
            )
            try:
                done = _train(folder, study, prepared, metrics[0], saved, echo, width)
            finally:
                saved[0].wait()
            control.refuse_lost()
        note_look(contents, study)
        answer = results.answer(study, metrics, read_lines(folder), looks_of(contents), width)
        write_study(folder, contents | results.digests(answer))
        write_results(folder, study, done)
        results.save(folder, answer)
    return Outcome(folder, study, answer.analysis, answer.text, done)


def _train(
    folder: pathlib.Path,
    study: Study,
    prepared: dict[Any, Prepared],
    metric: Metric,
    saved: tuple[Checkpoints, Checkpoints | None, Control],
    echo: Callable[[str], None],
    width: int,
) -> dict[tuple[Any, ...], dict[str, Any]]:
    """Trains what is missing; returns the final line of every replica."""
    started = time.perf_counter()
    with Log(folder) as log:
        if damaged := damaged_lines(folder):
            echo(f"warning: {damaged} damaged lines of metrics.jsonl: their replicas train again")
        done = finished(read_lines(folder))
        for text in damage_told(folder, done.values()):
            echo(text)
        begun = begun_keys(saved[:2])
        log.keep({*done, *begun})
        missing = missing_replicas(study, [metric], done)
        if not missing:
            echo("every replica was trained before: nothing to do")
            tell_other_sources(folder, echo)
            return done
        continue_record(folder, datasets_of(prepared), echo)
        echo(program_table(prepared, width))
        steps = max(entry.trainer.total_steps for entry in prepared.values())
        board = Board(study, metric, read_lines(folder))
        with Meter(missing * steps) as meter, _compiler() as pool:
            work = Work(
                folder, study.evaluate_every, log, meter, board, *saved,
                leftover=begun - {*done},
            )  # fmt: skip
            session = Session(study, prepared, done, work, pool, echo)
            train_jobs(session, tuning_jobs(study), "tuning")
            jobs = known_reports(study, [metric], done)
            if old := superseded(jobs, done):
                log.rewind(old, -1)
                for key in old:
                    del done[key]
            train_jobs(session, jobs, "training")
    seconds = time.perf_counter() - started
    echo(
        f"{count(missing, 'replica')} in {_programs(session)}: {seconds:.1f} s, compiling included"
    )
    return done


@contextlib.contextmanager
def _compiler() -> Iterator[concurrent.futures.Executor]:
    """The thread that compiles. Whoever is to stop does not wait for what it is at."""
    pool = concurrent.futures.ThreadPoolExecutor(1)
    try:
        yield pool
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _programs(session: Session) -> str:
    """How many programs were trained, and how often each was traced."""
    traces = [future.result()[0].traces["train"] for future in session.compiled.values()]
    once = "one trace each" if set(traces) == {1} else f"traces {traces}"
    return f"{count(len(traces), 'program')}, {once}"
