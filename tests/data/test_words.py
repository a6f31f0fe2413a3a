"""Texts as numbered words, and the sets that word vectors are judged by."""

import dataclasses
import io
import zipfile

import numpy as np
import pytest

from experiments.data import texts, words
from experiments.data.word_sets import read_sets
from experiments.data.words import Words, make_words
from experiments.engine.errors import AblaxError, DataMissingError, UsageError

TEXT = "The cat, the dog.\nA cat <unk> a\n\nthe rare The\n"
PARTS: dict[str, str] = dict.fromkeys(("train", "validation", "test"), TEXT)


def test_frequent_words_come_first_and_rare_ones_are_left_out():
    data = make_words("x", PARTS, Words(min_count=2), {})
    assert data.vocabulary == ("the", "a", "cat") and data.spec.vocabulary == 3
    train = data.splits["train"]
    assert train["counts"].tolist() == [4, 2, 2]
    assert train["x"].tolist() == [0, 2, 0, 1, 2, 1, 0, 0]
    assert train["lines"].tolist() == [0, 0, 0, 1, 1, 1, 3, 3]
    assert data.spec.train_rows == 8


def test_words_between_spaces_keep_their_capitals():
    data = make_words("x", PARTS, Words(min_count=1, words="spaces"), {})
    assert {"The", "the", "cat,", "dog.", "<unk>"} <= set(data.vocabulary)
    assert "<unk>" in make_words("x", PARTS, Words(min_count=1), {}).vocabulary


@pytest.fixture
def folder(tmp_path):
    sets = tmp_path / "word_eval"
    sets.mkdir()
    (sets / "EN-WS-353-ALL.txt").write_text("Cat\tThe\t7.5\ncat\tdog\t1.0\n")
    (sets / "questions-words.txt").write_text(
        ": capitals\nthe a cat the\n: gram1-x\na the cat a\nthe dog cat a\n"
    )
    return tmp_path


def test_sets_keep_the_rows_whose_words_are_known(folder):
    sets = read_sets(folder)
    assert set(sets) == {"wordsim353", "analogies"}
    found = make_words("x", PARTS, Words(min_count=2), sets).splits["sets"]
    assert found["wordsim353_words"].tolist() == [[2, 0]]
    assert found["wordsim353"].tolist() == [7.5]
    assert found["analogies_words"].tolist() == [[0, 1, 2, 0], [1, 0, 2, 1]]
    assert found["analogies"].tolist() == [0, 1]  # meaning, syntax
    fewer = make_words("x", PARTS, Words(min_count=2, top=2), sets).splits["sets"]
    assert fewer["analogies_words"].shape == (0, 4)
    assert read_sets(None) == read_sets(folder / "word_eval") == {}


@pytest.mark.parametrize(
    ("file", "content", "told"),
    [
        ("EN-WS-353-ALL.txt", b"", "ALL.txt: it has no rows"),
        ("EN-WS-353-ALL.txt", b"the cat 7.5\n", "line 1: expected two words and a number"),
        ("EN-WS-353-ALL.txt", b"the\tcat\n", "line 1: expected two words and a number with"),
        ("EN-SIMLEX-999.txt", b"the\tcat\t1\n\nthe\tcat\tnan\n", "line 3: expected two words"),
        ("EN-SIMLEX-999.txt", b"the\tcat\t1\r\nthe\tcaf\xe9\t1\r\n", "line 2: not UTF-8 (byte 7)"),
        ("questions-words.txt", b"", "words.txt: it has no rows"),
        ("questions-words.txt", b": gram\n", "words.txt: it has no rows"),
        ("questions-words.txt", b": \nthe a cat the\n", "line 1: expected four words, or a colon"),
        ("questions-words.txt", b": gram\nthe a cat\n", "line 2: expected four words"),
        ("questions-words.txt", b"the a cat the a\n", "line 1: expected four words"),
    ],
)
def test_sets_of_another_form_are_told_by_file_and_line(folder, file, content, told):
    (folder / "word_eval" / file).write_bytes(content)
    with pytest.raises(DataMissingError) as refused:
        words.load(Words(), folder)
    assert told in str(refused.value) and "\n" not in str(refused.value)
    assert str(folder / "word_eval" / file) in str(refused.value)


def test_a_folder_that_is_not_there_is_told(tmp_path):
    with pytest.raises(UsageError, match=r"--manual-dir .*nowhere: there is no such folder"):
        words.load(Words(), tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "no words"),
        (b"...\n", "no words"),
        (b"one\n", "0 of its 1 words"),
        (b"a b a a a a a a a a a a a\n", "1 of its 2 words"),
        (b"caf\xe9 au lait\n", "not UTF-8 (byte 3)"),
        (None, "no such file"),
    ],
)
def test_what_is_no_text_is_told_in_one_line(tmp_path, content, told):
    path = tmp_path / "text.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(AblaxError) as refused:
        words.load(Words(dataset="text", text_file=str(path)))
    assert refused.value.code == (3 if "UTF-8" in told or content is None else 2)
    assert told in str(refused.value) and "\n" not in str(refused.value)
    assert "text.txt" in str(refused.value)


def test_a_file_needs_its_name_and_only_it():
    for config in (Words(dataset="text"), Words(text_file="x")):
        with pytest.raises(UsageError, match="go together"):
            words.load(config)


def test_unknown_words_of_a_picture_name_the_nearest():
    with pytest.raises(UsageError, match="did you mean 'king'"):
        words.numbers_of(["kink"], ("queen", "king"))
    assert words.numbers_of(["king", "queen"], ("queen", "king")).tolist() == [1, 0]


def test_text8_is_read_from_its_archive_or_plain(tmp_path, monkeypatch):
    text, buffer = " anarchism originated as a term" * 3, io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("text8", text)
    source = texts.SOURCES["text8"]
    assert all(len(digest) == 64 for digest in (*source.files.values(), source.unzipped[1]))
    known = dataclasses.replace(source, files={"text8.zip": ""}, unzipped=("text8", ""))
    monkeypatch.setitem(texts.SOURCES, "text8", known)
    (tmp_path / "text8.zip").write_bytes(buffer.getvalue())
    assert "".join(texts.splits_of("text8", tmp_path).values()) == text
    (tmp_path / "text8").write_text("plain")
    assert "".join(texts.splits_of("text8", tmp_path).values()) == "plain"
    with pytest.raises(DataMissingError, match=r"text8\.zip"):
        texts.splits_of("text8", tmp_path.parent)


def test_python_docs_have_words_that_count():
    data = words.load(Words())
    assert data.spec.train_rows > 40_000 and "object" in data.vocabulary
    counts = data.splits["train"]["counts"]
    assert counts.min() >= 5 and (np.diff(counts) <= 0).all()
    np.testing.assert_array_equal(np.bincount(data.splits["train"]["x"]), counts)


def test_a_file_that_is_written_anew_is_read_anew(tmp_path):
    path = tmp_path / "text.txt"
    config = Words(dataset="text", text_file=str(path), min_count=1)
    path.write_text("one two three four " * 10)
    first = words.load(config)
    assert words.load(config) is first
    path.write_text("five six seven " * 10)
    assert set(words.load(config).vocabulary) == {"five", "six", "seven"}


def test_a_byte_order_mark_is_no_part_of_a_text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_bytes(b"\xef\xbb\xbf" + b"the cat the dog " * 10)
    config = Words(dataset="text", text_file=str(path), min_count=1, words="spaces")
    assert set(words.load(config).vocabulary) == {"the", "cat", "dog"}
