"""`resume DIR --epochs N`: more epochs for a finished study, training only what is new."""

import dataclasses
import os
import shutil
from typing import Any

import jax

from experiments.engine.config import replace
from experiments.engine.errors import UsageError
from experiments.engine.experiment import Data
from experiments.engine.folder import read_study, write_study
from experiments.engine.lease import lease
from experiments.engine.log import Log, finished, read_lines
from experiments.engine.plan import Override
from experiments.engine.prepare import Prepared, epochs_of, prepare_programs, shapes_of
from experiments.engine.reopen import Reopened
from experiments.engine.sealed import write_bytes
from experiments.engine.study import Study, specification
from experiments.engine.tuning import missing_replicas

ANSWERS = ("metrics.jsonl", "results.csv", "tuning.csv", "report.txt", "analysis.json")


def add_epochs(opened: Reopened, epochs: int, manual_dir: str | None = None) -> Reopened:
    """Makes a finished study an unfinished one of more epochs, which `train_study` then trains.

    Its replicas go on from their last training states, to the bits of a study that was begun with
    that many epochs. What was recorded before is kept in `after-<n>-epochs/`.

    Raises:
        UsageError: the training states were not kept, or a longer training would not begin with
            these epochs: a schedule depends on the length, or the study varies it.
    """
    study, folder = opened.study, opened.folder
    before = _refuse(opened, epochs)
    longer = dataclasses.replace(study, config=replace(study.config, {"epochs": epochs}))
    programs = opened.contents["programs"]
    moved = [{**p, "static": {**p["static"], "epochs": str(epochs)}} for p in programs]
    prepared = [
        prepare_programs(each, manual_dir, Override(), plans, lambda text: None).values()
        for each, plans in ((study, programs), (longer, moved))
    ]
    for old, new in zip(*prepared, strict=True):
        if _update_text(old) != _update_text(new):
            raise UsageError(
                f"--epochs {epochs}: the updates depend on the length of the training, {before} "
                "epochs (a falling schedule, a warm-up, ...), so a longer one is another from its "
                "first step; give the study's command with these --epochs and another --out"
            )
    with lease(folder):
        contents = read_study(folder)
        kept = folder / f"after-{before}-epochs"
        kept.mkdir(exist_ok=True)
        for name in ANSWERS:
            if (folder / name).exists():
                write_bytes(kept / name, (folder / name).read_bytes())
        if (folder / "parameters").is_dir():
            shutil.copytree(
                folder / "parameters", kept / "parameters", copy_function=_link, dirs_exist_ok=True
            )
        with Log(folder) as log:
            log.drop_finals()
        looks = [{"epochs": before, **look} for look in contents["looks"]]
        contents |= {**_configs(longer), "looks": looks, "programs": moved}
        write_study(folder, contents)
    return Reopened(folder, longer, contents)


def _link(source: str, target: str) -> None:
    """The same file under another name; files of a study are replaced, never written into."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _configs(study: Study) -> dict[str, Any]:
    return {"config": specification(study)["config"]}


def _refuse(opened: Reopened, epochs: int) -> int:
    """Refuses what cannot be extended; returns the epochs so far."""
    study = opened.study
    before, where = epochs_of(study.config), {*study.vary, *study.tune}
    if "epochs" in where.union(*({*arm.values, *arm.tune} for arm in study.arms)):
        raise UsageError("--epochs: this study varies its epochs")
    if epochs < before:
        raise UsageError(f"--epochs {epochs}: the study has {before} already")
    if missing_replicas(study, opened.metrics, finished(read_lines(opened.folder))):
        raise UsageError(f"--epochs: finish the study first: `resume {opened.folder}`")
    if not opened.contents.get("extendable"):
        raise UsageError(
            f"--epochs {epochs}: the training states were not kept (--extendable keeps them); give "
            "the study's command with these --epochs and another --out"
        )
    if before % study.evaluate_every:
        raise UsageError(f"--epochs: {before} epochs do not end with a regular evaluation")
    return before


def _update_text(entry: Prepared) -> str:
    """One update as traced: equal for two lengths of training if the length is not in it."""
    replica, own = entry.shapes
    data = Data(shapes_of(entry.dataset), own)
    zero = jax.ShapeDtypeStruct((), "int32")
    xs = jax.eval_shape(entry.trainer.epoch_inputs, replica, data, zero)
    state = jax.eval_shape(entry.trainer.init, replica)
    step = jax.make_jaxpr(entry.trainer.first_step)(state, replica, data, xs)
    order = jax.make_jaxpr(entry.trainer.epoch_inputs)(replica, data, zero)
    return f"{step}\n{order}"
