"""Command-line options as one flat dataclass per verb and experiment, read by tyro.

Config fields are spelled the same way everywhere: `--width 100,100` and `--vary width=100,100;50`
go through `config.parse`.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import tyro
from tyro.constructors import PrimitiveConstructorSpec

from experiments.engine.config import (
    Leaf,
    coerce,
    get,
    leaf_of,
    leaves,
    parse,
    parse_values,
    replace,
    spell,
)
from experiments.engine.errors import UsageError
from experiments.engine.plan import Override

Repeated = Annotated[tuple[str, ...], tyro.conf.UseAppendAction]


@dataclasses.dataclass(frozen=True)
class Where:
    """Options of every verb that loads data.

    Attributes:
        manual_dir: folder of the publishers' data files (or ABLAX_MANUAL_DIR).
    """

    manual_dir: str | None = None


@dataclasses.dataclass(frozen=True)
class Training(Where):
    """Options of every verb that trains.

    Attributes:
        out: study folder; by default one below runs/ that belongs to this very study.
        lanes: replicas trained side by side, over all devices; by default the plan's choice.
        devices: devices used; by default as many as the plan can fill.
        steps_per_call: most steps of one call of the compiled program.
        plan: measure times alternatives first and takes the fastest.
        evaluate_every: epochs between evaluations on the validation rows.
        diagnose: record gradients, activations and dead units per layer, and judge them.
        dry_run: print cells, programs, plan, estimated time and memory; train nothing.
    """

    out: str | None = None
    lanes: int | None = None
    devices: int | None = None
    steps_per_call: int | None = None
    plan: Literal["auto", "measure"] = "auto"
    evaluate_every: int = 1
    diagnose: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    dry_run: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False


@dataclasses.dataclass(frozen=True)
class Run(Training):
    """Options of `run`.

    Attributes:
        seed: of initial weights, data order, noise and validation rows.
    """

    seed: int = 0


@dataclasses.dataclass(frozen=True)
class Study(Training):
    """Options of `study`.

    Attributes:
        vary: factor and its levels, the reference first: activation=relu,gelu; repeat it for a
            grid. Tuple values are separated by `;`: width=100;100,100.
        seeds: replicates per cell.
        arm: a named level with fields of its own, the reference first: "l2 l2=1e-4|1e-3"; `|`
            separates values to tune. Repeat it for each level.
        tune: nuisance field and its grid, chosen per cell on validation: learning_rate=1e-3,1e-2.
        tune_seeds: seeds that choose the tuned values, apart from the reporting seeds.
        tune_per_seed: choose inside each reporting seed, so that intervals include the choice.
        fix: random streams pinned in every replica: init, order, noise, split, labels.
        metric: primary metric; by default the experiment's first.
        margin: differences smaller than this count as equivalent.
    """

    vary: Repeated = ()
    arm: Repeated = ()
    seeds: int = 10
    tune: Repeated = ()
    tune_seeds: int = 3
    tune_per_seed: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    fix: tuple[str, ...] = ()
    metric: str = ""
    margin: float | None = None


def read(
    options: type, config: Any, argv: Sequence[str], prog: str, defaults: dict[str, Any]
) -> tuple[Any, Any]:
    """Parses a verb's options and the fields of a config from one argument list.

    Args:
        defaults: values of options a named study declares.

    Returns:
        An instance of `options`, and the config.
    """
    _one_value_each(argv)
    fields = {f.name: f for f in dataclasses.fields(options)}
    taken = [name for name in leaves(type(config)) if name in fields]
    if taken:
        raise TypeError(f"config fields {taken} have the names of options; rename them")
    docs = _option_docs(options)
    flat: list[Any] = [
        (
            name,
            Annotated[_hint(options, name), tyro.conf.arg(help=docs[name])],
            dataclasses.field(default=defaults.get(name, field.default)),
        )
        for name, field in fields.items()
    ]
    for name, leaf in leaves(type(config)).items():
        kind = Annotated[Any, _constructor(leaf), tyro.conf.arg(help=leaf.doc or None)]
        flat.append((name, kind, dataclasses.field(default=get(config, name))))
    flat_class = dataclasses.make_dataclass("Options", flat, frozen=True)
    parsed = tyro.cli(flat_class, prog=prog, args=list(argv), description="")
    values = {name: getattr(parsed, name) for name in leaves(type(config))}
    return options(**{name: getattr(parsed, name) for name in fields}), replace(config, values)


def _hint(options: type, name: str) -> Any:
    from typing import get_type_hints

    return get_type_hints(options, include_extras=True)[name]


def _option_docs(options: type) -> dict[str, str]:
    from experiments.engine.config import field_docs

    return {name: " ".join(text.split()) for name, text in field_docs(options).items()}


def _constructor(leaf: Leaf) -> PrimitiveConstructorSpec[Any]:
    def read_one(arguments: list[str]) -> Any:
        try:
            return parse(leaf, arguments[0])
        except UsageError as error:
            raise ValueError(str(error)) from None

    return PrimitiveConstructorSpec(
        nargs=1,
        metavar=_metavar(leaf),
        instance_from_str=read_one,
        is_instance=lambda value: True,
        str_from_instance=lambda value: [spell(value)],
    )


def _metavar(leaf: Leaf) -> str:
    from experiments.engine.config import takes

    return takes(leaf.kind)


def _one_value_each(argv: Sequence[str]) -> None:
    """Refuses an option given twice, where the last would win silently.

    Raises:
        UsageError: names the option.
    """
    flags = [a.partition("=")[0].replace("_", "-") for a in argv if a.startswith("--")]
    repeatable = ("--vary", "--tune", "--arm")
    for flag in flags:
        if flags.count(flag) > 1 and flag not in repeatable:
            raise UsageError(f"{flag} is given twice")


def assignments(config: Any, given: Sequence[str], flag: str) -> dict[str, tuple[Any, ...]]:
    """Reads repeated `--vary field=a,b` options.

    Raises:
        UsageError: no `=`, no values, an unknown or repeated field, a value that does not fit.
    """
    found: dict[str, tuple[Any, ...]] = {}
    for text in given:
        name, equals, values = text.partition("=")
        leaf = leaf_of(type(config), name.strip())
        if not equals or not values.strip():
            raise UsageError(f"{flag} {text}: no values given; write {flag} {leaf.name}=a,b,c")
        if leaf.name in found:
            raise UsageError(f"{flag} {leaf.name} is given twice; list all its values at once")
        try:
            found[leaf.name] = parse_values(leaf, values)
        except UsageError as error:
            raise UsageError(f"{flag} {text}: {error}") from None
    return found


def read_arms(given: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Reads repeated `--arm "NAME field=value field=value|value"` options; values stay text.

    Raises:
        UsageError: a name given twice, or an assignment without a value.
    """
    arms: dict[str, dict[str, Any]] = {}
    for text in given:
        name, *fields = text.split()
        if name in arms:
            raise UsageError(f"--arm {name} is given twice")
        pairs = [field.partition("=") for field in fields]
        if wrong := ["".join(pair) for pair in pairs if not pair[2]]:
            raise UsageError(f"--arm {name}: {wrong[0]!r}: write field=value")
        arms[name] = {
            field: value.split("|") if "|" in value else value for field, _, value in pairs
        }
    return arms


def override_of(options: Training) -> Override:
    """The parts of the plan a user fixed.

    Raises:
        UsageError: a number below 1, or lanes that the devices cannot share evenly.
    """
    import jax

    counts = {
        "--lanes": options.lanes,
        "--devices": options.devices,
        "--steps-per-call": options.steps_per_call,
    }
    for flag, count in counts.items():
        if count is not None and count < 1:
            raise UsageError(f"{flag} {count}: at least 1")
    if options.devices and options.devices > jax.device_count():
        raise UsageError(f"--devices {options.devices}: there are {jax.device_count()} here")
    if options.lanes and options.devices and options.lanes % options.devices:
        raise UsageError(f"--lanes {options.lanes}: must be a multiple of --devices")
    return Override(
        options.lanes, options.devices, options.steps_per_call, options.plan == "measure"
    )


def override_fields(config: Any, spelled: Mapping[str, str]) -> Any:
    """A config with fields set from their spelling (a named study's declaration)."""
    return replace(
        config, {name: coerce(leaf_of(type(config), name), text) for name, text in spelled.items()}
    )
