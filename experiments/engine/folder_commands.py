"""What the verbs that work on study folders do: report, resume, reproduce, merge, ..."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from experiments.engine.cli import terminal_width
from experiments.engine.commands import account, memory_told
from experiments.engine.errors import AblaxError, UsageError
from experiments.engine.paths import file_to_write, path_of

if TYPE_CHECKING:
    from experiments import Entry
    from experiments.engine.reopen import Reopened

Entries = Mapping[str, "Entry"]
OptionsT = TypeVar("OptionsT")


def _read(options: OptionsT, argv: Sequence[str], usage: str) -> OptionsT:
    from experiments.engine import arguments
    from experiments.engine.options import Nothing

    return arguments.read(options, Nothing(), argv, usage, "options")[0]


def _reopen(experiments: Entries, folder: str) -> "Reopened":
    from experiments.engine.devices import setup
    from experiments.engine.folder import planned_devices
    from experiments.engine.reopen import reopen

    path = path_of(folder)
    setup(planned_devices(path))
    return reopen(experiments, path)


def report(experiments: Entries, folders: list[str], argv: Sequence[str], usage: str) -> int:
    """The answer of each folder, from what is recorded there, and its page."""
    from experiments.engine.options import Report
    from experiments.engine.page.papers import check, write_papers
    from experiments.engine.page.told import comparison_line, page_line
    from experiments.engine.page.vega import is_installed

    asked = _read(Report(), argv, usage).papers
    check(asked.figures, asked.tables)
    named: dict[Any, str] = {}
    for folder in folders:
        named.setdefault(path_of(folder).resolve(), folder)
    studies = [_reopen(experiments, folder) for folder in named.values()]
    for opened in studies:
        print(f"{opened.report(terminal_width(), account)}\n\n{page_line(opened)}")
        for path in write_papers(opened, **vars(asked)):
            print(path)
    if len(studies) > 1 and is_installed():
        print(comparison_line(studies))
    return 0


def resume(experiments: Entries, folders: list[str], argv: Sequence[str], usage: str) -> int:
    """Goes on with a folder's study; with more seeds or epochs if asked."""
    from experiments.engine.extend import add_epochs
    from experiments.engine.options import Resume
    from experiments.engine.page.told import page_line
    from experiments.engine.prepare import epochs_of
    from experiments.engine.reopen import reopened
    from experiments.engine.run import train_study
    from experiments.engine.study import checked
    from experiments.engine.trackers import trackers
    from experiments.engine.tracking import tracked

    asked = _read(Resume(), argv, usage)
    opened = _reopen(experiments, folders[0])
    if asked.more.epochs not in (None, epochs_of(opened.study.config)):
        opened = add_epochs(opened, asked.more.epochs, asked.more.manual_dir)
    if asked.more.seeds is not None and opened.study.part.seeds is not None:
        raise UsageError("--seeds: this is a shard of some seeds; cut the larger study again")
    seeds = asked.more.seeds
    if seeds is None:
        seeds = max(opened.study.seeds, opened.contents.get("seeds", 0))
    study = checked(dataclasses.replace(opened.study, seeds=seeds))
    given: dict[str, Any] = {"manual_dir": asked.more.manual_dir, "saving": asked.saving}
    followed = trackers(opened.folder, study)
    with memory_told(), tracked(opened.folder, followed, account):
        outcome = train_study(study, opened.folder, echo=account, width=terminal_width(), **given)
    page = page_line(reopened(outcome.folder, outcome.study))
    print(f"{outcome.text}\n\n{page}\n\nfolder: {outcome.folder}")
    return 0


def reproduce(experiments: Entries, folders: list[str], argv: Sequence[str], usage: str) -> int:
    """Trains a folder's study again; 0 only if every replica is the same."""
    from experiments.engine.options import Reproduce
    from experiments.engine.reproduce import reproduce

    asked = _read(Reproduce(), argv, usage)
    opened = _reopen(experiments, folders[0])
    with memory_told():
        findings = reproduce(opened, saving=asked.saving, echo=account, **vars(asked.again))
    print("\n".join(map(str, findings)))
    fine = sum(finding.is_fine for finding in findings)
    how = f" within {asked.again.tolerance:g}" if asked.again.tolerance else ""
    print(f"{fine} of {len(findings)} replicas reproduced{how or ' to the bit'}")
    return 0 if fine == len(findings) else AblaxError.code


def merge(experiments: Entries, folders: list[str], argv: Sequence[str], usage: str) -> int:
    """Joins the folders of a study's shards into the folder of the whole."""
    from experiments.engine.merge import merge
    from experiments.engine.options import Write
    from experiments.engine.page.told import page_line

    asked = _read(Write(), argv, usage)
    parts = [_reopen(experiments, folder) for folder in folders]
    whole = merge(parts, asked.target.out, account)
    text = whole.report(terminal_width(), account)
    print(f"{text}\n\n{page_line(whole)}\n\nfolder: {whole.folder}")
    return 0


def pack(experiments: Entries, folders: list[str], argv: Sequence[str], usage: str) -> int:
    """One archive with everything a reader needs, and a methods paragraph."""
    from experiments.engine.options import Write
    from experiments.engine.pack import pack

    asked = _read(Write(), argv, usage)
    target, paragraph = pack(_reopen(experiments, folders[0]), asked.target.out)
    print(f"{paragraph}\n\narchive: {target}")
    return 0


def sample(experiments: Entries, folders: list[str], argv: Sequence[str], usage: str) -> int:
    """What a trained language model writes after a prompt."""
    from experiments.engine.net_options import Sample
    from experiments.engine.sampling import sample

    asked = _read(Sample(), argv, usage)
    print(sample(_reopen(experiments, folders[0]), asked.writing))
    return 0


def nearest(experiments: Entries, named: list[str], argv: Sequence[str], usage: str) -> int:
    """The words whose vectors are most like those of some words."""
    from experiments.engine.net_options import Nearest
    from experiments.engine.word_vectors import WordVectors

    asked = _read(Nearest(), argv, usage).asking
    folder, *words = named
    vectors = WordVectors.read(_reopen(experiments, folder), asked.cell, asked.replica)
    found = {word: vectors.nearest(word, asked.count) for word in words}
    print("\n\n".join(f"{word}:\n{_listed(answers)}" for word, answers in found.items()))
    return 0


def analogy(experiments: Entries, named: list[str], argv: Sequence[str], usage: str) -> int:
    """The words that are to c as b is to a."""
    from experiments.engine.net_options import Analogy
    from experiments.engine.word_vectors import WordVectors

    asked = _read(Analogy(), argv, usage)
    folder, a, b, c = named
    net = asked.asking
    vectors = WordVectors.read(_reopen(experiments, folder), net.cell, net.replica)
    answers = vectors.analogy((a, b, c), net.count, asked.how.method, asked.how.top)
    print(f"{a} is to {b} as {c} is to:\n{_listed(answers)}")
    return 0


def _listed(answers: Sequence[tuple[str, float]]) -> str:
    size = max(len(word) for word, _ in answers)
    return "\n".join(f"  {word:<{size}}  {score:.3f}" for word, score in answers)


def export(experiments: Entries, folders: list[str], argv: Sequence[str], usage: str) -> int:
    """A file of word vectors, as word2vec writes them."""
    from experiments.engine.net_options import Export
    from experiments.engine.word_vectors import WordVectors

    asked = _read(Export(), argv, usage).exporting
    opened = _reopen(experiments, folders[0])
    vectors = WordVectors.read(opened, asked.cell, asked.replica)
    name = "vectors.txt" if asked.format == "text" else "vectors.bin"
    path = file_to_write(asked.out or opened.folder / name)
    vectors.write(path, asked.format)
    print(f"{len(vectors.vocabulary):,} vectors of {vectors.unit.shape[1]} numbers: {path}")
    return 0


VERBS: Mapping[str, Callable[[Entries, list[str], Sequence[str], str], int]] = {
    "report": report,
    "resume": resume,
    "reproduce": reproduce,
    "merge": merge,
    "pack": pack,
    "sample": sample,
    "nearest": nearest,
    "analogy": analogy,
    "export": export,
}
