"""Language models through the engine: windows, carried states, evaluation, and writing."""

import dataclasses
import functools
import pathlib
import shlex
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import Entry, language_model
from experiments.data.text import make_text
from experiments.engine.cli import main
from experiments.engine.config import replace, split
from experiments.engine.errors import UsageError
from experiments.engine.experiment import Data
from experiments.engine.keys import key_of
from experiments.engine.plan import Override
from experiments.engine.run import run_study
from experiments.engine.step import Replica, Trainer
from nets.language import LanguageModel
from tests.experiments.stopped import assert_same_nets, recorded, stop_and_resume

pytestmark = pytest.mark.usefixtures("one_build")

WORDS = "the cat sat on the mat. a dog saw the cat and the mat.\n"
TEXT = make_text(
    "rhyme", {"train": WORDS * 5, "validation": WORDS, "test": WORDS[::-1]}, "character"
)
EXPERIMENT = dataclasses.replace(language_model.EXPERIMENT, load=lambda config, folder: TEXT)
ENTRIES = {"language_model": Entry(EXPERIMENT.summary, lambda: EXPERIMENT)}
SMALL = {"width": (8,), "embedding": 8, "window": 8, "batch_size": 3, "epochs": 2}
CONFIG = replace(EXPERIMENT.config, SMALL)


def inputs(seed: int = 0, epoch: int = 0, **changes: Any) -> Any:
    """The config, the data and one epoch's inputs."""
    config = replace(CONFIG, changes)
    data = Data(jax.tree.map(jnp.asarray, dict(TEXT.splits)), {})
    key = key_of(jnp.int32(seed), "order")
    return config, data, EXPERIMENT.epoch_inputs(config, data, key, jnp.int32(epoch))


def step_of(xs: Any, step: int) -> Any:
    """The inputs of one step."""
    return jax.tree.map(lambda leaf: leaf[step], xs)


def variables_of(net: Any, config: Any) -> tuple[Any, Any]:
    """The net's first parameters and model state."""
    sample = EXPERIMENT.sample_input(config, TEXT.spec)
    state = dict(jax.jit(lambda key: net.init(key, sample, train=False))(jax.random.key(0)))
    return state.pop("params"), state


def test_windows_follow_each_other_in_each_stream():
    config, data, xs = inputs()
    key, text = jax.random.key(0), TEXT.splits["train"]["x"]
    part = (len(text) - 1) // 3
    assert xs["starts"].shape == (part // 8, 3)
    batches = [
        EXPERIMENT.make_batch(config, data, step_of(xs, i), key) for i in range(len(xs["starts"]))
    ]
    for stream in range(3):
        read = np.concatenate([batch["x"][stream] for batch in batches])
        said = np.concatenate([batch["y"][stream] for batch in batches])
        begin = int(xs["starts"][0, stream])
        assert 0 <= begin - stream * part <= part % 8
        np.testing.assert_array_equal(read, text[begin : begin + len(read)])
        np.testing.assert_array_equal(said, text[begin + 1 : begin + 1 + len(read)])
    assert xs["first"][0].all() and not xs["first"][1:].any()


def test_streams_begin_again_at_random():
    config, data, xs = inputs(reset=0.25)
    _, _, plain = inputs()
    np.testing.assert_array_equal(xs["starts"], plain["starts"])
    again = np.asarray(xs["first"])
    assert again[0].all() and 0.1 < again[1:].mean() < 0.4
    other = EXPERIMENT.epoch_inputs(config, data, jax.random.key(0), jnp.int32(1))["first"]
    assert (np.asarray(other) != again).any()
    with pytest.raises(UsageError, match=r"--reset 0.1: a probability, of states that --carry"):
        EXPERIMENT.check(replace(config, {"reset": 0.1, "carry": False}), TEXT.spec)


def test_each_epoch_and_seed_cuts_the_text_elsewhere():
    begins = {
        int(inputs(seed, epoch)[2]["starts"][0, 0]) for seed in range(2) for epoch in range(4)
    }
    assert len(begins) > 1


@pytest.mark.slow
@pytest.mark.parametrize("carry", [True, False])
def test_states_are_carried_from_window_to_window(carry):
    """Two windows through the loss are one of twice the length, or two that begin anew."""
    config, data, xs = inputs(carry=carry)
    net = EXPERIMENT.make_net(config, TEXT.spec)
    params, state = variables_of(net, config)
    assert set(state) == ({"carry"} if carry else set())
    dirty = jax.tree.map(jnp.ones_like, state)  # of the epoch before: the first window drops it
    loss_of, losses = jax.jit(functools.partial(EXPERIMENT.loss_fn, config, net)), []
    for step in range(2):
        batch = EXPERIMENT.make_batch(config, data, step_of(xs, step), jax.random.key(1))
        loss, (dirty, measured) = loss_of(params, dirty, batch, jax.random.key(1))
        assert measured["loss"] == loss
        losses.append(loss)
    places = xs["starts"][0][:, None] + jnp.arange(17)[None]
    tokens = data.splits["train"]["x"][places].astype(jnp.int32)
    parts = (tokens,) if carry else (tokens[:, :9], tokens[:, 8:])
    read = jax.jit(functools.partial(net.apply, train=False))
    each = [read({"params": params}, part[:, :-1]) for part in parts]
    scores = jax.nn.log_softmax(jnp.concatenate(each, axis=1))
    own = jnp.take_along_axis(scores, tokens[:, 1:, None], -1)
    np.testing.assert_allclose(np.mean(losses), -jnp.mean(own), rtol=1e-6)


def test_evaluation_is_exact_and_independent_of_the_batch_size():
    scores = []
    for batch in (3, 5):
        config, data, _ = inputs(batch_size=batch)
        net = EXPERIMENT.make_net(config, TEXT.spec)
        params, state = variables_of(net, config)
        found, correct = EXPERIMENT.evaluate(config, net, params, state, data, "test")
        scores.append(found)
        assert correct is None
    tokens = TEXT.splits["test"]["x"].astype(np.int32)
    apply = jax.jit(functools.partial(net.apply, train=False))
    logits = np.asarray(apply({"params": params}, jnp.asarray(tokens[None, :-1])), np.float64)[0]
    wrong = np.log(np.exp(logits).sum(1)) - logits[np.arange(len(tokens) - 1), tokens[1:]]
    assert scores[0] == scores[1]
    np.testing.assert_allclose(scores[0]["loss"], wrong.mean(), rtol=1e-6)
    np.testing.assert_allclose(scores[0]["perplexity"], np.exp(wrong.mean()), rtol=1e-5)
    np.testing.assert_allclose(scores[0]["bits_per_character"], wrong.mean() / np.log(2), rtol=1e-6)


@pytest.mark.slow
def test_bits_per_character_of_words_count_the_characters():
    text = make_text("x", dict.fromkeys(("train", "validation", "test"), WORDS), "word")
    config = replace(CONFIG, {"unit": "word", "batch_size": 1})
    data = Data(jax.tree.map(jnp.asarray, dict(text.splits)), {})
    net = EXPERIMENT.make_net(config, text.spec)
    params, _ = variables_of(net, config)
    found, _ = EXPERIMENT.evaluate(config, net, params, {}, data, "test")
    tokens = len(text.splits["test"]["x"]) - 1
    bits = float(found["loss"]) * tokens / np.log(2) / (len(WORDS) - len("the"))
    np.testing.assert_allclose(found["bits_per_character"], bits, rtol=1e-6)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A study without interruption, all steps of an epoch in one call."""
    folder = tmp_path_factory.mktemp("text") / "whole"
    return study(folder, steps=1000)


def study(folder: pathlib.Path, steps: int) -> pathlib.Path:
    run_study(
        EXPERIMENT, CONFIG, vary={"learning_rate": [0.003, 0.01]}, seeds=1, out=folder,
        override=Override(lanes=1, devices=1, steps_per_call=steps), echo=lambda text: None,
    )  # fmt: skip
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("question", [3, 14])
def test_resumed_in_mid_epoch_is_uninterrupted_to_the_bit(trained, monkeypatch, tmp_path, question):
    """Stopped within the first and the second epoch, with the states after some windows."""
    stop_and_resume(monkeypatch, tmp_path, lambda: study(tmp_path, steps=1), question)
    assert recorded(tmp_path) == recorded(trained)
    names = assert_same_nets(tmp_path, trained)
    assert any(name.startswith("model_state/carry/") for name in names)


@pytest.fixture
def call(capsys):
    """A command line on the small text: code, stdout, stderr."""

    def run(line, entries=ENTRIES):
        code = main(entries, shlex.split(line), prog="launch.py")
        return code, *capsys.readouterr()

    return run


@pytest.mark.slow
def test_sample_writes_after_the_prompt(call, trained):
    code, out, err = call(f"sample {trained} --prompt 'the ' --length 30 --cell 1")
    assert (code, err) == (0, "") and out.startswith("the ") and len(out) == 4 + 30 + 1
    assert set(out) <= set(TEXT.vocabulary)
    assert call(f"sample {trained} --prompt 'the ' --length 30 --cell 1")[1] == out
    assert call(f"sample {trained} --prompt 'the ' --length 30 --cell 1 --seed 1")[1] != out
    cold = f"sample {trained} --prompt 'the ' --length 30 --temperature 0"
    assert call(cold)[1] == call(f"{cold} --seed 1")[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            "--prompt 'the äéz'",
            "--prompt: not among the 15 characters the net knows: 'ä', 'é', 'z'",
        ),
        ("--length 0", "--length 0: from 1 to"),
        ("--length 100000000000", "--length 100000000000: from 1 to"),
        ("--seed 99999999999999999999999", "--seed 99999999999999999999999: at most"),
        ("--temperature=-1", "--temperature -1: 0 (takes the likeliest), or 1e-20 to 1e+20"),
        ("--temperature 1e-30", "--temperature 1e-30: 0 (takes the likeliest), or 1e-20"),
        ("--temperature 1e40", "--temperature 1e+40: 0 (takes the likeliest), or 1e-20"),
        ("--cell 2", "--cell 2: the study has 0 to 1"),
        ("--replica 4", "--replica 4: the study has seeds 0 to 0"),
        ("--lenght 3", "did you mean --length?"),
    ],
)
def test_mistakes_of_sampling_are_one_line(call, trained, flags, message):
    code, out, err = call(f"sample {trained} {flags}")
    assert (code, out) == (2, "") and message in err and err.count("\n") == 1


def refused(changes: dict[str, Any]) -> str:
    with pytest.raises(UsageError) as told:
        EXPERIMENT.check(replace(CONFIG, changes), TEXT.spec)
    return str(told.value)


def test_refusals_name_the_flags():
    assert refused({"tied": True, "embedding": 6}).startswith("--tied: weights are shared by --emb")
    assert refused({"bidirectional": True}).startswith("--bidirectional")
    assert refused({"window": 0}) == "--window 0: at least 1"
    assert refused({"embedding_dropout": 1.0}).startswith("--embedding-dropout 1.0")
    assert "--window 200 tokens: more than the 275 tokens" in refused({"window": 200})
    assert refused({"batch_size": 0}) == "--batch-size 0: at least 1"
    EXPERIMENT.check(replace(CONFIG, {"tied": True, "width": (4, 8)}), TEXT.spec)


@pytest.mark.slow
def test_it_learns_a_text_by_heart():
    """The train step of the engine, in one trace."""
    config = replace(CONFIG, {"learning_rate": 0.03, "epochs": 40, "width": (24,)})
    static, floats = split(config)
    trainer = Trainer(EXPERIMENT, static, TEXT.spec, 40 * 11)
    replica = Replica({k: jnp.float32(v) for k, v in floats.items()}, jnp.int32(0))
    data = Data(jax.tree.map(jnp.asarray, dict(TEXT.splits)), {})

    bounds = jnp.int32(0), jnp.int32(11)

    @jax.jit
    def whole(replica, data):
        def epoch(state, number):
            xs = trainer.epoch_inputs(replica, data, number)
            sums = trainer.zero_sums(replica, data, xs)
            state, sums = trainer.train(state, sums, replica, data, xs, *bounds)
            return state, sums["loss"] / 11

        return jax.lax.scan(epoch, trainer.init(replica), jnp.arange(40))[1]

    losses = whole(replica, data)
    assert losses[0] > 2 and losses[-1] < 0.1


@pytest.mark.slow
def test_the_command_line_runs_and_writes(call, tmp_path):
    folder = tmp_path / "run"
    flags = "--width 8 --embedding 8 --batch-size 3 --window 8 --epochs 2 --lanes 1 --devices 1"
    code, out, _ = call(f"run language_model {flags} --learning-rate 0.01 --out {folder}")
    assert code == 0 and "loss, 1 cell x 1 seed: mean" in out
    code, out, _ = call(f"sample {folder} --prompt 'a dog' --length 5")
    assert code == 0 and out.startswith("a dog") and len(out) == 5 + 5 + 1
    assert call(f"sample {folder} --length 5")[1].startswith("\n")
    (folder / "parameters" / "cell_0-vocabulary.json").write_text("x")
    code, out, err = call(f"sample {folder}")
    assert (code, out) == (2, "") and "missing or damaged; `reproduce" in err


def test_help_says_what_sample_takes(call):
    code, out, err = call("sample --help")
    assert (code, err) == (0, "") and out.startswith("usage: launch.py sample DIR")
    for flag in ("--prompt TEXT", "--length INT", "--temperature FLOAT", "--cell INT"):
        assert flag in out


def test_a_folder_of_another_experiment_is_refused(call, trained):
    other = dataclasses.replace(EXPERIMENT, sample=None)
    code, out, err = call(f"sample {trained}", {"language_model": Entry("", lambda: other)})
    assert (code, out) == (2, "")
    assert "belongs to the experiment 'language_model', whose nets write no text" in err


def test_the_net_of_a_config_has_its_options():
    changes = {"tied": True, "embedding_dropout": 0.2, "compute_dtype": "bfloat16"}
    net = EXPERIMENT.make_net(replace(CONFIG, changes), TEXT.spec)
    assert isinstance(net, LanguageModel)
    assert (net.tied, net.dropout, net.stack.dtype, net.streams) == (True, 0.2, jnp.bfloat16, 3)
