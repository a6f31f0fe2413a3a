"""Settings every test runs under: strict shapes and types, two virtual devices, one cache."""

import os
from typing import Any

import jax
import pytest
from beartype.claw import beartype_packages
from jaxtyping import install_import_hook

import tests.typecheck

os.environ["JAX_NUM_CPU_DEVICES"] = "2"  # for the processes that tests start
jax.config.update("jax_num_cpu_devices", 2)  # JAX reads its environment when it is imported
os.environ.setdefault("ABLAX_MANUAL_DIR", "")

SHAPED = ["nets", "experiments.engine.drawing"]
"""Modules whose annotations give shapes: checked by jaxtyping and beartype."""

CHECKED = [
    "experiments.classification",
    "experiments.classifier_pictures",
    "experiments.convnet",
    "experiments.convolutional",
    "experiments.data",
    "experiments.detection",
    "experiments.detection_pictures",
    "experiments.detector",
    "experiments.features",
    "experiments.found_objects",
    "experiments.image_pairs",
    "experiments.images",
    "experiments.language_model",
    "experiments.memory",
    "experiments.memory_reach",
    "experiments.memory_tasks",
    "experiments.mlp",
    "experiments.objectives",
    "experiments.optimizers",
    "experiments.recurrent",
    "experiments.resnet",
    "experiments.retrieval_pictures",
    "experiments.rows",
    "experiments.scenes",
    "experiments.sequence_classifier",
    "experiments.super_resolution",
    "experiments.transformations",
    "experiments.upscaling_pictures",
    "experiments.views",
    "experiments.whitening",
    "experiments.window_pictures",
    "experiments.word2vec",
    "experiments.word_blocks",
    "experiments.word_options",
    "experiments.word_pictures",
    "experiments.word_scores",
    *(
        f"experiments.engine.{name}"
        for name in (
            "analysis", "answer", "claim_text", "claims", "config", "contrasts", "diagnostics",
            "folder", "grids", "illustrate", "interactions", "jobs", "keys",
            "layer_text", "lease", "net_options", "options", "page", "paired", "pairing",
            "pictures", "plan", "prepare", "preview", "program", "record", "results", "rows",
            "sampling", "session", "standing", "statistics", "step", "study", "text", "trackers",
            "tracking", "train", "values", "verdicts", "visit_text", "word_vectors", "wording",
        )
    ),
]  # fmt: skip
"""Modules whose annotations beartype checks; the rest name types only a type checker imports."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begins with the longest test, so that no worker waits for it at the end."""
    items.sort(key=lambda item: item.path.name != "test_readme.py")


_hook = install_import_hook(SHAPED, "tests.typecheck.check")
beartype_packages(CHECKED, conf=tests.typecheck.CONF)


@pytest.fixture(scope="module")
def one_build():
    """Equal programs are traced and compiled once in a file that trains them again and again.

    Not for a file that changes what is traced (a constant of a module) between its studies.
    """
    from experiments.engine import prepare

    compile_new, built = prepare.build, {}

    def build(trainer: Any, layout: Any, *shapes: Any, diagnostics: bool) -> Any:
        leaves, tree = jax.tree.flatten(shapes)
        key = (trainer, layout, tuple(leaves), tree, diagnostics)
        if key not in built:
            built[key] = compile_new(trainer, layout, *shapes, diagnostics=diagnostics)
        return built[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prepare, "build", build)
        yield


@pytest.fixture(scope="session", autouse=True)
def _strict_jax():
    from experiments.engine.devices import setup

    setup()
    with jax.numpy_rank_promotion("raise"), jax.debug_key_reuse(True):
        yield
