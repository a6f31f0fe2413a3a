"""Has an experiment make the pictures of one replica, and never loses a study over it."""

import pathlib
from collections.abc import Callable

from experiments.data.dataset import Dataset
from experiments.engine import pictures
from experiments.engine.experiment import Data
from experiments.engine.jobs import Job
from experiments.engine.step import Kept
from experiments.engine.study import Study
from experiments.engine.train import host_arrays


def illustrate(
    folder: pathlib.Path,
    study: Study,
    dataset: Dataset,
    job: Job,
    kept: Kept,
    echo: Callable[[str], None],
) -> None:
    """Writes the pictures of a replica into `pictures/cell_<number>` of the study folder.

    Whatever fails while they are made is told in one line, and the study goes on without them;
    a disk that cannot take them stops it, as for any other file.

    Args:
        kept: the parameters and model state the replica is judged by, on the host.
        echo: called with the warning.
    """
    experiment = study.experiment
    if experiment.pictures is None:
        return
    data = Data(dataset.splits, host_arrays(study, dataset, job))  # type: ignore[arg-type]
    try:
        net = experiment.make_net(job.config, dataset.spec)
        made = experiment.pictures(job.config, net, *kept, data)
        files = pictures.files(made) if made else {}
    except Exception as error:
        text = str(error).partition("\n")[0]
        echo(f"warning: no pictures of cell {job.cell}: {type(error).__name__}: {text}")
        return
    if files:
        pictures.write(folder / "pictures" / f"cell_{job.cell}", files)
