"""Texts as tokens: splits, vocabularies, files."""

import dataclasses
import hashlib
import io
import urllib.error
import urllib.request

import numpy as np
import pytest

from experiments.data import texts
from experiments.data.text import cut, encode, join_units, make_text, split_units
from experiments.engine.errors import DataMissingError, UsageError

LINES = "one two\nthree one\n"


def test_characters_are_numbered_in_sorted_order_of_the_training_text():
    data = make_text("x", {"train": "banana", "validation": "ban", "test": "nab"}, "character")
    assert data.vocabulary == ("a", "b", "n") and data.spec.vocabulary == 3
    assert data.spec.train_rows == 6 and data.spec.classes == 0
    assert data.splits["train"]["x"].tolist() == [1, 0, 2, 0, 2, 0]
    assert data.splits["train"]["x"].dtype == np.uint8
    assert data.splits["test"]["characters"].tolist() == [2]


def test_an_unknown_unit_stands_for_what_training_lacks_or_holds_once():
    data = make_text("x", {"train": "aabbz", "validation": "abc", "test": "zd"}, "character")
    assert data.vocabulary == ("a", "b", "\ufffd")
    assert data.splits["train"]["x"].tolist() == [0, 0, 1, 1, 2]
    assert data.splits["validation"]["x"].tolist() == [0, 1, 2]
    assert data.splits["test"]["x"].tolist() == [2, 2]


def test_a_text_with_an_unknown_word_of_its_own_keeps_its_rare_words():
    parts = {"train": "a a <unk> rare\n", "validation": "a new\n", "test": "a rare\n"}
    data = make_text("x", parts, "word")
    assert data.vocabulary == ("<eos>", "<unk>", "a", "rare")
    assert data.splits["validation"]["x"].tolist() == [2, 1, 0]
    assert data.splits["train"]["characters"].tolist() == [len(parts["train"]) - 1]


@pytest.mark.parametrize(
    ("first", "unit"),
    [
        ("one", "word"), ("  one", "word"), ("\n", "word"), (" \t\n", "word"), ("<eos>", "word"),
        ("\n", "character"), (" ", "character"),
    ],
)  # fmt: skip
def test_the_characters_after_the_first_token_are_counted(first, unit):
    rest = " two\n\none\n"
    data = make_text("x", dict.fromkeys(texts.SPLITS, first + rest), unit)
    assert data.splits["validation"]["characters"].tolist() == [len(rest)]


def test_words_end_lines_and_come_back():
    words = split_units(LINES, "word")
    assert words == ["one", "two", "<eos>", "three", "one", "<eos>"]
    assert join_units(words, "word") == LINES
    assert join_units(split_units(LINES, "character"), "character") == LINES


def test_other_vocabularies_have_other_digests():
    one, other = (make_text("x", dict.fromkeys(texts.SPLITS, t), "character") for t in ("ab", "cd"))
    assert np.array_equal(one.splits["train"]["x"], other.splits["train"]["x"])
    assert one.digest != other.digest


def test_a_text_is_cut_as_tfds_cuts_it():
    sizes = [len(part) for part in cut("x" * 1_115_394).values()]
    assert sizes == [1_003_854, 55_770, 55_770]


def test_python_docs_are_embedded():
    data = texts.load("python_docs", "character")
    assert texts.load("python_docs", "character") is data
    spelled = "".join(data.vocabulary[i] for i in data.splits["train"]["x"][:2000])
    assert spelled == texts.python_docs()[:2000]
    assert "assert_stmt" not in data.vocabulary and 'The "assert" statement' in spelled


def test_a_prompt_holds_only_known_units():
    vocabulary = ("<eos>", "a", "b")
    assert encode("a b\na", vocabulary, "word").tolist() == [1, 2, 0, 1]
    with pytest.raises(UsageError, match=r"--prompt: not among the 3 words .*: 'c', 'd'$"):
        encode("a c d c", vocabulary, "word")
    with pytest.raises(UsageError, match="at least one character"):
        encode("", ("a",), "character")


def source(*contents, url=""):
    """Files of these contents, with their sums."""
    sums = {f"{i}.txt": hashlib.sha256(text).hexdigest() for i, text in enumerate(contents)}
    return texts.Source("some", sums, url)


def test_files_are_found_and_checked(tmp_path):
    given = [b"ab", b"abc", b"abcd"]
    folder = tmp_path / "some"
    folder.mkdir()
    with pytest.raises(DataMissingError, match=r"0\.txt is not in") as told:
        texts.read("set", source(*given), tmp_path)
    assert "Put 0.txt, 1.txt, 2.txt into" in str(told.value) and "--manual-dir" in str(told.value)
    for number, content in enumerate(given):
        (folder / f"{number}.txt").write_bytes(content)
    read = texts.read("set", source(*given), tmp_path)
    assert read == {"train": "ab", "validation": "abc", "test": "abcd"}
    (folder / "1.txt").write_bytes(b"abd")
    with pytest.raises(DataMissingError, match=r"1\.txt is not the published file \(3 bytes\)"):
        texts.read("set", source(*given), tmp_path)
    unchecked = dataclasses.replace(source(*given), files=dict.fromkeys(source(*given).files, ""))
    assert texts.read("set", unchecked, tmp_path)["validation"] == "abd"
    with pytest.raises(UsageError, match="no such folder"):
        texts.read("set", unchecked, tmp_path / "nowhere")


def test_files_without_sums_are_read_as_what_they_are(tmp_path):
    files = {f"ptb.{split}.txt": "" for split in ("train", "valid", "test")}
    for name in files:
        (tmp_path / name).write_bytes(b"PK is no archive\n")
    assert texts.read("ptb", texts.Source("ptb", files), tmp_path)["test"] == "PK is no archive\n"
    (tmp_path / "ptb.valid.txt").write_bytes(b"caf\xe9\n")
    with pytest.raises(DataMissingError, match=r"/ptb\.valid\.txt: not UTF-8 \(byte 3\)"):
        texts.read("ptb", texts.Source("ptb", files), tmp_path)


def test_a_file_is_downloaded_once_and_only_where_that_is_allowed(tmp_path, monkeypatch):
    monkeypatch.setenv("ABLAX_DATA_DIR", str(tmp_path))
    text, asked = b"0123456789" * 2, []

    def answer(url, timeout):
        asked.append(url)
        return io.BytesIO(text)

    monkeypatch.setattr(urllib.request, "urlopen", answer)
    where = source(text, url="https://example.org/0.txt")
    with pytest.raises(DataMissingError):
        texts.read("set", where, tmp_path)
    for _ in range(2):
        assert texts.read("set", where, None)["train"] == text.decode()[:18]
    assert asked == [where.url]
    (tmp_path / "set" / "0.txt").write_bytes(b"")  # as a power cut may leave it
    assert texts.read("set", where, None)["train"] == text.decode()[:18]
    assert asked == [where.url] * 2 and (tmp_path / "set" / "0.txt").read_bytes() == text
    (tmp_path / "set" / "0.txt").unlink()
    text = b"something else"
    with pytest.raises(DataMissingError, match=r"example\.org/0\.txt is not the published file"):
        texts.read("set", where, None)

    def refuse(url, timeout):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    with pytest.raises(DataMissingError, match=r"cannot be had .*no network"):
        texts.read("set", where, None)


def test_a_text_without_sums_has_the_published_number_of_words(tmp_path):
    for split in ("train", "valid", "test"):
        (tmp_path / f"ptb.{split}.txt").write_text(" one two \n three \n")
    source = dataclasses.replace(texts.SOURCES["ptb"], words=(5, 5, 5))
    assert texts.read("ptb", source, tmp_path)["test"] == " one two \n three \n"
    told = r"ptb\.train\.txt has 5 words and ends of lines, where 929,589 were published"
    with pytest.raises(DataMissingError, match=told):
        texts.load("ptb", "word", tmp_path)


def test_one_word_is_nothing_to_learn():
    for train in ("a a a a", "b c d e"):
        told = "the one word that can be learned from its training text"
        with pytest.raises(UsageError, match=told):
            make_text("x", {"train": train, "validation": "a a", "test": "a a"}, "word")


def test_texts_without_sums_that_are_written_anew_are_read_anew(tmp_path, monkeypatch):
    unchecked = dataclasses.replace(texts.SOURCES["ptb"], words=())
    monkeypatch.setitem(texts.SOURCES, "ptb", unchecked)
    files = [tmp_path / f"ptb.{split}.txt" for split in ("train", "valid", "test")]
    for text in ("a b c\n", "x y\n"):
        for file in files:
            file.write_text(text)
        found = texts.load("ptb", "word", tmp_path)
        assert set(text.split()) == set(found.vocabulary) - {"<eos>"}
        assert texts.load("ptb", "word", tmp_path) is found


def test_a_file_of_ones_own_is_cut_and_read_anew_when_it_changes(tmp_path):
    path = tmp_path / "own.txt"
    for text in ("abc" * 40, "\ufeffxyz" * 40):
        path.write_text(text, encoding="utf-8")
        found = texts.load("text", "character", text_file=str(path))
        read = ["".join(found.vocabulary[i] for i in found.splits[s]["x"]) for s in texts.SPLITS]
        assert read == list(cut(text.removeprefix("\ufeff")).values())
        assert texts.load("text", "character", text_file=str(path)) is found
    for name, file in (("text", None), ("ptb", str(path))):
        with pytest.raises(UsageError, match="--dataset text and --text-file FILE go together"):
            texts.load(name, "character", text_file=file)
    path.write_text("a b", encoding="utf-8")
    with pytest.raises(UsageError, match="its validation text has fewer than two characters"):
        texts.load("text", "character", text_file=str(path))


def test_the_mark_of_a_line_end_inside_a_word_is_part_of_it():
    assert join_units(["a<eos>b", "c", "<eos>", "d"], "word") == "a<eos>b c\nd"
