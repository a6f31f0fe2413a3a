"""Verdicts from diagnostics: vanishing or exploding gradients, saturated and dead units."""

import math
import re
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

VANISHING, EXPLODING = 1e-2, 1e2
"""Gradient of the first weight layer over that of the last hidden one, beyond which the first
does not learn at the rate of the last (Hochreiter 1991; Glorot & Bengio 2010)."""
SATURATED = 0.9
"""Share of outputs with a slope below 0.05."""
DEAD = 0.5
"""Share of units whose slope is zero for every example of the batch."""
SHARES = ("saturated", "dead")
NO_ACTIVATION = "no activation was measured (nets.activations.Nonlinearity is)"

Lines = Sequence[Mapping[str, Any]]


def diagnosis_text(lines: Lines, label: Callable[[int], str]) -> list[str]:
    """Per cell, the layers before training and after each seed's last epoch, and what they mean.

    Args:
        lines: of `metrics.jsonl`; those with a "diagnosis" are used, of reporting replicas.
        label: cell index -> its levels for people.
    """
    chosen = [line for line in lines if "diagnosis" in line and line["phase"] == "report"]
    text: list[str] = []
    for cell in sorted({line["cell"] for line in chosen}):
        mine = sorted(
            (line for line in chosen if line["cell"] == cell), key=lambda line: line["epoch"]
        )
        last = {line["seed"]: line for line in mine}
        first = {line["seed"]: line for line in reversed(mine)}
        for ends in [first, last] if first != last else [last]:
            found = [line["diagnosis"] for line in ends.values()]
            head = f"Layers of {label(cell)}, {_when(ends.values())} (medians over seeds):"
            text += ["", head, *_table(medians(found))]
            text += [f"  verdict: {verdict}" for verdict in judged(found)]
    return text


def _when(lines: Iterable[Mapping[str, Any]]) -> str:
    """Which epochs each seed's diagnosis is of: out of patience, seeds end with different ones."""
    epochs = [line["epoch"] for line in lines]
    low, high = min(epochs), max(epochs)
    if high == 0:
        return "before training"
    return f"after epoch {high}" if low == high else f"each after its last epoch, {low} to {high}"


def medians(diagnoses: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """The layer-wise median of several diagnoses: {"gradient": {...}, "activation": {...}}.

    What is not finite counts as larger than everything, and a median of it is None; so is a share
    that no diagnosis has, because the activation has no slope.
    """
    first = diagnoses[0]
    gradient = {
        name: _median([each["gradient"][name] for each in diagnoses]) for name in first["gradient"]
    }
    activation = {
        name: {
            key: _median([each["activation"][name][key] for each in diagnoses], key in SHARES)
            for key in part
        }
        for name, part in first["activation"].items()
    }
    return {"gradient": gradient, "activation": activation}


def _median(values: Sequence[float | None], is_share: bool = False) -> float | None:
    known = [math.inf if v is None else v for v in values if v is not None or not is_share]
    found = statistics.median(known) if known else math.inf
    return found if math.isfinite(found) else None


def judged(diagnoses: Sequence[Mapping[str, Any]]) -> list[str]:
    """The verdicts on the medians of several seeds; last, how many of them are not finite."""
    lost = sum(not _all_finite(each) for each in diagnoses)
    told = [f"{lost} of {len(diagnoses)} seeds are not finite"] if lost else []
    return verdicts(medians(diagnoses)) + told


def in_order(names: Sequence[str]) -> list[str]:
    """Names by their numbers, weights before the activation after them; the stem comes first, the
    output last."""

    def key(name: str) -> tuple[Any, ...]:
        *modules, last = name.split("/")
        above = [int(p) if p.isdigit() else p for p in re.split(r"(\d+)", "/".join(modules))]
        numbers = [int(number) for number in re.findall(r"\d+", last)]
        ends = name.startswith("output") - name.startswith("stem")
        return ends, above, numbers, "activation" in last, last

    return sorted(names, key=key)


def verdicts(layers: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What the numbers of one net mean, in words; "healthy" if nothing stands out."""
    if not layers["gradient"] and not layers["activation"]:
        return ["nothing was measured: no weights are called kernel, " + NO_ACTIVATION]
    if not _all_finite(layers):
        return ["gradients or activations are not finite: diverged"]
    found = _gradient_verdict(layers["gradient"])
    for name in in_order(list(layers["activation"])):
        part = layers["activation"][name]
        if (part["dead"] or 0) > DEAD:
            found.append(f"{100 * part['dead']:.0f} % of the units of {name} are dead")
        elif (part["saturated"] or 0) > SATURATED:
            found.append(f"{100 * part['saturated']:.0f} % of the outputs of {name} are saturated")
    if not layers["activation"]:
        return found or [f"gradients healthy; {NO_ACTIVATION}"]
    return found or ["gradients and activations healthy"]


def _all_finite(layers: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether no gradient, mean or spread is missing; shares are where there is no slope."""
    parts = layers["gradient"], *layers["activation"].values()
    return all(v is not None for part in parts for name, v in part.items() if name not in SHARES)


def _gradient_verdict(gradient: Mapping[str, Any]) -> list[str]:
    if gradient and not any(gradient.values()):
        return ["no gradient reaches the weights: the net cannot learn"]
    hidden = [name for name in in_order(list(gradient)) if name != "output"]
    if not hidden:
        return []
    first, last = gradient[hidden[0]], gradient[hidden[-1]]
    if last == 0:
        return ["no gradient reaches the hidden layers: the net cannot learn"]
    if VANISHING <= first / last <= EXPLODING:
        return []
    if first < last:
        share, what = f"{first / last:.1g} of", "vanishing"
    else:
        share, what = f"{first / last:.3g} times", "exploding"
    return [f"{hidden[0]} receives {share} {hidden[-1]}'s gradient: {what}"]


def _table(layers: Mapping[str, Mapping[str, Any]]) -> list[str]:
    heads = ("gradient", "mean", "sd", "saturated", "dead")
    gradient, activation = layers["gradient"], layers["activation"]
    names = in_order([*gradient, *activation])
    if not names:
        return []
    wide = max(16, *(len(name) + 1 for name in names))
    lines = [f"  {'layer':<{wide}}" + "".join(f"{head:>11}" for head in heads)]
    for name in names:
        numbers = [_short(gradient[name]) if name in gradient else ""]
        if name in activation:
            part = activation[name]
            numbers += [_short(part["mean"]), _short(part["sd"])]
            numbers += [_percent(part["saturated"]), _percent(part["dead"])]
        lines.append(f"  {name:<{wide}}" + "".join(f"{number:>11}" for number in numbers).rstrip())
    return lines


def _short(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.3g}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.0f} %"
