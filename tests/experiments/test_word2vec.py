"""Word vectors: whole steps against loops in float64, and the commands of the experiment."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import EXPERIMENTS, word2vec
from experiments.engine.cli import main
from experiments.engine.config import replace, split
from experiments.engine.errors import UsageError
from experiments.engine.experiment import Data
from experiments.engine.keys import Streams
from experiments.engine.parameters import read_vocabulary
from experiments.engine.plan import Override
from experiments.engine.run import run_study
from experiments.engine.step import Replica, State, Trainer
from tests.experiments.stopped import assert_same_nets, recorded, stop_and_resume

pytestmark = pytest.mark.usefixtures("one_build")

TOPICS = ("red green blue pink brown white black grey", "cat dog cow pig hen fox owl bat")
TINY = {
    "dimension": 6, "window": 2, "batch_size": 32, "block": 8, "drawn": 4, "sample": 0.0,
    "epochs": 4, "learning_rate": 0.3, "most_uses": None,
}  # fmt: skip


@pytest.fixture(scope="session")
def topics_file(tmp_path_factory) -> str:
    """Lines of five words, all of one topic."""
    random, path = np.random.default_rng(0), tmp_path_factory.mktemp("topics") / "topics.txt"
    lines = [random.choice(TOPICS[n % 2].split(), 5) for n in range(1000)]
    path.write_text("\n".join(" ".join(line) for line in lines))
    return str(path)


def pieces(path, seed=0, **changes) -> tuple[Any, Trainer, Replica, Data]:
    """The pieces of one replica."""
    config = replace(
        word2vec.EXPERIMENT.config, {"dataset": "text", "text_file": path, **TINY} | changes
    )
    static, floats = split(config)
    dataset = word2vec.load(config, None)
    word2vec.check(config, dataset.spec)
    own = word2vec.prepare(config, dataset, Streams(seed))
    trainer = Trainer(word2vec.EXPERIMENT, static, dataset.spec, 100)
    traced = {name: jnp.float32(value) for name, value in floats.items()}
    splits = {name: dict(arrays) for name, arrays in dataset.splits.items()}
    data = Data(*jax.tree.map(jnp.asarray, (splits, own)))
    return config, trainer, Replica(traced, jnp.int32(seed)), data


@functools.partial(jax.jit, static_argnums=0)
def steps(trainer: Trainer, state: State, replica: Replica, data: Data, count: int) -> State:
    xs = trainer.epoch_inputs(replica, data, jnp.int32(0))
    zeros = trainer.zero_sums(replica, data, xs)
    return trainer.train(state, zeros, replica, data, xs, jnp.int32(0), jnp.int32(count))[0]


@functools.partial(jax.jit, static_argnums=0)
def begin(trainer: Trainer, replica: Replica) -> State:
    return trainer.init(replica)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def loop(config, params, batch, rate):
    """One update of both tables, word by word, in float64."""
    inputs, outputs = (params[name].copy() for name in ("input", "output"))
    moves = [np.zeros_like(inputs), np.zeros_like(outputs)]
    near, signs = batch["near"], batch.get("signs")
    for block, centre in np.ndindex(near.shape[0], near.shape[2]):
        words = batch["inputs"][block][near[block, :, centre]]
        alone = config.model.context == "skip_gram"
        for group in [[word] for word in words] if alone else [words] if len(words) else []:
            share = 1.0 if config.model.context == "cbow_sum" else 1 / len(group)
            state = share * inputs[group].sum(0)
            by_state = np.zeros_like(state)
            if signs is None:
                drawn = batch["outputs"][block, near.shape[2] :]
                weight = config.model.negatives / len(drawn)
                targets = [(batch["outputs"][block, centre], 1, 1.0)]
                targets += [(word, -1, weight) for word in drawn]
            else:
                path = zip(batch["outputs"][block, centre], signs[block, centre], strict=True)
                targets = [(node, sign, 1.0) for node, sign in path if sign]
            for row, sign, weight in targets:
                pull = weight * sign * sigmoid(-sign * (state @ outputs[row]))
                by_state += pull * outputs[row]
                moves[1][row] += rate * pull * state
            if config.training.shared_error == "word2vec":
                share = 1 / len(group) if config.model.context == "cbow_sum" else 1.0
            for word in group:
                moves[0][word] += rate * share * by_state
    return {"input": inputs + moves[0], "output": outputs + moves[1]}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("context", "output", "shared"),
    [
        ("skip_gram", "negative", "exact"),
        ("cbow_mean", "negative", "word2vec"),
        ("cbow_sum", "negative", "word2vec"),
        ("next_word", "negative", "exact"),
        ("cbow_sum", "hierarchical", "exact"),
    ],
)
def test_steps_are_those_of_a_loop_over_words(topics_file, context, output, shared):
    config, trainer, replica, data = pieces(
        topics_file, context=context, output=output, shared_error=shared
    )
    state = begin(trainer, replica)
    expected = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), dict(state.params))
    xs = jax.jit(trainer.epoch_inputs)(replica, data, jnp.int32(0))
    for step in range(3):
        x = jax.tree.map(lambda leaf, n=step: leaf[n], xs)
        key = jax.random.fold_in(_noise(replica), step)
        batch = word2vec.make_batch(config, data, x, jax.random.fold_in(key, 0))
        rate = 0.3 * (1 - 0.996 * step / 100)
        expected = loop(config, expected, jax.tree.map(np.asarray, batch), rate)
    found = steps(trainer, state, replica, data, 3)
    assert np.abs(expected["output"]).max() > 0.1
    for name, table in expected.items():
        np.testing.assert_allclose(found.params[name], table, rtol=1e-3, atol=1e-5)


def _noise(replica):
    from experiments.engine.keys import key_of

    return key_of(replica.seed, "noise")


@pytest.mark.slow
def test_a_softmax_begins_at_guessing_and_learns(topics_file):
    _, trainer, replica, data = pieces(
        topics_file, context="cbow_mean", output="softmax", learning_rate=0.05
    )
    state = begin(trainer, replica)
    measured = jax.jit(trainer.evaluate, static_argnums=3)
    before, _ = measured(trainer.current(state, replica), replica, data, "train")
    state = steps(trainer, state, replica, data, data.own["blocks"].shape[0])
    after, _ = measured(trainer.current(state, replica), replica, data, "train")
    assert before["loss"] == pytest.approx(np.log(16), rel=1e-3)
    assert after["loss"] < 0.95 * np.log(16) and after["closeness"] > 0.6


@pytest.mark.slow
def test_vectors_are_judged_alike_however_their_text_was_read(topics_file):
    """The same tables under other training options: one block at a time, and one word."""
    random, found = np.random.default_rng(0), []
    tables = {name: jnp.float32(random.normal(size=(16, 6))) for name in ("input", "output")}
    for reading in ({}, {"batch_size": 8}, {"batch_size": 64, "block": 1}, {"window": 4}):
        config, _, _, data = pieces(topics_file, dynamic=False, **reading)
        scores, _ = word2vec.evaluate(config, None, tables, {}, data, "validation")
        found.append(float(scores["closeness"]))
    assert len(set(found)) == 1 and found[0] != 0.5


def test_a_closeness_is_a_share_of_as_many_pairs_as_are_said(topics_file):
    random = np.random.default_rng(0)
    config, _, _, data = pieces(topics_file)
    pairs = word2vec.examples(word2vec.load(config, None))
    evaluate = jax.jit(lambda tables: word2vec.evaluate(config, None, tables, {}, data, "test")[0])
    for _ in range(4):
        tables = {name: jnp.float32(random.normal(size=(16, 6))) for name in ("input", "output")}
        won = 2 * pairs * float(evaluate(tables)["closeness"])  # equals count half
        assert won == pytest.approx(round(won), abs=0.01) and 0 < won < 2 * pairs


@pytest.mark.parametrize("words", [2, 40, 500, 10**6])
def test_few_words_are_cut_so_that_strangers_are_left(words):
    size, together = word2vec.evaluation_blocks(words)
    assert word2vec.EVALUATION_REACH < size <= word2vec.EVALUATION_BLOCK
    assert 2 <= together <= word2vec.EVALUATION_BLOCKS
    assert (together - 1) * size < max(words, size + 1)  # no block is empty, but of two


@pytest.mark.slow
def test_replicas_side_by_side_are_those_alone(topics_file):
    _, trainer, _, data = pieces(topics_file)
    both = Replica(
        {name: jnp.stack([value, value]) for name, value in pieces(topics_file)[2].floats.items()},
        jnp.arange(2, dtype=jnp.int32),
    )
    lanes = jax.vmap(lambda r: steps(trainer, trainer.init(r), r, data, 5))(both)
    for lane in range(2):
        alone = jax.tree.map(lambda leaf, n=lane: leaf[n], both)
        found = steps(trainer, begin(trainer, alone), alone, data, 5)
        for name in ("input", "output"):
            np.testing.assert_allclose(lanes.params[name][lane], found.params[name], atol=1e-5)


@pytest.mark.slow
def test_a_rate_that_is_too_large_freezes_the_replica(topics_file):
    _, trainer, replica, data = pieces(topics_file, context="cbow_sum", learning_rate=1e3)
    state = steps(trainer, begin(trainer, replica), replica, data, 9)
    assert 0 <= state.diverged < 9 and state.step == 9
    assert all(np.isfinite(table).all() for table in state.params.values())


@pytest.mark.slow
def test_crowded_rows_move_less(topics_file):
    moved = []
    for most in (None, 1.0):
        _, trainer, replica, data = pieces(topics_file, most_uses=most)
        first = begin(trainer, replica)
        found = steps(trainer, first, replica, data, 2)
        moved.append(np.abs(found.params["output"]).sum())
    assert moved[1] < 0.2 * moved[0]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"window": 5}, "--window 5: larger than the longest line"),
        ({"pictured": ("red", "cat", "foz")}, "did you mean 'fox'"),
        ({"pictured": ("red",)}, "at least three"),
        ({"batch_size": 20}, "a multiple of --block 8"),
        ({"dimension": 0}, "--dimension 0: at least 1"),
        ({"learning_rate": 0.0}, "--learning-rate"),
        ({"end_factor": 2.0}, "--end-factor"),
        ({"sample": -1.0}, "--sample"),
        ({"most_uses": 0.0}, "--most-uses"),
    ],
)
def test_values_that_cannot_work_are_refused(topics_file, changes, told):
    with pytest.raises(UsageError, match=told.replace("(", r"\(")):
        pieces(topics_file, **changes)


def test_lines_of_single_words_have_no_pairs(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("one\ntwo\n" * 40)
    with pytest.raises(UsageError, match="no line of its train text has two"):
        pieces(str(path))


@pytest.mark.slow
def test_resumed_in_mid_epoch_is_uninterrupted_to_the_bit(topics_file, monkeypatch, tmp_path):
    values = {"dataset": "text", "text_file": topics_file, **TINY}
    config = replace(word2vec.EXPERIMENT.config, values)

    def train(name, calls):
        run_study(
            word2vec.EXPERIMENT, config, seeds=2, out=tmp_path / name, echo=lambda text: None,
            override=Override(lanes=2, devices=1, steps_per_call=calls),
        )  # fmt: skip

    train("whole", 1000)
    part = tmp_path / "part"
    stop_and_resume(monkeypatch, part, lambda: train("part", 1), 5)
    assert recorded(part) == recorded(tmp_path / "whole")
    assert assert_same_nets(part, tmp_path / "whole") == {"params/input", "params/output"}


@pytest.fixture(scope="module")
def folder(topics_file, tmp_path_factory):
    """A trained net of the topics."""
    path = tmp_path_factory.mktemp("trained") / "DIR"
    options = {
        **TINY, "text_file": topics_file, "out": path, "pictured": "red,blue,cat,dog",
        "output": "hierarchical", "learning_rate": 0.05, "most_uses": 50,
    }  # fmt: skip
    spelled = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    assert main(EXPERIMENTS, ["run", "word2vec", "--dataset=text", *spelled], prog="x") == 0
    return path


def asked(capsys, *words):
    code = main(EXPERIMENTS, list(map(str, words)), prog="launch.py")
    return code, capsys.readouterr()


def test_neighbours_are_of_the_same_topic(folder, capsys):
    code, found = asked(capsys, "nearest", folder, "red", "Owl", "--count", 7)
    first, second = (part.split() for part in found.out.split("\n\n"))
    assert code == 0 and set(first[1::2]) == set(TOPICS[0].split()) - {"red"}
    assert set(second[1::2]) == set(TOPICS[1].split()) - {"owl"}
    assert (folder / "pictures" / "cell_0" / "words.png").is_file()
    code, found = asked(capsys, "analogy", folder, "red", "blue", "cat", "--method", "mul")
    assert code == 0 and found.out.startswith("red is to blue as cat is to:\n")
    assert not {"red", "blue", "cat"} & set(found.out.partition("\n")[2].split())


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("nearest", "DIR", "foxx"), "did you mean 'fox'?"),
        (("nearest", "DIR", "0123456789"), "none is spelled much like it"),
        (("nearest", "DIR"), "nearest takes a folder and words"),
        (("analogy", "DIR", "red", "blue"), "analogy takes a folder and three words"),
        (("nearest", "DIR", "red", "--count", "0"), "--count 0: at least 1"),
        (("export", "DIR", "--out", "nowhere/v.txt"), "no folder nowhere"),
        (("export", "DIR", "--out", "/"), "--out / is a folder; name a file"),
        (("sample", "DIR"), "whose nets write no text"),
    ],
)
def test_wrong_questions_are_told_in_one_line(folder, capsys, words, told):
    code, found = asked(capsys, *(folder if word == "DIR" else word for word in words))
    assert code == 2 and told in found.err and found.err.count("\n") == 1


def test_an_analogy_needs_a_word_that_was_not_given(folder, capsys):
    vocabulary = read_vocabulary(folder, 0)
    assert vocabulary is not None
    first = vocabulary[0]
    code, found = asked(capsys, "analogy", folder, first, "red", "blue", "--top", 1)
    assert code == 2 and "--top 1: no word but those given is among them" in found.err
    code, found = asked(capsys, "analogy", folder, first, first, first, "--count", 100)
    assert code == 0 and len(found.out.splitlines()) == 1 + 15


def test_vectors_are_exported_as_word2vec_writes_them(folder, capsys):
    with np.load(folder / "parameters" / "cell_0-seed_0.npz") as kept:
        table = kept["params/input"]
    for form, name in (("text", "vectors.txt"), ("binary", "vectors.bin")):
        assert asked(capsys, "export", folder, "--format", form)[0] == 0
        content = (folder / name).read_bytes()
        header, rest = content.split(b"\n", 1)
        assert header == b"16 6"
        if form == "text":
            rows = [line.split() for line in rest.decode().splitlines()]
            np.testing.assert_array_equal(np.array([r[1:] for r in rows], np.float32), table)
        else:
            word, numbers = rest.split(b" ", 1)
            assert word.decode() in " ".join(TOPICS)
            np.testing.assert_array_equal(np.frombuffer(numbers[:24], "<f4"), table[0])


def test_gensim_loads_the_export_and_agrees_on_cosines(folder, capsys):
    models = pytest.importorskip("gensim.models", reason="gensim comes with `make bench`")
    with np.load(folder / "parameters" / "cell_0-seed_0.npz") as kept:
        table = kept["params/input"]
    unit = table / np.linalg.norm(table, axis=1, keepdims=True)
    for form, name in (("text", "vectors.txt"), ("binary", "vectors.bin")):
        assert asked(capsys, "export", folder, "--format", form)[0] == 0
        read = models.KeyedVectors.load_word2vec_format(folder / name, binary=form == "binary")
        for i, one in enumerate(read.index_to_key):
            found = [read.similarity(one, other) for other in read.index_to_key]
            np.testing.assert_allclose(found, unit @ unit[i], atol=1e-5)
