"""Has a trained net of a study folder write a text."""

from experiments.engine.errors import UsageError
from experiments.engine.keys import new_key
from experiments.engine.net_options import Writing
from experiments.engine.reopen import Reopened
from experiments.engine.trained import text_net

MOST = 2**31 - 1
"""The largest length and seed."""
COLDEST, HOTTEST = 1e-20, 1e20
"""The temperatures but 0 by which float32 scores can be divided."""


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
    net = text_net(opened, asked.cell, asked.replica)
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
