"""What a study is asked to compare, as the command line spells it: `--vary`, `--tune`, `--arm`."""

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.engine.arguments import flags_of
from experiments.engine.config import Leaf, coerce, leaf_of, parse, parse_values, replace
from experiments.engine.errors import UsageError
from experiments.engine.study import Study


def refuse_idle(argv: Sequence[str], config_class: type, chosen: Mapping[str, str]) -> None:
    """Refuses a field's own flag where the field is varied or tuned: it would do nothing.

    Args:
        chosen: field -> the flag that varies or tunes it.
    """
    given = flags_of(argv)
    for name, flag in chosen.items():
        own = leaf_of(config_class, name).flag
        if own in given:
            how = "every --arm" if flag == "--arm" else f"{flag} {name}=..."
            raise UsageError(f"{own}: this study sets {name} by {how}; give only one")


def refuse_idle_tuning(argv: Sequence[str], study: Study) -> None:
    """Refuses flags of a tuning that there is not, or that is made otherwise."""
    given = flags_of(argv)
    asked = [flag for flag in ("--tune-seeds", "--tune-per-seed") if flag in given]
    if asked and not any(cell.tune for cell in study.cells):
        raise UsageError(f"{asked[0]}: nothing is tuned; --tune learning_rate=... tunes a field")
    if "--tune-seeds" in asked and study.tune_per_seed:
        raise UsageError("--tune-seeds: with --tune-per-seed each seed tunes for itself; drop one")


def assignments(config: Any, given: Sequence[str], flag: str) -> dict[str, tuple[Any, ...]]:
    """Reads repeated `--vary field=a,b` options.

    Raises:
        UsageError: no `=`, no values, an unknown or repeated field, a value that does not fit.
    """
    found: dict[str, tuple[Any, ...]] = {}
    for text in given:
        name, equals, values = text.partition("=")
        name = name.strip().lstrip("-")
        if name in ("seed", "seeds"):
            raise UsageError(f"{flag} {text}: seeds repeat every cell; write --seeds N")
        try:
            leaf = leaf_of(type(config), name)
        except UsageError as error:
            raise UsageError(f"{flag} {text}: {error}") from None
        if not equals or not values.strip():
            raise UsageError(f"{flag} {text}: no values given; write {flag} {leaf.name}=a,b,c")
        if leaf.name in found:
            raise UsageError(f"{flag} {leaf.name} is given twice; list all its values at once")
        found[leaf.name] = _values(leaf, values, f"{flag} {text}")
    return found


def _values(leaf: Leaf, text: str, where: str) -> tuple[Any, ...]:
    try:
        return parse_values(leaf, text)
    except UsageError as error:
        problem = str(error).removeprefix(f"{leaf.flag}: ")
        raise UsageError(f"{where}: {problem}") from None


def read_arms(config: Any, given: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Reads repeated `--arm "NAME field=value field=value|value"` options.

    A value with spaces is quoted: `--arm "NAME layers='8k3 max2'"`.

    Returns:
        Name -> field -> value, or a list of values to tune the field on.

    Raises:
        UsageError: no name or one given twice, an unknown field, a value that does not fit.
    """
    arms: dict[str, dict[str, Any]] = {}
    for text in given:
        where = f'--arm "{text}"'
        try:
            name, *fields = shlex.split(text) or [""]
        except ValueError:
            raise UsageError(f"{where}: a quotation mark has no second") from None
        if not name or "=" in name:
            raise UsageError(f'{where}: begin with a name: --arm "NAME field=value"')
        if name in arms:
            raise UsageError(f"{where}: an arm called {name} is there already")
        pairs = [_arm_field(config, field, where) for field in fields]
        arms[name] = dict(pairs)
        if len(arms[name]) < len(pairs):
            twice = next(field for field, n in Counter(f for f, _ in pairs).items() if n > 1)
            raise UsageError(f"{where}: {twice} is given twice")
    if len(arms) == 1:
        raise UsageError(
            f"--arm {next(iter(arms))}: one arm is no comparison; repeat --arm for each level"
        )
    return arms


def _arm_field(config: Any, text: str, where: str) -> tuple[str, Any]:
    name, equals, values = text.partition("=")
    if not equals or not values:
        raise UsageError(f"{where}: {text!r} has no value; write field=value, or field='two words'")
    try:
        leaf = leaf_of(type(config), name)
        found = [parse(leaf, value) for value in values.split("|")]
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from None
    return leaf.name, found if len(found) > 1 else found[0]


def override_fields(config: Any, spelled: Mapping[str, str]) -> Any:
    """A config with fields set from their spelling (a named study's declaration)."""
    return replace(
        config, {name: coerce(leaf_of(type(config), name), text) for name, text in spelled.items()}
    )
