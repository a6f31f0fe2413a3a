"""Nets of a study folder, to be used again."""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np

from experiments.data.dataset import Spec
from experiments.engine.config import coerce, leaf_of
from experiments.engine.errors import UsageError
from experiments.engine.experiment import Data, Experiment
from experiments.engine.jobs import Job, make_job, reporting_seeds
from experiments.engine.log import finished, read_lines
from experiments.engine.parameters import read_parameters, read_vocabulary
from experiments.engine.paths import path_of
from experiments.engine.reopen import Reopened, reopen, reopened
from experiments.engine.study import label

if TYPE_CHECKING:
    from experiments.engine.run import Outcome

Tree = Any


class Trained(NamedTuple):
    """A trained net, and what it takes to use it.

    Attributes:
        experiment: what it belongs to.
        config: of its replica, at the tuned values.
        spec: what its data set looks like.
        net: the Flax module: `net.apply(variables, inputs, train=False)`.
        params: its parameters, NumPy arrays.
        model_state: what else it keeps, such as "batch_stats".
        data: the splits of its data set, and the replica's own arrays. Of a classifier that is
            `own["stats"]`, by which `preprocess.apply` makes inputs what the net was trained on.
    """

    experiment: Experiment
    config: Any
    spec: Spec
    net: Any
    params: Tree
    model_state: Tree
    data: Data

    @property
    def variables(self) -> dict[str, Tree]:
        """What `net.apply` takes."""
        return {"params": self.params, **self.model_state}

    def evaluate(self, split: str = "test") -> dict[str, float]:
        """The metrics of a whole split, as in `results.csv` but for rounding."""
        evaluate, config, net = self.experiment.evaluate, self.config, self.net

        def metrics(params: Tree, model_state: Tree, data: Data) -> dict[str, jax.Array]:
            return evaluate(config, net, params, model_state, data, split)[0]

        found = jax.jit(metrics)(self.params, self.model_state, self.data)
        return {name: float(value) for name, value in found.items()}


def load_trained(
    source: "Outcome | str | os.PathLike[str]",
    cell: int = 0,
    seed: int | None = None,
    *,
    experiment: Experiment | None = None,
    manual_dir: str | None = None,
) -> Trained:
    """A net of a study and its data.

    Args:
        source: what `run_study` returned, or a study folder.
        cell: index of its cell, as in `results.csv`.
        seed: its seed; by default the study's first.
        experiment: that of a folder, where it is one of your own.
        manual_dir: folder of the publishers' files, where the data set needs it.

    Raises:
        UsageError: the folder holds no study of the experiment, or one that varies functions of
            Python, which only its own script and `run_study` know; the cell or seed is none of it
            or has not finished; the net is missing or damaged; the data are not those recorded.
        DataMissingError: the data set is not there; says what to do.
    """
    from experiments.engine.train import host_arrays

    opened = _opened(source, experiment)
    study = opened.study
    job, tree = replica_of(opened, cell, seed)
    dataset = study.experiment.load(job.config, manual_dir)
    if dataset.digest not in opened.contents["data"]:
        raise UsageError(f"{opened.folder} was begun with other data of that name; bring them back")
    splits: Any = {name: dict(arrays) for name, arrays in dataset.splits.items()}
    data = Data(splits, host_arrays(study, dataset, job))
    net = study.experiment.make_net(job.config, dataset.spec)
    kept = tree["params"], tree.get("model_state", {})
    return Trained(study.experiment, job.config, dataset.spec, net, *kept, data)


def _opened(source: "Outcome | str | os.PathLike[str]", experiment: Experiment | None) -> Reopened:
    from experiments import EXPERIMENTS, Entry

    if isinstance(source, str | os.PathLike):
        own = experiment and {experiment.name: Entry(experiment.summary, lambda: experiment)}
        return reopen(own or EXPERIMENTS, path_of(source))
    return reopened(source.folder, source.study)


class TextNet(NamedTuple):
    """A net of a folder of texts: its replica, what its tokens stand for, and its parameters."""

    job: Job
    vocabulary: tuple[str, ...]
    params: Tree


def text_net(opened: Reopened, cell: int, seed: int | None) -> TextNet:
    """A net of a folder of texts, without its text; arguments and errors as of `replica_of`."""
    job, tree = replica_of(opened, cell, seed)
    vocabulary = read_vocabulary(opened.folder, job.cell)
    if vocabulary is None:
        raise _lost(opened, job)
    return TextNet(job, vocabulary, tree["params"])


def replica_of(opened: Reopened, cell: int, seed: int | None) -> tuple[Job, Tree]:
    """A replica at its tuned values, and what it is judged by: "params" and "model_state".

    Args:
        cell: index of its cell.
        seed: by default the study's first.

    Raises:
        UsageError: the cell or seed is none of the study's, or the net is not there.
    """
    job = _job(opened, cell, seed)
    arrays = read_parameters(opened.folder, job.cell, job.seed)
    if arrays is None:
        raise _lost(opened, job)
    return job, _nested(arrays)


def _lost(opened: Reopened, job: Job) -> UsageError:
    return UsageError(
        f"{opened.folder / 'parameters'}: the net of cell {job.cell}, seed {job.seed} is "
        f"missing or damaged; `reproduce {opened.folder}` trains it again"
    )


def _job(opened: Reopened, asked: int, given: int | None) -> Job:
    """The replica asked for, at its tuned values."""
    study = opened.study
    seed = study.first_seed if given is None else given
    if not 0 <= asked < len(study.cells):
        raise UsageError(f"--cell {asked}: the study has 0 to {len(study.cells) - 1}")
    for phase, cell, tuned, trained in finished(read_lines(opened.folder)):
        if (phase, cell, trained) == ("report", asked, seed):
            values = _values(study.config, dict(tuned))
            return make_job(study, "report", cell, values, trained)
    if seed not in (seeds := reporting_seeds(study)):
        raise UsageError(f"--replica {seed}: the study has seeds {seeds[0]} to {seeds[-1]}")
    raise UsageError(
        f"{opened.folder}: {label(study, asked)}, seed {seed} has not finished; "
        f"`resume {opened.folder}` trains what is missing, --replica takes another seed"
    )


def _values(config: Any, tuned: dict[str, str]) -> dict[str, Any]:
    """Tuned values from their spelling."""
    return {name: coerce(leaf_of(type(config), name), text) for name, text in tuned.items()}


def _nested(arrays: Mapping[str, np.ndarray]) -> Tree:
    """A tree of dicts from arrays by their path, `params/layer_1/kernel`."""
    tree: Tree = {}
    for path, array in arrays.items():
        *above, name = path.split("/")
        inner = tree
        for part in above:
            inner = inner.setdefault(part, {})
        inner[name] = array
    return tree
