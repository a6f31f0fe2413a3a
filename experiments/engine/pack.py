"""`pack`: one archive with everything a reader of a paper needs, and a methods paragraph."""

import gzip
import hashlib
import io
import pathlib
import tarfile
import textwrap
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.engine import answer, results
from experiments.engine.config import describe, get, leaves, spell
from experiments.engine.errors import UsageError
from experiments.engine.folder import looks_of
from experiments.engine.jobs import reporting_pairs
from experiments.engine.log import finished, read_lines
from experiments.engine.parameters import DIGEST, digest_of, parameters_path, read_parameters
from experiments.engine.paths import file_to_write
from experiments.engine.prepare import epochs_of
from experiments.engine.record import mixture
from experiments.engine.reopen import Reopened
from experiments.engine.sealed import read_json, write_bytes
from experiments.engine.sources import ROOT, archived_digests
from experiments.engine.study import Study, factors, label
from experiments.engine.tables import contradiction, read_results
from experiments.engine.tuning import missing_replicas
from experiments.engine.wording import count

LEFT_OUT = ("checkpoints", "lease.json")
STREAMS = {
    "init": "initial weights",
    "order": "data order",
    "noise": "noise",
    "split": "the choice of rows",
    "labels": "label noise",
}
MANIFEST, METHODS, LOCK = "MANIFEST.sha256", "METHODS.md", "requirements.lock"


def pack(opened: Reopened, out: str | pathlib.Path | None = None) -> tuple[pathlib.Path, str]:
    """Writes a finished study as one archive; equal folders give equal bytes.

    It holds the folder without checkpoints, the methods paragraph (`METHODS.md`), the lock file of
    the recorded environment if it is still the one here, and a checksum of every file.

    Returns:
        The archive, and the paragraph.

    Raises:
        UsageError: replicas are missing, the record is damaged, files contradict each other, or
            something in the folder cannot be packed.
    """
    folder, study = opened.folder.resolve(), opened.study
    target = file_to_write(out or folder.with_name(folder.name + ".tar.gz"))
    if target.resolve().is_relative_to(folder):
        raise UsageError(f"{target} is inside the study; choose another --out")
    lines = read_lines(folder)
    if missing := missing_replicas(study, opened.metrics, finished(lines)):
        what = f"{count(missing, 'replica')} not finished"
        raise UsageError(f"{folder}: {what}; `resume {folder}` goes on")
    _refuse_other_parameters(folder, lines)
    _refuse_other_table(folder, study, lines)
    try:
        record = read_json(folder / "record.json")
    except (OSError, ValueError) as error:
        raise UsageError(f"{folder / 'record.json'} cannot be read: {error}") from None
    looks = max(1, looks_of(opened.contents))
    analysis = results.answer(study, opened.metrics, lines, looks).analysis
    primary, looked = opened.metrics[0].name, opened.contents["looks"]
    paragraph = methods(study, record, primary, answer.methods(analysis), looked)
    if not _holds_sources(folder, record):
        paragraph += " The archive of its sources is lost."
    if name := results.saved_otherwise(folder, opened.contents, analysis):
        raise UsageError(
            f"{folder / name} is missing, damaged or not what metrics.jsonl says; "
            f"`resume {folder}` writes it anew"
        )
    try:
        write_bytes(target, _archive(folder.name, _contents(folder, paragraph, record)))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UsageError(f"{target} cannot be written: {error.strerror}") from None
    return target, paragraph


def _contents(folder: pathlib.Path, paragraph: str, record: Mapping[str, Any]) -> dict[str, bytes]:
    """The folder's files, and with them the paragraph, the lock file and the checksums."""
    files = _files(folder)
    files.pop(MANIFEST, None)  # of the archive that the folder was unpacked from
    text = textwrap.fill(paragraph, 100, break_on_hyphens=False)
    files[METHODS] = f"# Methods\n\n{text}\n".encode()
    lock = (ROOT / LOCK).read_bytes() if (ROOT / LOCK).exists() else b""
    if hashlib.sha256(lock).hexdigest() == record.get("lock_sha256"):
        files[LOCK] = lock
    sums = [f"{hashlib.sha256(content).hexdigest()}  {name}" for name, content in files.items()]
    return {**files, MANIFEST: ("\n".join(sums) + "\n").encode()}


def _files(folder: pathlib.Path) -> dict[str, bytes]:
    """What is packed of a folder: the contents of its files by their names."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if name.startswith(LEFT_OUT) or (path.is_dir() and not path.is_symlink()):
            continue
        if path.is_symlink() or not path.is_file() or not name.isprintable():
            raise UsageError(f"{str(path)!r} is no plain file with a plain name: move it away")
        found[name] = path.read_bytes()
    return found


def _holds_sources(folder: pathlib.Path, record: Mapping[str, Any]) -> bool:
    """Whether an archive of a folder has the recorded sources; refuses damaged ones."""
    digests = []
    for path in sorted(folder.glob("*sources*.tar.gz")):
        try:
            digests.append(archived_digests(path))
        except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
            raise UsageError(
                f"{path} is damaged ({error}): restore it, or remove it, and the paragraph says so"
            ) from None
    return any(record["sources"].items() <= each.items() for each in digests)


def _refuse_other_parameters(folder: pathlib.Path, lines: Sequence[Mapping[str, Any]]) -> None:
    for line in finished(lines).values():
        if DIGEST in line:
            arrays = read_parameters(folder, line["cell"], line["seed"])
            if arrays is None or digest_of(arrays) != line[DIGEST]:
                path = parameters_path(folder, line["cell"], line["seed"])
                raise UsageError(
                    f"{path} is missing, damaged or not what was recorded: restore it, or take "
                    f"its like from `reproduce {folder}`"
                )


def _refuse_other_table(
    folder: pathlib.Path, study: Study, lines: Sequence[Mapping[str, Any]]
) -> None:
    rows, pairs = read_results(folder), {*reporting_pairs(study)}
    for line in finished(lines).values():
        place = line["cell"], line["seed"]
        if line["phase"] != "report" or place not in pairs:
            continue
        if place not in rows or contradiction(study, line, rows[place]):
            text = f"results.csv does not hold what metrics.jsonl does of cell {place[0]}, seed"
            raise UsageError(f"{folder}: {text} {place[1]}; `resume {folder}` writes it anew")


def _archive(name: str, files: Mapping[str, bytes]) -> bytes:
    """A gzip-compressed tar without times or owners."""
    buffer = io.BytesIO()
    with (
        gzip.GzipFile(filename="", fileobj=buffer, mode="wb", mtime=0) as compressed,
        tarfile.open(fileobj=compressed, mode="w") as archive,
    ):
        for path, content in sorted(files.items()):
            entry = tarfile.TarInfo(f"{name}/{path}")
            entry.size, entry.mode = len(content), 0o644
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def methods(
    study: Study,
    record: Mapping[str, Any],
    primary: str,
    statistics: str,
    looks: Sequence[Mapping[str, Any]] = (),
) -> str:
    """What was done, as the paragraph of a paper.

    Args:
        record: `record.json`.
        primary: the metric that was declared.
        statistics: the sentences on tests and intervals.
        looks: with which seeds, epochs and margins the results were looked at; the last is last.
    """
    levels = [f"{name} ({', '.join(values)})" for name, values in factors(study).items()]
    grid = f"the grid of {_listed(levels)}" if levels else "one configuration"
    data = _listed([f"{d['name']} (sha256 {d['digest'][:12]})" for d in record["data"]])
    device, packages = record["device"], record["packages"]
    stack = _listed([f"{name} {packages[name]}" for name in ("jax", "flax", "optax")])
    commit = (record["git"]["commit"] or "unknown")[:12]
    changed = ", with uncommitted changes kept in its archive" if record["git"]["dirty"] else ""
    mixed = "".join(f" {sentence}." for sentence in mixture(record))
    anew = (
        f" The record of what was trained before {record['time']} was damaged."
        if record.get("begun_anew")
        else ""
    )
    return (
        f"We trained {grid} of the experiment {study.experiment.name} on {data}, "
        f"{len(study.cells)} cells with {study.seeds} seeds each; {_streams(study)} "
        f"so cells are paired by seed. The primary metric is {primary}."
        f"{_tuning(study)}{_looked(study, looks)} {_settings(study)} "
        f"{statistics} "
        f"Training ran in Python {record['python']} with {stack}, under commit {commit}{changed}, "
        f"on {device['count']} devices of kind {device['kind']} ({device['processor']}).{mixed}"
        f"{anew}"
    )


def _streams(study: Study) -> str:
    """What the seed drives, and what is pinned."""
    free = [meaning for name, meaning in STREAMS.items() if name not in study.fix]
    fixed = [meaning for name, meaning in STREAMS.items() if name in study.fix]
    pinned = f" ({_listed(fixed)} are those of seed 0 in all of them)" if fixed else ""
    driven = f"seed s drives {_listed(free)}" if free else "no random stream depends on the seed"
    return f"{driven} through the same named streams in every cell{pinned},"


def _tuning(study: Study) -> str:
    """What was tuned: in one go where all cells have the same grid."""
    cells: dict[str, list[str]] = {}
    for number, cell in enumerate(study.cells):
        grid = [f"{name} from {{{', '.join(map(spell, v))}}}" for name, v in cell.tune.items()]
        if grid:
            cells.setdefault(_listed(grid), []).append(label(study, number))
    if not cells:
        return ""
    where = "within each reporting seed"
    if not study.tune_per_seed:
        seeds = study.tune_seeds
        where = f"over {seeds} seeds of their own" if seeds > 1 else "of one seed of its own"
    chosen = f"Every cell's {next(iter(cells))} was chosen by its mean validation score {where}"
    if any(cell.tune != study.cells[0].tune for cell in study.cells):
        each = [f"of {_listed(labels)} {grid}" for grid, labels in cells.items()]
        chosen = f"By the mean validation score {where} were chosen, {'; '.join(each)}"
    return f" {chosen}; the reporting seeds were then trained afresh."


def _looked(study: Study, looks: Sequence[Mapping[str, Any]]) -> str:
    """How often, and when, results of the test split were looked at."""
    if len(looks) < 2:
        return " The test split was evaluated once, at the end."
    epochs = epochs_of(study.config)
    margins = any("margin" in look for look in looks)
    each = []
    for look in looks:
        margin = look.get("margin", study.margin)
        within = f" by the margin {margin:g}" if margin is not None else " without a margin"
        seeds, length = count(look["seeds"], "seed"), count(look.get("epochs", epochs), "epoch")
        each.append(f"{seeds} after {length}{within if margins else ''}")
    return f" Results of the test split were looked at {len(looks)} times: {_listed(each)}."


def _settings(study: Study) -> str:
    """What was set beside the factors: every field that is not at the experiment's default."""
    config, default = study.config, study.experiment.config
    free = {*study.vary, *study.tune}
    said = [
        f"{name} {text}"
        for name, text in describe(config).items()
        if name not in free and spell(get(default, name)) != text
    ]
    every = len(leaves(type(config)))
    changed = f"Settings beside the defaults: {_listed(said)}." if said else ""
    return f"{changed} All {every} fields of every replica are in results.csv.".strip()


def _listed(items: Sequence[str]) -> str:
    return " and ".join([", ".join(items[:-1]), items[-1]] if len(items) > 1 else items)
