"""Has a trained net of a study folder write a text."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from experiments.engine.config import coerce, leaf_of
from experiments.engine.errors import UsageError
from experiments.engine.jobs import Job, make_job, reporting_seeds
from experiments.engine.keys import new_key
from experiments.engine.log import finished, read_lines
from experiments.engine.net_options import Writing
from experiments.engine.parameters import read_parameters, read_vocabulary
from experiments.engine.reopen import Reopened
from experiments.engine.study import label

Tree = Any
MOST = 2**31 - 1
"""The largest length and seed."""
COLDEST, HOTTEST = 1e-20, 1e20
"""The temperatures but 0 by which float32 scores can be divided."""


class TrainedNet(NamedTuple):
    """A net of a study folder: its replica, what its tokens stand for, and its parameters."""

    job: Job
    vocabulary: tuple[str, ...]
    params: Tree


def sample(opened: Reopened, asked: Writing) -> str:
    """What a net of the folder writes after a prompt, the prompt included.

    Raises:
        UsageError: the experiment writes nothing, the cell or seed is none of the study's, its
            net is not there, or a value does not fit.
    """
    experiment = opened.study.experiment
    if experiment.sample is None:
        raise UsageError(
            f"{opened.folder} belongs to the experiment {experiment.name!r}, whose nets write no "
            "text: `sample` takes the folder of a language model"
        )
    if not 1 <= asked.length <= MOST:
        raise UsageError(f"--length {asked.length}: from 1 to {MOST}")
    if abs(asked.seed) > MOST:
        raise UsageError(f"--seed {asked.seed}: at most {MOST}")
    if not (asked.temperature == 0 or COLDEST <= asked.temperature <= HOTTEST):
        raise UsageError(
            f"--temperature {asked.temperature:g}: 0 (takes the likeliest), or {COLDEST:g} to "
            f"{HOTTEST:g}"
        )
    net = trained_net(opened, asked.cell, asked.replica)
    key = new_key(asked.seed)
    prompt = asked.prompt or "\n"
    try:
        return experiment.sample(
            net.job.config, net.vocabulary, net.params, prompt, key, asked.length, asked.temperature
        )
    except UsageError as error:
        if asked.prompt:
            raise
        raise UsageError(f"give a --prompt: nothing to begin with ({error})") from None


def trained_net(opened: Reopened, cell: int, replica: int | None) -> TrainedNet:
    """A net of a folder of texts.

    Args:
        cell: index of its cell.
        replica: its seed; by default the study's first.

    Raises:
        UsageError: the cell or seed is none of the study's, or the net is not there.
    """
    job = _job(opened, cell, replica)
    arrays = read_parameters(opened.folder, job.cell, job.seed)
    vocabulary = read_vocabulary(opened.folder, job.cell)
    if arrays is None or vocabulary is None:
        raise UsageError(
            f"{opened.folder / 'parameters'}: the net of cell {job.cell}, seed {job.seed} is "
            f"missing or damaged; `reproduce {opened.folder}` trains it again"
        )
    return TrainedNet(job, vocabulary, nested(arrays)["params"])


def _job(opened: Reopened, asked: int, replica: int | None) -> Job:
    """The replica asked for, at its tuned values."""
    study = opened.study
    seed = study.first_seed if replica is None else replica
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


def nested(arrays: Mapping[str, np.ndarray]) -> Tree:
    """A tree of dicts from arrays by their path, `params/layer_1/kernel`."""
    tree: Tree = {}
    for path, array in arrays.items():
        *above, name = path.split("/")
        inner = tree
        for part in above:
            inner = inner.setdefault(part, {})
        inner[name] = array
    return tree
