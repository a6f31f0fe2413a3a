"""Claims and findings as text: on a terminal, and as the Markdown table of `docs/claims.md`."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from experiments.engine.claims import Claim, Finding, Quantity, Rule, verdicts
from experiments.engine.text import table, wrap

HEAD = ("claim", "published", "accepted", "measured (90 % interval)", "n", "verdict")
NOT_RUN = "not run"


class Standing(NamedTuple):
    """A claim and what is known of it: no findings, it has not been run."""

    name: str
    claim: Claim
    findings: tuple[Finding, ...] = ()


def number(value: float, quantity: Quantity) -> str:
    """A value of the quantity, without its unit."""
    return f"{round(value, quantity.decimals) + 0.0:.{quantity.decimals}f}"


def unit_of(rule: Rule, quantity: Quantity) -> str:
    """Of the rule's bounds: `%`, `pp`; "" for a ratio."""
    if rule.statistic == "ratio":
        return ""
    percent = quantity.unit == "%" and rule.statistic == "difference"
    return "pp" if percent else quantity.unit


def published_text(rule: Rule, quantity: Quantity) -> str:
    """`65.10 % (authors' code)`, `6.00 times (paper)`; "-" for none."""
    if rule.published is None:
        return "-"
    unit = "times" if rule.statistic == "ratio" else unit_of(rule, quantity)
    value = f"{number(rule.published.value, quantity)} {unit}".rstrip()
    return f"{value} ({rule.published.by})"


def accepted(rule: Rule, quantity: Quantity) -> str:
    """`mean of mlp in [62.0, 68.0] %`."""
    first, *others = rule.rows
    what = {
        "mean": f"mean of {first}",
        "median": f"median of {first}",
        "difference": f"{first} minus {''.join(others)}",
        "ratio": f"{first} over {''.join(others)}",
    }[rule.statistic]
    low, high = (number(bound, quantity) for bound in (rule.low, rule.high))
    bounds = f"in [{low}, {high}]"
    if math.isinf(rule.high):
        bounds = f">= {low}"
    elif math.isinf(rule.low):
        bounds = f"<= {high}"
    return f"{what} {bounds} {unit_of(rule, quantity)}".rstrip()


def question(claim: Claim) -> str:
    """The claim with its rules, as `study.json` keeps it from before the first step."""
    quantity = claim.quantity
    rules = [accepted(rule, quantity) for rule in claim.rules]
    for index, rule in enumerate(claim.rules):
        if rule.published:
            rules[index] += f" for {published_text(rule, quantity)}"
    accept = f"Accepted ({quantity.name}, {claim.seeds} seeds)"
    return f"{claim.title}. {accept}: {'; '.join(rules)}."


def measured(finding: Finding, quantity: Quantity) -> str:
    """`63.4 [62.1, 64.7]`, "-" where nothing was measured."""
    if finding.estimate is None:
        return "-"
    text = number(finding.estimate, quantity)
    if finding.interval is None:
        return text
    bounds = ", ".join(number(bound, quantity) for bound in finding.interval)
    usual = finding.confidence == Finding.confidence
    return f"{text} [{bounds}]" + ("" if usual else f" at {100 * finding.confidence:.3g} %")


def _verdict(finding: Finding) -> str:
    return finding.verdict + (f" ({finding.reason})" if finding.reason else "")


def status(findings: Sequence[Finding]) -> str:
    """`reproduced`, or `paper: not reproduced, authors' code: reproduced`."""
    if not findings:
        return NOT_RUN
    found = verdicts(findings)
    if len(set(found.values())) == 1:
        return next(iter(found.values()))
    return ", ".join(f"{source}: {verdict}" for source, verdict in found.items())


def conclusion(standing: Standing, declared: str, width: int) -> str:
    """What a claim's study says about it.

    Args:
        declared: the rules as the study folder keeps them from before the training.
    """
    name, claim, findings = standing
    quantity = claim.quantity
    rows = [
        [accepted(f.rule, quantity), published_text(f.rule, quantity),
         measured(f, quantity), str(f.n), f.verdict]
        for f in findings
    ]  # fmt: skip
    sources = dict.fromkeys(
        (published_text(f.rule, quantity), f.rule.published.source)
        for f in findings
        if f.rule.published
    )
    lines = wrap(f"Claim {name}, {quantity.name} (90 % intervals): {status(findings)}", width)
    header = ["accepted", "published", "measured", "n", "verdict"]
    lines += table(header, rows, width, left=2, remarks=[f.reason for f in findings])
    lines += wrap(f"Recipe: {claim.recipe}", width)
    for shown, source in sources:
        lines += wrap(f"{shown}: {source}", width)
    if declared != question(claim):
        lines += wrap(f"The claim was declared differently when this was begun: {declared}", width)
    return "\n".join(lines)


def listing(standings: Sequence[Standing], prog: str) -> dict[str, str]:
    """Name -> what is claimed, the published numbers, the status."""
    return {standing.name: _one_line(standing, prog) for standing in standings}


def _one_line(standing: Standing, prog: str) -> str:
    name, claim, findings = standing
    numbers = dict.fromkeys(
        published_text(rule, claim.quantity) for rule in claim.rules if rule.published
    )
    state = status(findings)
    if not findings:
        state += f"; {claim.cost}: {prog} {name}"
    return f"{claim.title}: {', '.join(numbers)} {claim.quantity.name}. {state}".replace("  ", " ")


def markdown(standings: Sequence[Standing]) -> str:
    """One table row per rule; the claims that were not run name their cost."""
    lines = [f"| {' | '.join(HEAD)} |", "|---" * len(HEAD) + "|"]
    for standing in standings:
        quantity = standing.claim.quantity
        known: Mapping[Rule, Finding] = {f.rule: f for f in standing.findings}
        for index, rule in enumerate(standing.claim.rules):
            name = f"`{standing.name}`, {quantity.name}" if index == 0 else ""
            cells = [name, published_text(rule, quantity), accepted(rule, quantity)]
            found = known.get(rule)
            if found is None:
                cells += ["", "", f"{NOT_RUN} ({standing.claim.cost})" if index == 0 else ""]
            else:
                cells += [measured(found, quantity), str(found.n), _verdict(found)]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
