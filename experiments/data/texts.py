"""Texts by name: embedded in Python, downloaded, or from the publishers' files."""

import contextlib
import dataclasses
import functools
import hashlib
import http.client
import io
import os
import urllib.request
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.data.dataset import Dataset
from experiments.data.files import check_folder, content, decoded
from experiments.data.prepared import data_dir
from experiments.data.text import SPLITS, Unit, cut, make_text, split_units
from experiments.engine.errors import DataMissingError, UsageError
from experiments.engine.paths import manual_folder, not_there, own_file, stamp

TEXTS = {
    "python_docs": "Python's documentation of its language, half a million characters; embedded",
    "tiny_shakespeare": "40,000 lines of Shakespeare, 1,115,394 characters; downloaded once",
    "wikitext2": "WikiText-2, 2,088,628 + 217,646 + 245,569 words of Wikipedia; --manual-dir",
    "text8": "100 million characters of Wikipedia, 17,005,207 words in one line; downloaded once",
    "ptb": "Penn Treebank as Mikolov prepared it, 929,589 + 73,760 + 82,430 words; --manual-dir",
}
PATIENCE = 10.0  # seconds in which a publisher's server must answer


@dataclasses.dataclass(frozen=True)
class Source:
    """The files of a text.

    Attributes:
        folder: below a folder of the publishers' files.
        files: name -> sha256 of its bytes; "" where copies in circulation may differ. One file for
            each split, or one that is cut.
        url: the publisher's address of the one file; "" where there is none to download from.
        unzipped: the one file of an archive, which may lie there in its place, and its sha256.
        words: published numbers of words and ends of lines of files without a sha256.
    """

    folder: str
    files: Mapping[str, str]
    url: str = ""
    unzipped: tuple[str, str] = ("", "")
    words: tuple[int, ...] = ()


SOURCES = {
    # Karpathy, char-rnn; the address and sum that TFDS registers.
    "tiny_shakespeare": Source(
        "tiny_shakespeare",
        {"input.txt": "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"},
        "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",
    ),
    # Merity et al. 2016, arXiv 1609.07843; sums of files that have the published numbers of words.
    "wikitext2": Source(
        "wikitext-2",
        {
            "wiki.train.tokens": "9e9fa1ad55b1c2c95b08e37dd8e653f638fac2c6de904b79e813611eefbc985f",
            "wiki.valid.tokens": "f0737ed31fc1329026e95cb8b98e19c2a182c39c240ab909dc31abf2f8af58e8",
            "wiki.test.tokens": "d790b833ef8cf03a90db7bf1271b7520b83c45ce07ba3c1a9699df81e239eca0",
        },
    ),
    # Mahoney 2006; sums that several projects check it by.
    "text8": Source(
        "text8",
        {"text8.zip": "a6640522afe85d1963ad56c05b0ede0a0c000dddc9671758a6cc09b7a38e5232"},
        "http://mattmahoney.net/dc/text8.zip",
        ("text8", "6e890197040d37d85beb962ae1f041ff1d9a9ca8d20c7d99c85027eebf51dca7"),
    ),
    # Mikolov et al. 2010.
    "ptb": Source(
        "ptb",
        {"ptb.train.txt": "", "ptb.valid.txt": "", "ptb.test.txt": ""},
        words=(929_589, 73_760, 82_430),
    ),
}


def load(
    name: str,
    unit: Unit,
    manual_dir: str | os.PathLike[str] | None = None,
    text_file: str | None = None,
) -> Dataset:
    """Loads a text by name, kept for the next that asks for it.

    Args:
        name: one of `TEXTS`, or "text" for a file of one's own.
        unit: what a token is.
        manual_dir: folder of the publishers' files; by default the environment variable
            ABLAX_MANUAL_DIR.
        text_file: path of the file of one's own.

    Raises:
        UsageError: there is no such folder, a split has fewer than two tokens, or a file was given
            without the name "text" or that without a file.
        DataMissingError: files are missing, damaged or not the published ones; says what to do.
    """
    check_own(name, text_file)
    folder = manual_folder(manual_dir)
    return _load(name, unit, folder, text_file, _written(name, folder, text_file))


def check_own(name: str, text_file: str | None) -> None:
    """Refuses a file without the name "text", and that without a file. Raises `UsageError`."""
    if (name == "text") != (text_file is not None):
        raise UsageError("--dataset text and --text-file FILE go together")


def _written(name: str, manual_dir: Path | None, text_file: str | None) -> tuple[Any, ...]:
    """What changes when files of a text are written anew that no digest knows."""
    if text_file is not None:
        return (stamp(own_file(text_file, manual_dir)),)
    source, folder = SOURCES.get(name), manual_dir or data_dir() / "manual"
    if source is None or all(source.files.values()):
        return ()
    places = (place for file in source.files for place in _places(source, file, folder))
    return tuple(map(stamp, places))


@functools.lru_cache(maxsize=4)
def _load(
    name: str,
    unit: Unit,
    manual_dir: Path | None,
    text_file: str | None,
    written: tuple[Any, ...],
) -> Dataset:
    """One reading; `written` tells files that were written anew apart."""
    del written
    return make_text(text_file or name, splits_of(name, manual_dir, text_file), unit)


def splits_of(name: str, manual_dir: Path | None, text_file: str | None = None) -> dict[str, str]:
    """The text of each split, by name or of a file of one's own; raises as `load` does."""
    if text_file is not None:
        return cut(_own(own_file(text_file, manual_dir)))
    if name == "python_docs":
        return cut(python_docs())
    return read(name, SOURCES[name], manual_dir)


def _own(path: Path) -> str:
    """A user's text. Raises `UsageError` or `DataMissingError` in one line."""
    if not path.exists():
        raise DataMissingError(f"--text-file {path}: {not_there(path)}")
    try:
        return decoded(f"--text-file {path}", path.read_bytes())
    except OSError as error:
        raise UsageError(f"--text-file {path}: {error.strerror}") from None


def python_docs() -> str:
    """The texts of `pydoc_data.topics`, in sorted order of topic.

    They differ between versions of Python, and so does the digest of the data set.
    """
    from pydoc_data.topics import topics

    return "".join(topics[name] for name in sorted(topics))


def read(name: str, source: Source, manual_dir: Path | None) -> dict[str, str]:
    """The text of each split.

    Raises:
        UsageError: there is no such folder.
        DataMissingError: a file is missing, not the published one, or not UTF-8.
    """
    if manual_dir is not None:
        check_folder(manual_dir)
    texts = [_file(name, source, file, manual_dir) for file in source.files]
    for file, text, words in zip(source.files, texts, source.words, strict=False):
        if (found := len(split_units(text, "word"))) != words:
            raise DataMissingError(
                f"{name}: {file} has {found:,} words and ends of lines, where {words:,} were "
                "published: it is cut, damaged or another file; bring the published one"
            )
    return cut(texts[0]) if len(texts) == 1 else dict(zip(SPLITS, texts, strict=True))


def _places(source: Source, file: str, folder: Path) -> list[Path]:
    return [folder / source.folder / file, folder / file]


def _file(name: str, source: Source, file: str, manual_dir: Path | None) -> str:
    """The text of a file, downloaded where that can be done and is not ruled out."""
    kept, manual = data_dir() / name / file, data_dir() / "manual"
    folder = manual_dir or manual
    places = _places(source, file, folder)
    if manual_dir is None and source.url:
        places.append(kept)
    plain, digest = source.unzipped
    for place in (folder / source.folder / plain, folder / plain):
        if plain and place.is_file():
            return _text(str(place), content(place), digest)
    for place in places:
        if place.is_file():
            data = content(place)
            if place == kept and _sha256(data) != source.files[file]:
                continue  # a download that was damaged since: once more
            return _text(str(place), data, source.files[file])
    reason = f"{file} is not in {folder / source.folder}"
    if manual_dir is None and source.url:
        try:
            with urllib.request.urlopen(source.url, timeout=PATIENCE) as answer:
                data = answer.read()
        except (OSError, http.client.HTTPException) as error:
            reason = f"{source.url} cannot be had ({error})"
        else:
            text = _text(source.url, data, source.files[file])
            _keep(kept, data)
            return text
    raise DataMissingError(
        f"{name} is not on this machine: {reason}\n"
        f"Put {', '.join(source.files)} into {folder / source.folder} and run the command again "
        f"with --manual-dir {folder} (or ABLAX_MANUAL_DIR={folder})."
    )


def _text(where: str, data: bytes, expected: str) -> str:
    """The text of a file, or of an archive's one file, if it is the published one."""
    found = _sha256(data)
    if expected and found != expected:
        raise DataMissingError(
            f"{where} is not the published file ({len(data):,} bytes)\n"
            f"  sha256 expected {expected}\n"
            f"  sha256 found    {found}\n"
            "Replace it by the published file and run the command again."
        )
    if where.endswith(".zip"):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            data = archive.read(archive.namelist()[0])
    return decoded(where, data)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _keep(path: Path, data: bytes) -> None:
    """Keeps a download for the next time, if the disk takes it; whole, or not at all."""
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}-{os.getpid()}")
        part.write_bytes(data)
        part.replace(path)
