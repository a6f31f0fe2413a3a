"""Options of the verbs, beside the fields of a config.

Like a config, the options of a verb are a frozen dataclass composed of groups and flattened on the
command line. A group is one box of the help text.
"""

import dataclasses
from typing import Annotated, Literal

from experiments.engine.control import Saving
from experiments.engine.plan import Override, check_override
from experiments.engine.values import Shown

Dir = Annotated[str | None, Shown("DIR")]
Count = Annotated[int | None, Shown("INT")]


@dataclasses.dataclass(frozen=True)
class Where:
    """Where the data are.

    Attributes:
        manual_dir: folder of the publishers' data files (or ABLAX_MANUAL_DIR), and of files of
            your own that are no longer where they were.
    """

    manual_dir: Dir = None


@dataclasses.dataclass(frozen=True)
class Training:
    """Where results go, and what is recorded.

    Attributes:
        out: study folder; by default one below runs/ that belongs to this very study. The same
            command again goes on where it was left.
        dry_run: print cells, programs, plan, estimated time and memory; train and write nothing.
        diagnose: record gradients, activations and dead units per layer, and judge them.
        evaluate_every: epochs between evaluations on the validation rows.
        tensorboard: write TensorBoard events into tensorboard/ of the study folder as it trains.
        wandb: also log a Weights & Biases run per replica; WANDB_PROJECT, WANDB_ENTITY and
            WANDB_MODE=offline work as always.
        manual_dir: folder of the publishers' data files (or ABLAX_MANUAL_DIR), and of files of
            your own that are no longer where they were.
    """

    out: Dir = None
    dry_run: bool = False
    diagnose: bool = False
    evaluate_every: int = 1
    tensorboard: bool = False
    wandb: bool = False
    manual_dir: Dir = None


@dataclasses.dataclass(frozen=True)
class Layout:
    """How replicas are laid over lanes, devices and calls.

    Attributes:
        plan: auto computes the layout from size, device and memory; measure times alternatives
            first and takes the fastest.
        lanes: replicas trained side by side, over all devices.
        devices: devices, or groups of them, that share the lanes.
        shares: devices that share the batch of each replica.
        steps_per_call: most steps of one call of the compiled program.
    """

    plan: Literal["auto", "measure"] = "auto"
    lanes: Count = None
    devices: Count = None
    shares: Count = None
    steps_per_call: Count = None


@dataclasses.dataclass(frozen=True)
class Single:
    """Which replicate.

    Attributes:
        seed: drives initial weights, data order, noise and validation rows.
    """

    seed: int = 0


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What is compared, and how often.

    Attributes:
        vary: a factor and its levels, the reference first: activation=relu,gelu. Repeat it for
            a grid. Levels with commas of their own are quoted and separated by `;`:
            "width=100;100,100".
        arm: a named level that sets several fields, the reference first: "l2 l2=1e-4|1e-3", where
            `|` separates values to tune; "small layers='4k3 max2'". Repeat it for each level.
        seeds: replicates of every cell.
        tune: a nuisance field and its grid: learning_rate=1e-3,1e-2. Every cell gets the value
            with its best validation score. Repeat it for further fields.
        tune_seeds: seeds that choose the tuned values, apart from the reporting seeds.
        tune_per_seed: choose inside each reporting seed, so that intervals include the choice.
        fix: random streams pinned in every replica: init, order, noise, split, labels.
        metric: primary metric; by default the experiment's first.
        margin: smaller differences count as equivalent; in the metric's own unit, so 0.01 is one
            percentage point of accuracy.
        shard: train only part i of n, anywhere; `merge` joins the parts' folders.
    """

    vary: Annotated[tuple[str, ...], Shown("FIELD=A,B", repeated=True)] = ()
    arm: Annotated[tuple[str, ...], Shown('"NAME FIELD=A"', repeated=True)] = ()
    seeds: int = 10
    tune: Annotated[tuple[str, ...], Shown("FIELD=A,B", repeated=True)] = ()
    tune_seeds: int = 3
    tune_per_seed: bool = False
    fix: Annotated[tuple[str, ...], Shown("STREAM,...")] = ()
    metric: Annotated[str, Shown("NAME")] = ""
    margin: Annotated[float | None, Shown("FLOAT")] = None
    shard: Annotated[str | None, Shown("I/N")] = None


@dataclasses.dataclass(frozen=True)
class Describe:
    """Options of `describe`.

    Attributes:
        source: where the data are.
    """

    source: Where = Where()


@dataclasses.dataclass(frozen=True)
class Run:
    """Options of `run`.

    Attributes:
        run: which replicate.
        training: where results go, and what is recorded.
        saving: when a study under way is saved, and when it stops.
        layout: how replicas are laid over lanes, devices and calls.
    """

    run: Single = Single()
    training: Training = Training()
    saving: Saving = Saving()
    layout: Layout = Layout()


@dataclasses.dataclass(frozen=True)
class Study:
    """Options of `study`.

    Attributes:
        study: what is compared, and how often.
        training: where results go, and what is recorded.
        saving: when a study under way is saved, and when it stops.
        layout: how replicas are laid over lanes, devices and calls.
    """

    study: Comparison = Comparison()
    training: Training = Training()
    saving: Saving = Saving()
    layout: Layout = Layout()


@dataclasses.dataclass(frozen=True)
class More:
    """What is added.

    Attributes:
        seeds: replicates of every cell; by default as many as before. Only new ones are trained.
        epochs: length of the training, for a study that kept its training states (--extendable)
            and whose schedule does not depend on its length.
        manual_dir: folder of the publishers' data files (or ABLAX_MANUAL_DIR), and of files of
            your own that are no longer where they were.
    """

    seeds: Count = None
    epochs: Count = None
    manual_dir: Dir = None


@dataclasses.dataclass(frozen=True)
class Resume:
    """Options of `resume`.

    Attributes:
        more: what is added.
        saving: when a study under way is saved, and when it stops.
    """

    more: More = More()
    saving: Saving = Saving()


@dataclasses.dataclass(frozen=True)
class Again:
    """What is trained again, and where.

    Attributes:
        cells: indices of cells, as results.csv has them; by default all.
        seeds: reporting seeds; by default all.
        tolerance: largest difference in parameters and metrics that still counts as reproduced.
        out: the fresh folder; by default DIR-reproduced.
        manual_dir: folder of the publishers' data files (or ABLAX_MANUAL_DIR), and of files of
            your own that are no longer where they were.
    """

    cells: Annotated[tuple[int, ...], Shown("INT,...")] = ()
    seeds: Annotated[tuple[int, ...], Shown("INT,...")] = ()
    tolerance: Annotated[float, Shown("FLOAT")] = 0.0
    out: Dir = None
    manual_dir: Dir = None


@dataclasses.dataclass(frozen=True)
class Reproduce:
    """Options of `reproduce`.

    Attributes:
        again: what is trained again, and where.
        saving: when a study under way is saved, and when it stops.
    """

    again: Again = Again()
    saving: Saving = Saving()


@dataclasses.dataclass(frozen=True)
class Target:
    """Where the result goes.

    Attributes:
        out: merge: the folder of the whole study, by default one below runs/; pack: the archive,
            by default DIR.tar.gz.
    """

    out: Dir = None


@dataclasses.dataclass(frozen=True)
class Write:
    """Options of `merge` and `pack`.

    Attributes:
        target: where the result goes.
    """

    target: Target = Target()


@dataclasses.dataclass(frozen=True)
class Papers:
    """What is written for a paper, into figures/ of the study folder.

    Attributes:
        figures: also write every chart: pdf, svg or png.
        tables: also write every table: markdown, latex or csv.
    """

    figures: Annotated[str | None, Shown("FORMAT")] = None
    tables: Annotated[str | None, Shown("FORMAT")] = None


@dataclasses.dataclass(frozen=True)
class Report:
    """Options of `report`.

    Attributes:
        papers: what is written for a paper, into figures/ of the study folder.
    """

    papers: Papers = Papers()


@dataclasses.dataclass(frozen=True)
class Nothing:
    """No fields of a config: what is done is fixed by a study folder, or in code."""


@dataclasses.dataclass(frozen=True)
class Reproduction:
    """How a published result is reproduced.

    Attributes:
        seeds: replicates of every row; by default what the claim declares, and fewer give no
            verdict.
        out: study folder; by default one below runs/ that belongs to this claim. The same command
            again goes on where it was left.
        dry_run: print cells, programs, plan, estimated time and memory; train and write nothing.
        force: train on a CPU what takes hours there.
        manual_dir: folder of the publishers' data files (or ABLAX_MANUAL_DIR), and of files of
            your own that are no longer where they were.
    """

    seeds: Count = None
    out: Dir = None
    dry_run: bool = False
    force: bool = False
    manual_dir: Dir = None


@dataclasses.dataclass(frozen=True)
class Claim:
    """Options of `claim NAME`.

    Attributes:
        claim: how a published result is reproduced.
        saving: when a study under way is saved, and when it stops.
        layout: how replicas are laid over lanes, devices and calls.
    """

    claim: Reproduction = Reproduction()
    saving: Saving = Saving()
    layout: Layout = Layout()


@dataclasses.dataclass(frozen=True)
class Listing:
    """How claims are shown.

    Attributes:
        table: as a Markdown table, a row per acceptance rule.
        out: a study folder, or a folder of them; by default those below runs/.
    """

    table: bool = False
    out: Dir = None


@dataclasses.dataclass(frozen=True)
class Claims:
    """Options of `claim` without a name.

    Attributes:
        claims: how claims are shown.
    """

    claims: Listing = Listing()


def override_of(layout: Layout) -> Override:
    """The parts of the plan a user fixed.

    Raises:
        UsageError: a number below 1, or lanes that the devices cannot share evenly.
    """
    import jax

    given = Override(
        layout.lanes, layout.devices, layout.shares, layout.steps_per_call,
        layout.plan == "measure",
    )  # fmt: skip
    check_override(given, jax.device_count())
    return given
