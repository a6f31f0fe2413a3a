"""Language models of recurrent nets: how well do they predict the next character or word?"""

import dataclasses
import functools
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from experiments.data import texts
from experiments.data.dataset import Dataset, Spec
from experiments.data.text import encode, join_units
from experiments.engine.errors import UsageError
from experiments.engine.experiment import Data, Experiment, Tree
from experiments.engine.keys import Streams
from experiments.engine.selection import Selection, check_selection
from experiments.engine.statistics import Metric
from experiments.optimizers import Optimizer, check_optimizer, make_optimizer
from experiments.recurrent import Layers, check_layers, make_stack
from nets.language import LanguageModel, generate, text_losses
from nets.losses import softmax_cross_entropy


@dataclasses.dataclass(frozen=True)
class Text:
    """What is read.

    Attributes:
        dataset: python_docs, tiny_shakespeare, wikitext2 or ptb, which `list` explains, or text:
            any file of UTF-8.
        text_file: path of the file, where dataset is text.
        unit: what a token is.
    """

    dataset: Literal["python_docs", "tiny_shakespeare", "wikitext2", "ptb", "text"] = "python_docs"
    text_file: str | None = None
    unit: Literal["character", "word"] = "character"


@dataclasses.dataclass(frozen=True)
class Config:
    """A recurrent language model and how it is trained.

    Attributes:
        data: the text.
        layers: the recurrent layers.
        optimizer: the optimizer and its schedule; batch_size is the number of streams, equal parts
            of the training text that are read side by side.
        selection: which parameters are evaluated.
        window: tokens of each stream in a step; gradients go no further back.
        carry: go on from the states after the window before; off, from zeros.
        reset: probability that a stream begins from zeros at a window, although it goes on (Melis
            et al. 2017, arXiv 1707.05589: 0.01).
        embedding: numbers that stand for a token.
        embedding_dropout: rate on them.
        tied: the output's weights are those of the embedding.
    """

    data: Text = Text()
    layers: Layers = Layers()
    optimizer: Optimizer = Optimizer(learning_rate=3e-3, clip=1.0, batch_size=32, epochs=15)
    selection: Selection = Selection()
    window: int = 64
    carry: bool = True
    reset: float | None = None
    embedding: int = 64
    embedding_dropout: float | None = None
    tied: bool = False


def metrics(config: Any, spec: Spec) -> tuple[Metric, ...]:
    """The loss in nats a token (primary), its exponential, and bits a character of the text."""
    del config, spec
    units = {"loss": "nats", "perplexity": "", "bits_per_character": ""}
    return tuple(Metric(n, higher_is_better=False, unit=unit) for n, unit in units.items())


def load(config: Any, manual_dir: str | None) -> Dataset:
    """The text of a config."""
    data = config.data
    return texts.load(data.dataset, data.unit, manual_dir, data.text_file)


def check(config: Any, spec: Spec) -> None:
    """Refuses values that cannot train. Raises `UsageError`."""
    check_layers(config.layers)
    check_selection(config.selection)
    for flag, count in {"--window": config.window, "--embedding": config.embedding}.items():
        if count < 1:
            raise UsageError(f"{flag} {count}: at least 1")
    if config.reset is not None and not (config.carry and 0 <= config.reset <= 1):
        raise UsageError(f"--reset {config.reset}: a probability, of states that --carry hands on")
    if config.layers.bidirectional:
        raise UsageError("--bidirectional: the other direction reads what is to be predicted")
    last, rate = config.layers.width[-1], config.embedding_dropout
    if config.tied and last != config.embedding:
        raise UsageError(
            f"--tied: weights are shared by --embedding {config.embedding} and the last layer of "
            f"--width, {last}: make them equal"
        )
    if rate is not None and not 0 <= rate < 1:
        raise UsageError(f"--embedding-dropout {rate}: must be at least 0 and below 1")
    streams = config.optimizer.batch_size
    windows = windows_of(spec.train_rows, config.window, max(streams, 1))
    if streams > 0 and windows < 1:
        raise UsageError(
            f"--batch-size {streams} streams of --window {config.window} tokens: more than the "
            f"{spec.train_rows:,} tokens of the training text; make one of them smaller"
        )
    check_optimizer(config.optimizer, windows * streams)


def windows_of(tokens: int, window: int, streams: int) -> int:
    """Whole windows in each stream; the token after a stream's last is predicted, not read."""
    return (tokens - 1) // streams // window


def prepare(config: Any, dataset: Dataset, streams: Streams) -> dict[str, Any]:
    """Nothing of a replica's own: the splits are those of the text."""
    del config, dataset, streams
    return {}


def make_net(config: Any, spec: Spec) -> LanguageModel:
    """The net of a config; float fields may be tracers."""
    return LanguageModel(
        make_stack(config.layers),
        vocabulary=spec.vocabulary,
        embedding=config.embedding,
        tied=config.tied,
        dropout=config.embedding_dropout,
        streams=config.optimizer.batch_size if config.carry else 0,
        kernel_init=config.layers.init,
        bias_init=config.layers.bias_init,
    )


def sample_input(config: Any, spec: Spec) -> jax.Array:
    """One window of zeros, int32 [1, window]."""
    del spec
    return jnp.zeros((1, config.window), jnp.int32)


def epoch_inputs(config: Any, data: Data, key: jax.Array, epoch: jax.Array) -> Tree:
    """Where each step's windows begin in the training text, in order.

    Stream b is the b-th of equal parts of the text, its windows follow each other. What is left
    over in a part is less than a window: how much of it is skipped at the front is drawn for each
    epoch, so that windows are cut elsewhere each time.

    Returns:
        "starts" int32 [steps, streams], and "first" bool [steps, streams], where states are zeros.
    """
    streams, window = config.optimizer.batch_size, config.window
    part = (data.splits["train"]["x"].shape[0] - 1) // streams
    steps = part // window
    left = part - steps * window
    key = jax.random.fold_in(key, epoch)
    shift = jax.random.randint(key, (), 0, left + 1)
    step, stream = jnp.arange(steps)[:, None], jnp.arange(streams)[None]
    starts = (shift + stream * part + step * window).astype(jnp.int32)
    first = jnp.broadcast_to(step == 0, starts.shape)
    if config.reset is not None:
        again = jax.random.bernoulli(jax.random.fold_in(key, 1), config.reset, starts.shape)
        first = first | again
    return {"starts": starts, "first": first}


def make_batch(config: Any, data: Data, x: Tree, key: jax.Array) -> Tree:
    """One window of each stream: "x" and "y", the token after each, int32 [streams, window]; and
    "first" [streams], whether a stream begins."""
    del key
    places = x["starts"][:, None] + jnp.arange(config.window + 1)[None]
    tokens = data.splits["train"]["x"][places].astype(jnp.int32)
    return {"x": tokens[:, :-1], "y": tokens[:, 1:], "first": x["first"]}


def loss_fn(
    config: Any, net: Any, params: Tree, model_state: Tree, batch: Tree, key: jax.Array
) -> tuple[jax.Array, tuple[Tree, dict[str, jax.Array]]]:
    """Mean loss of the windows, from the carries in `model_state`; those after go there."""
    carries, first = None, batch["first"][:, None]
    if config.carry:
        kept = model_state["carry"]["layers"]
        carries = jax.tree.map(lambda c: jnp.where(first, jnp.zeros_like(c), c), kept)
    (scores, last), noted = net.apply(
        {"params": params}, batch["x"], carries, train=True, method=LanguageModel.read,
        rngs={"dropout": key}, mutable=["diagnostics"] if "diagnostics" in model_state else [],
    )  # fmt: skip
    model_state = {**model_state, **noted}
    if config.carry:
        model_state["carry"] = {"layers": jax.lax.stop_gradient(last)}
    loss = jnp.mean(softmax_cross_entropy(scores, batch["y"]))
    return loss, (model_state, {"loss": loss})


def evaluate(
    config: Any, net: Any, params: Tree, model_state: Tree, data: Data, split: str
) -> tuple[dict[str, jax.Array], None]:
    """Exact loss over a split, which is read as one stream from its first token to its last.

    Every token but the first is predicted once, from all before it.
    """
    del config, model_state
    arrays = data.splits[split]
    tokens = arrays["x"].shape[0] - 1
    loss = text_losses(net, params, arrays["x"]) / tokens
    bits = loss / np.log(2) * (tokens / arrays["characters"][0])
    return {"loss": loss, "perplexity": jnp.exp(loss), "bits_per_character": bits}, None


def sample(
    config: Any,
    vocabulary: tuple[str, ...],
    params: Tree,
    prompt: str,
    key: jax.Array,
    length: int,
    temperature: float,
) -> str:
    """A prompt and what a net writes after it.

    Raises:
        UsageError: the prompt holds what the vocabulary does not.
    """
    unit = config.data.unit
    begun = encode(prompt, vocabulary, unit)
    net = make_net(config, Spec((), classes=0, vocabulary=len(vocabulary)))
    write = functools.partial(generate, net, length=length, temperature=temperature)
    written = jax.jit(write)({"params": params}, begun, key)
    return join_units([vocabulary[token] for token in (*begun, *np.asarray(written))], unit)


EXPERIMENT = Experiment(
    name="language_model",
    summary="recurrent nets that predict the next character or word of a text, and write",
    config=Config(),
    metrics=metrics,
    load=load,
    check=check,
    prepare=prepare,
    make_net=make_net,
    sample_input=sample_input,
    make_optimizer=lambda config, steps: make_optimizer(config.optimizer, steps),
    epoch_inputs=epoch_inputs,
    make_batch=make_batch,
    loss_fn=loss_fn,
    evaluate=evaluate,
    selection=lambda config: config.selection,
    sample=sample,
)
