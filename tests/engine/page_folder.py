"""Study folders written without training: what a page of any size and state is made from."""

import dataclasses
import math

from experiments.engine.experiment import Experiment
from experiments.engine.folder import write_study
from experiments.engine.jobs import Job, make_job, reporting_pairs
from experiments.engine.log import Log, finished, read_lines
from experiments.engine.reopen import Reopened, reopened
from experiments.engine.results import answer, metrics, save
from experiments.engine.sealed import write_json
from experiments.engine.study import Study, make_study, specification
from experiments.engine.tables import write_results
from experiments.engine.tuning import known_reports
from tests.engine.toy import TOY, load

HOSTILE = "a'b\"c</script><img src=x onerror=alert(1)><!-- &amp; é 漢 {{x}} datum.x"
"""A name that tries to be anything but text."""
LAYERS = ("layer_1", "layer_2", "output")


def evaluation(job: Job, epoch: int, *, diagnose: bool) -> dict:
    """A line that depends on cell, seed and epoch alone."""
    error = 2.0 / (1 + epoch) + 0.1 * job.cell + 0.05 * math.sin(7 * job.seed + job.cell)
    line = {**identity(job), "epoch": epoch, "step": 5 * epoch, "diverged": False}
    line |= {"train_loss": error / 2, "validation_error": error, "validation_size": 1.0}
    if diagnose:
        inner = {"mean": 0.1, "sd": 1.0, "saturated": 0.2 * job.cell, "dead": 0.3}
        line["diagnosis"] = {
            "gradient": {name: 0.1 / (1 + i + epoch) for i, name in enumerate(LAYERS)},
            "activation": {"activation_1": inner, "activation_2": inner},
        }
    return line


def identity(job: Job) -> dict:
    return {"phase": job.phase, "cell": job.cell, "tuned": dict(job.tuned), "seed": job.seed}


def lines_of(job: Job, epochs: int, *, diagnose: bool, diverged: bool) -> list[dict]:
    """All lines of a finished replica."""
    found = [evaluation(job, epoch + 1, diagnose=diagnose) for epoch in range(epochs)]
    end = found[-1]["validation_error"]
    status = {"status": "diverged", "diverged_step": 7} if diverged else {"status": "finished"}
    measured = {"test_error": end + 0.01, "test_size": 1.0, "train_error": end - 0.01}
    final = {"final": True, "lines": epochs, "step": 5 * epochs, **status}
    lost = dict.fromkeys(measured) if diverged else measured
    return [*found, {**identity(job), **final, **lost, "validation_error": end}]


def write_folder(
    folder, *, experiment: Experiment = TOY, replicas: int | None = None, epochs: int = 3,
    diagnose: bool = False, diverged: tuple[tuple[int, int], ...] = (), **options,
) -> Reopened:  # fmt: skip
    """A study folder.

    Args:
        replicas: how many have finished; by default all, and then the study has its results.
        diverged: (cell, seed) of those that diverged.
    """
    study = make_study(experiment, **options)
    folder.mkdir(parents=True, exist_ok=True)
    measured = metrics(study, [(study.config, load(study.config, None))])
    contents = {
        "format": 1, **specification(study), "programs": [], "looks": [], "seeds": study.seeds,
        "name": study.name, "question": study.question, "margin": study.margin,
        "metrics": [dataclasses.asdict(metric) for metric in measured],
    }  # fmt: skip
    write_study(folder, contents)
    write_json(folder / "record.json", {"command": ["python", "toy.py", "study"], "sessions": []})
    jobs = [make_job(study, "report", cell, {}, seed) for cell, seed in reporting_pairs(study)]
    with Log(folder) as log:
        for job in jobs[:replicas]:
            lost = (job.cell, job.seed) in diverged
            log.write(lines_of(job, epochs, diagnose=diagnose, diverged=lost))
    if replicas is None:
        conclude(folder, study, measured, contents)
    return reopened(folder, study)


def unequal_folder(folder) -> Reopened:
    """Two cells of two seeds: the last replica ran out of patience after an epoch, and the second
    cell has an epoch less than the first."""
    opened = write_folder(folder, vary={"epochs": [3, 2]}, seeds=2, replicas=0)
    with Log(folder) as log:
        for job in known_reports(opened.study, opened.metrics, {}):
            last = 1 if (job.cell, job.seed) == (1, 1) else job.config.epochs
            log.write(lines_of(job, last, diagnose=True, diverged=False))
    return opened


def conclude(folder, study: Study, measured, contents) -> None:
    """What a study writes when it has finished."""
    write_study(folder, contents | {"looks": [{"seeds": study.seeds}]})
    lines = read_lines(folder)
    write_results(folder, study, finished(lines))
    save(folder, answer(study, measured, lines, 1))
