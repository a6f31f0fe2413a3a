"""Declared studies: all of them build, through the path of the command line."""

import functools
import math

import jax
import pytest

from experiments import EXPERIMENTS, classification, convnet, data
from experiments.engine import run
from experiments.engine.cli import main
from experiments.engine.grids import override_fields
from experiments.engine.jobs import programs, tuning_jobs
from experiments.engine.prepare import possible_jobs
from experiments.engine.run import Outcome
from experiments.studies import STUDIES
from nets.geometry import receptive_field, windows
from nets.specs import parse_blocks


class Asked(Exception):
    """Carries a study out of the command line, before anything is trained."""


@pytest.fixture
def ask(monkeypatch):
    """The study that a command line would train."""

    def train_study(study, *args, **kwargs) -> Outcome:
        raise Asked(study)

    def call(*arguments):
        with pytest.raises(Asked) as caught:
            main(EXPERIMENTS, ["study", *arguments], prog="launch.py")
        return caught.value.args[0]

    monkeypatch.setattr(run, "train_study", train_study)
    return call


def test_names_are_of_studies_or_of_experiments():
    assert not set(STUDIES) & set(EXPERIMENTS)
    assert not set(STUDIES) & set(data.DATASETS)
    assert set(STUDIES) >= {
        "default", "activations", "regularization", "margin", "initialization", "width",
        "preprocessing", "loss", "linearity", "kernel_size", "stride_padding", "filters", "pooling",
        "weight_sharing", "conv_activations", "conv_regularization", "normalization", "stem",
        "deep_features", "upscaling", "box_loss", "depth", "memory_length", "forget_bias", "gates",
        "recurrent_dropout", "recurrent_activations", "objective", "window", "dimension",
        "negatives", "subsampling",
    }  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", STUDIES)
def test_every_declared_study_builds(ask, name):
    declared, study = STUDIES[name], ask(name)
    assert study.experiment.name == declared.experiment and study.name == name
    assert study.question == declared.question and "?" in declared.question
    assert list(study.vary) == list(declared.vary) and list(study.tune) == list(declared.tune)
    assert [arm.name for arm in study.arms] == list(declared.arms)
    assert study.seeds == declared.seeds >= 5  # enough for a verdict
    assert len(study.cells) > 1
    assert len(study.cells) == math.prod(map(len, study.vary.values())) * max(1, len(study.arms))
    assert any(cell.tune for cell in study.cells)  # each at its own best
    dataset = study.experiment.load(study.config, None)
    for config in {job.config for job in possible_jobs(study)}:
        study.experiment.check(config, dataset.spec)


def test_the_default_study_is_four_programs_of_what_the_readme_says(ask):
    study = ask("default")
    assert len(study.cells) == 12 and study.seeds == 10
    assert study.config.data.dataset == "mnist1d"
    assert len(programs(possible_jobs(study))) == 4
    assert len(tuning_jobs(study)) == 12 * len(study.tune["learning_rate"]) * study.tune_seeds


def test_options_change_a_declaration(ask):
    study = ask("default", "--dataset", "digits", "--seeds", "6", "--vary", "dropout=0,0.1")
    assert study.config.data.dataset == "digits" and study.seeds == 6
    assert list(study.vary) == ["activation", "dropout"] and study.vary["dropout"] == (0.0, 0.1)
    assert len(study.vary["activation"]) == 4


def test_a_study_from_the_command_line(ask):
    study = ask(
        "mlp", "--vary", "activation=relu,sigmoid,tanh,gelu", "--vary", "dropout=0,0.2,0.5",
        "--seeds", "5", "--dataset", "digits",
    )  # fmt: skip
    jobs = programs(possible_jobs(study))
    assert [len(group) for group in jobs.values()] == [15] * 4


def field(spec: str, layers: int | None = None) -> tuple[int, int, int]:
    """What an output of the first so many layers sees, in which steps, and how many there are."""
    stack, size = [], 40
    for block in parse_blocks(spec)[:layers]:
        if block.kind != "global":
            (window,) = windows((size,), block.size, block.stride, block.padding)
            stack.append(window)
            size = window.output_size(size)
    seen = receptive_field(stack)
    return seen.size, seen.jump, size


def parameters(name: str) -> dict[str, int]:
    """Arm -> number of parameters."""
    declared, found = STUDIES[name], {}
    for arm, fields in declared.arms.items():
        config = override_fields(convnet.Config(), {**declared.config, **fields})
        spec = convnet.EXPERIMENT.load(config, None).spec
        net, sample = convnet.make_net(config, spec), classification.sample_input(config, spec)
        init = functools.partial(net.init, train=False)
        shapes = jax.eval_shape(init, jax.random.key(0), sample)["params"]
        found[arm] = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes))
    return found


def test_nets_are_equal_in_what_is_not_asked():
    kernels = STUDIES["kernel_size"].arms.values()
    assert {field(arm["layers"]) for arm in kernels} == {(9, 1, 40)}  # 7 after the first 3
    counts = parameters("kernel_size")
    assert counts["three_3x3"] < counts["three_3x3_wide"] < 1.1 * counts["one_7x7"]
    assert len(set(parameters("stride_padding").values())) == 1
    pooled = parameters("pooling")
    assert len({pooled[arm] for arm in ("max", "average", "overlapping", "stride")}) == 1
    stems = [arm["layers"] for arm in STUDIES["stem"].arms.values()]
    assert {field(spec, -3) for spec in stems} == {(11, 4, 10)}
    assert len({tuple(parse_blocks(spec)[-3:]) for spec in stems}) == 1
