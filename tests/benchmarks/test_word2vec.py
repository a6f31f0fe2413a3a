"""Both sides of the word vector benchmark read the same words and are judged alike."""

import numpy as np
import pytest

from experiments.benchmarks import ablax_words, word2vec
from experiments.benchmarks.words import WordProblem, scores, sentences, text_of

PROBLEM = WordProblem(None, "python_docs", epochs=2, dimension=8)


def test_sentences_are_the_words_of_the_text():
    dataset = text_of(PROBLEM)
    lines = sentences(dataset)
    assert sum(map(len, lines)) == dataset.spec.train_rows
    numbers = {word: number for number, word in enumerate(dataset.vocabulary)}
    read = [numbers[word] for line in lines for word in line]
    np.testing.assert_array_equal(read, dataset.splits["train"]["x"])
    held = dataset.splits["train"]["lines"]
    assert [len(line) for line in lines] == np.unique(held, return_counts=True)[1].tolist()


@pytest.mark.slow
def test_an_epoch_after_the_other_trains_the_tables():
    side = ablax_words.prepare(PROBLEM)
    running, dataset = ablax_words.HELD[0]
    before = np.array(running.states[0].params["input"])
    side.epoch()
    side.epoch()
    state = running.states[0]
    assert state.step[0] == 2 * running.program.steps_per_epoch
    assert not np.array_equal(state.params["input"], before)
    assert set(ablax_words.quality()) == {"bytes_per_word"}  # no word sets here
    assert ablax_words.quality()["bytes_per_word"] > 2 * 4 * 8 and len(dataset.vocabulary) > 100
    with pytest.raises(StopIteration):
        side.epoch()  # the rate has fallen to its end


def test_gensim_trains_on_the_same_vocabulary():
    pytest.importorskip("gensim", reason="gensim comes with `make bench`, not with the lock")
    from experiments.benchmarks import gensim_words

    side = gensim_words.prepare(PROBLEM)
    model, dataset = gensim_words.HELD[0]
    assert set(model.wv.index_to_key) == set(dataset.vocabulary)
    before = model.wv.vectors.copy()
    side.epoch()
    assert not np.array_equal(model.wv.vectors, before)
    assert scores(model.wv.vectors, dataset) == {}


def test_parity_is_a_welch_interval():
    ours, theirs = [0.342, 0.356, 0.364], [0.333, 0.334, 0.328]
    difference, low, high, verdict = word2vec.parity(ours, theirs)
    spread = np.var(ours, ddof=1) / 3 + np.var(theirs, ddof=1) / 3
    assert difference == pytest.approx(0.0223333, rel=1e-5)
    assert high - difference == pytest.approx(difference - low)
    # degrees of freedom 2.32 by Welch and Satterthwaite: the 97.5 % quantile lies between t(2)'s
    # 4.303 and t(3)'s 3.182
    assert 3.182 < (high - difference) / np.sqrt(spread) < 4.303
    assert verdict == "no worse"
    assert word2vec.parity([0.5, 0.51, 0.52], [0.1, 0.11, 0.12])[3] == "better"
    assert word2vec.parity([0.1, 0.11, 0.12], [0.5, 0.51, 0.52])[3] == "worse"
    assert word2vec.parity([0.5] * 3, [0.5] * 3) == (0.0, 0.0, 0.0, "no worse")


def test_without_gensim_one_message_and_exit_code_2(monkeypatch, capsys):
    monkeypatch.setitem(__import__("sys").modules, "gensim", None)
    assert word2vec.main([]) == 2
    assert "make bench" in capsys.readouterr().err


@pytest.mark.parametrize("argv", [["--epochs", "0"], ["--workers", "x"]])
def test_wrong_options_are_refused(argv, capsys):
    with pytest.raises(SystemExit) as refused:
        word2vec.main(argv)
    assert refused.value.code == 2
    assert argv[1] in capsys.readouterr().err


def test_a_missing_text_is_told_before_anything_is_trained(tmp_path, capsys):
    pytest.importorskip("gensim", reason="gensim comes with `make bench`, not with the lock")
    assert word2vec.main(["--dataset", "wikitext2", "--manual-dir", str(tmp_path)]) == 3
    assert "wikitext2 is not on this machine" in capsys.readouterr().err
