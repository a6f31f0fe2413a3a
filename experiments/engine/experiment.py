"""What an experiment is: one frozen config and a few pure functions of it."""

import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax

from experiments.data.dataset import Dataset, Spec
from experiments.engine.config import leaves
from experiments.engine.keys import Streams
from experiments.engine.pictures import Picture
from experiments.engine.selection import Selection
from experiments.engine.sources import sources
from experiments.engine.statistics import Metric

Tree = Any


class Data(NamedTuple):
    """What the compiled functions see of a data set.

    Attributes:
        splits: the data set's arrays on the device, `splits["train"]["x"]`; one copy for all.
        own: the arrays `prepare` made for this replica (its rows, labels, statistics).
    """

    splits: Mapping[str, Mapping[str, jax.Array]]
    own: Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Experiment:
    """A task with a config class. All functions are pure; those marked (traced) run inside jit,
    where the config's float fields hold tracers.

    Attributes:
        name: what the command line and the study folder call it.
        summary: one line for `list`.
        config: the default config (a frozen dataclass with a field `epochs`; see `engine.config`).
        metrics: (config, spec) -> what `evaluate` measures; the first is the primary metric.
        examples: (dataset) -> how many test examples are behind one value of a metric; by default
            the rows of the test split.
        load: (config, manual_dir) -> the data set, on the host.
        check: (config, spec) -> None; raises `UsageError` for a value that cannot work.
        prepare: (config, dataset, streams) -> one replica's own arrays, on the host;
            `streams(name)` is a NumPy generator of the replica's seed.
        make_net: (config, spec) -> a Linen module. (traced)
        sample_input: (config, spec) -> an input for the module's `init`, batch of one.
        outputs: (config, spec) -> the shape of what the net gives for `sample_input`; any other is
            refused before it trains. By default it may be any.
        adapt: (config, variables, own) -> the net's variables before the first step, made to fit
            the replica's own arrays; by default they stay as `init` draws them. (traced)
        make_optimizer: (config, total_steps) -> an optax transformation. (traced)
        epoch_inputs: (config, data, key, epoch) -> a tree whose leading axis is the epoch's
            steps: shuffled indices, window offsets, ... `key` is the same in every epoch;
            `jax.random.fold_in(key, epoch)` is that of one. (traced)
        make_batch: (config, data, x, key) -> the batch of one step: gather, augment. (traced)
        loss_fn: (config, net, params, model_state, batch, key)
            -> loss, (model_state, metrics). (traced)
        evaluate: (config, net, params, model_state, data, split) -> (metrics, correct), exact
            over the whole split ("train", "validation", "test"); `correct` is bool per example
            or None where that has no meaning; ({}, None) for a split without rows. (traced)
        rows: (config, batch) -> name of a parameter -> the rows of it that a step uses; `loss_fn`
            is given these rows, [*rows, ...], in the place of the table, and only they are updated.
            Only for optimizers that keep nothing of a parameter. By default none. (traced)
        selection: (config) -> which parameters are evaluated; by default the last. (traced)
        measure: (config, net, params, model_state, data) -> further numbers of the final net,
            reported beside the metrics. (traced)
        remark: (config, means over seeds of those numbers) -> what they say of a cell, in words;
            without those that some seed has not, and a KeyError for one of them says nothing.
        pictures: (config, net, params, model_state, data) -> name -> `Picture`, of the final net of
            each cell's first seed, kept beside the results. On the host: `data` holds NumPy arrays,
            the splits as loaded and the replica's own.
        sample: (config, vocabulary, params, prompt, key, length, temperature) -> the prompt and
            what the net writes after it. On the host.
        vectors: (params) -> a vector for each word of the vocabulary, [words, features]. On the
            host.

    Raises:
        ValueError: a name that no folder should have.
        TypeError: the config is a class, not a value, or a field of it cannot be (`config.leaves`).
    """

    name: str
    summary: str
    config: Any
    metrics: Callable[[Any, Spec], tuple[Metric, ...]]
    load: Callable[[Any, str | None], Dataset]
    check: Callable[[Any, Spec], None]
    prepare: Callable[[Any, Dataset, Streams], dict[str, Any]]
    make_net: Callable[[Any, Spec], Any]
    sample_input: Callable[[Any, Spec], jax.Array]
    make_optimizer: Callable[[Any, int], Any]
    epoch_inputs: Callable[[Any, Data, jax.Array, jax.Array], Tree]
    make_batch: Callable[[Any, Data, Tree, jax.Array], Tree]
    loss_fn: Callable[..., tuple[jax.Array, tuple[Tree, dict[str, jax.Array]]]]
    evaluate: Callable[..., tuple[dict[str, jax.Array], jax.Array | None]]
    examples: Callable[[Dataset], int] = lambda dataset: len(
        next(iter(dataset.splits["test"].values()))
    )
    rows: Callable[[Any, Tree], Mapping[str, jax.Array]] = lambda config, batch: {}
    selection: Callable[[Any], Selection] = lambda config: Selection()
    outputs: Callable[[Any, Spec], tuple[int, ...]] | None = None
    adapt: Callable[[Any, Tree, Mapping[str, Any]], Tree] = lambda config, variables, own: variables
    measure: Callable[..., dict[str, jax.Array]] | None = None
    remark: Callable[[Any, Mapping[str, float]], str] | None = None
    pictures: Callable[..., Mapping[str, Picture]] | None = None
    sample: Callable[..., str] | None = None
    vectors: Callable[[Tree], Any] | None = None

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", self.name):
            raise ValueError(f"name {self.name!r}: it names folders; letters, digits, _ . - only")
        if isinstance(self.config, type):
            raise TypeError(f"config: a value such as {self.config.__name__}(), not the class")
        if "epochs" not in leaves(type(self.config)):
            raise TypeError("config: it needs a field `epochs`, the passes over the training data")
        sources()  # as they are while they are imported: that is what will train
