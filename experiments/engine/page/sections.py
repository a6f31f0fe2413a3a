"""The parts of a study's page, each from the facts; "" where there is nothing to show."""

import base64
import math
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.engine.answer import answer, methods
from experiments.engine.cli import VERBS
from experiments.engine.config import describe
from experiments.engine.page import series
from experiments.engine.page.document import (
    choice,
    details,
    figure,
    items,
    pairs,
    section,
    text,
    tick,
)
from experiments.engine.page.drawn import PAIRS
from experiments.engine.page.facts import Facts
from experiments.engine.page.sheet import Sheet, to_html
from experiments.engine.record import mixture
from experiments.engine.study import factors
from experiments.engine.wording import count

PICTURE_BYTES = 6_000_000
"""Pictures beyond this many bytes stay in the folder, and the page says so."""


def title(facts: Facts) -> str:
    """The question; what is varied where none was asked."""
    varied = " x ".join(factors(facts.study)) or facts.study.name
    return facts.study.question or f"{facts.study.experiment.name}: {varied}"


def head(facts: Facts) -> str:
    """Question, answer and state."""
    question = title(facts)
    said = answer(facts.answer.analysis) if facts.answer and facts.finals else "No answer yet."
    done = f"{facts.wanted - facts.missing} of {count(facts.wanted, 'replica')} finished"
    kind = "state" if facts.state == "finished" else "state bad"
    return (
        f"<h1>{text(question)}</h1>\n"
        f'<p class="answer" id="answer">{text(said[:1].upper() + said[1:])}</p>\n'
        f'<p><span class="{kind}">{text(facts.state)}</span> {text(done)}</p>'
    )


def results(facts: Facts, tables: Sequence[Sheet]) -> str:
    """What the study says, as tables."""
    if facts.answer is None or not facts.finals:
        return ""
    main = [sheet for sheet in tables if sheet.name in ("cells", "simple", "contrasts")]
    more = [sheet for sheet in tables if sheet not in main]
    analysis = facts.answer.analysis
    how = f'<p class="soft">{text(methods(analysis))}</p>' if analysis.contrasts else ""
    return section(
        "results", "Results", *map(to_html, main), items(analysis.notes),
        *[details(sheet.title, to_html(sheet)) for sheet in more],
        how, details("The answer as text", f"<pre>{text(facts.answer.text)}</pre>"),
    )  # fmt: skip


def effects(facts: Facts, drawn: Mapping[str, Any]) -> str:
    """Main effects, interactions, and how the replicas scatter."""
    captions = {
        "effects": "Level minus reference, averaged over the other factors unless it says at "
        "which level; family-wise intervals.",
        "final": "Every replica's final score, a cross if it diverged (without one where scores "
        "have no bound); the bar is the cell's mean with its 95 % interval.",
    }
    both = "Cell means; lines that are not parallel show an interaction."
    names = [name for name in drawn if name in captions or name.startswith("interaction")]
    left = math.comb(len(factors(facts.study)), 2) - PAIRS
    more = f"<p>Of the interactions, {count(left, 'further pair')} of factors not drawn.</p>"
    figures = [figure(name, captions.get(name, both)) for name in names]
    return section("effects", "Effects", *figures, more if names and left > 0 else "")


def tuning(drawn: Mapping[str, Any]) -> str:
    """Sensitivity curves."""
    caption = (
        "Mean validation score of each value of the grid over the seeds that tune; large marks "
        "were chosen, by one seed at least where each chooses for itself."
    )
    names = [name for name in drawn if name.startswith("tuning")]
    figures = [figure(name, caption, tick("log-y", "log y")) for name in names]
    return section("tuning", "Tuning", *figures)


def curves(found: Mapping[str, Any], metric: str, *, tunes: bool = False) -> str:
    """Learning curves, at first those of a metric's validation score.

    Args:
        tunes: the study has nothing but its tuning yet.
    """
    if not found:
        return ""
    caption = (
        "Mean over seeds with its 95 % t interval (from three seeds on). A seed that diverged "
        "leaves the mean where it did; one that ran out of patience keeps its last values."
    )
    if tunes:
        caption = f"Still tuning: each cell at the value that scores best so far. {caption}"
    first = f"validation_{metric}"
    controls = [
        choice("metric", "metric", list(found), first), tick("seeds", "every seed"),
        tick("log-x", "log x"), tick("log-y", "log y"),
    ]  # fmt: skip
    return section("curves", "Learning curves", figure("curves", caption, *controls))


def layers(facts: Facts, diagnosed: series.Rows) -> str:
    """Gradients, activations, gates and dead units, where they were recorded."""
    if not diagnosed:
        return ""
    kinds = list(dict.fromkeys(row["quantity"] for row in diagnosed))
    epochs = sorted({row["epoch"] for row in diagnosed})
    said = [f"{name}: {'; '.join(found)}" for name, found in series.diagnosis(facts)]
    quantity, log = choice("quantity", "quantity", kinds), tick("log-y", "log y")
    return section(
        "layers", "Inside the nets", items(said),
        figure(
            "layers", "Medians over seeds, layer by layer from input to output; a net that ended "
            "before the epoch is shown as it ended.", quantity,
            choice("epoch", "epoch", epochs, epochs[-1]), log,
        ),
        figure(
            "epochs", "The same over epochs, for one cell.", quantity,
            choice("cell", "cell", facts.labels), log,
        ),
    )  # fmt: skip


def pictures(facts: Facts) -> str:
    """What the experiment drew, cell by cell, of its first seed."""
    parts, left, size = [], 0, 0
    for cell, files in facts.pictures.items():
        name, shown = facts.labels[cell] if cell < len(facts.labels) else f"cell {cell}", []
        for path in files:
            content = path.read_bytes()
            size += len(content)
            if size > PICTURE_BYTES:
                left += 1
                continue
            code, what = base64.b64encode(content).decode(), path.stem.replace("_", " ")
            image = f'<img src="data:image/png;base64,{code}" alt="{text(f"{name}: {what}")}">'
            shown.append(f"<figure>{image}<figcaption>{text(what)}</figcaption></figure>")
        inside = f'<div class="pictures">{"".join(shown)}</div>'
        parts.append(details(name, inside, opened=not parts))
    more = f"{count(left, 'further picture')} in the folder's pictures/." if left else ""
    return section("pictures", "Pictures", *parts, f"<p>{more}</p>" if left else "")


def problems(facts: Facts) -> str:
    """What failed, diverged, did not train or is missing."""
    said, where = [], facts.folder
    if facts.damaged:
        said.append(f"{count(facts.damaged, 'line')} of metrics.jsonl damaged and left out.")
    if not facts.record:
        said.append("record.json cannot be read: where the study came from is not known.")
    if facts.missing and facts.state == "training":
        said.append(f"{count(facts.missing, 'replica')} still to finish: it is training now.")
    elif facts.missing:
        said.append(
            f"{count(facts.missing, 'replica')} not finished and no process at work: "
            f"`resume {where}` goes on."
        )
    said += [f"{sentence}." for sentence in mixture(facts.record)]
    lost = [line for line in facts.finals if line["status"] == "diverged"]
    said += [
        f"{facts.labels[line['cell']]}, seed {line['seed']}: diverged at step "
        f"{line['diverged_step']}."
        for line in lost
    ]
    cells = facts.answer.analysis.cells if facts.answer else ()
    for name, cell in zip(facts.labels, cells, strict=False):
        if cell.did_not_train:
            said.append(f"{name}: {count(cell.did_not_train, 'replica')} did not train.")
        if cell.at_edge:
            said.append(f"{name}: the tuned value is at the edge of its grid.")
    fine = "<p>Nothing diverged, nothing is missing.</p>"
    return section("problems", "What went wrong", items(said) or fine)


def provenance(facts: Facts) -> str:
    """Where the numbers come from, and how to get them again."""
    record = facts.record
    command = record.get("command") or ["python", "launch.py", "study"]
    again = shlex.join([*command[:2], "reproduce", str(facts.folder)])
    again = f"To train it again and compare bit by bit: <code>{text(again)}</code>"
    if not {*command[2:3]} & {*VERBS}:
        again = (
            f"To train it again and compare bit by bit, give <code>reproduce {text(facts.folder)}"
            "</code> to the script that defines the experiment."
        )
    device, git = record.get("device", {}), record.get("git", {})
    known = {
        "begun": record.get("time"),
        "command": shlex.join(record["command"]) if "command" in record else None,
        "commit": git.get("commit") and f"{git['commit']}{' and changes' * bool(git.get('dirty'))}",
        "device": device and f"{device.get('kind')} x {device.get('count')}",
        "processor": device.get("processor"),
        "Python": record.get("python"),
        "packages": ", ".join(f"{n} {v}" for n, v in record.get("packages", {}).items()),
        "data": ", ".join(f"{d['name']} {d['digest']}" for d in record.get("data", [])),
        "taken up again": len(record.get("sessions", [])[1:]),
        "folder": facts.folder,
    }
    config = details("Config that the cells share", pairs(describe(facts.study.config)))
    every = details("Every replica", '<div class="scroll"></div>', name="replicas")
    return section(
        "provenance", "Provenance",
        f"<p>{again}</p>",
        pairs({name: value for name, value in known.items() if value}),
        config, every if facts.finals else "",
    )  # fmt: skip
