"""Settings every test runs under: strict shapes and types, two virtual devices, one cache."""

import os

import jax
import pytest
from jaxtyping import install_import_hook

import tests.typecheck  # noqa: F401  (the hook names it, so it must be importable first)

os.environ["JAX_NUM_CPU_DEVICES"] = "2"  # for the processes that tests start
jax.config.update("jax_num_cpu_devices", 2)  # JAX reads its environment when it is imported
os.environ.setdefault("ABLAX_MANUAL_DIR", "")

CHECKED = [
    "nets",
    "experiments.classification",
    "experiments.classifier_pictures",
    "experiments.convnet",
    "experiments.convolutional",
    "experiments.data",
    "experiments.language_model",
    "experiments.memory",
    "experiments.memory_reach",
    "experiments.memory_tasks",
    "experiments.mlp",
    "experiments.objectives",
    "experiments.optimizers",
    "experiments.recurrent",
    "experiments.resnet",
    "experiments.rows",
    "experiments.sequence_classifier",
    "experiments.transformations",
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
            "drawing", "folder", "grids", "illustrate", "interactions", "jobs", "keys",
            "layer_text", "lease", "net_options", "options", "page", "paired", "pairing",
            "pictures", "plan", "prepare", "preview", "program", "record", "results", "rows",
            "sampling", "session", "standing", "statistics", "step", "study", "text", "trackers",
            "tracking", "train", "values", "verdicts", "visit_text", "word_vectors", "wording",
        )
    ),
]  # fmt: skip
"""Modules whose annotations are checked; the rest name types that only a type checker imports."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begins with the longest test, so that no worker waits for it at the end."""
    items.sort(key=lambda item: item.path.name != "test_readme.py")


_hook = install_import_hook(CHECKED, "tests.typecheck.check")


@pytest.fixture(scope="session", autouse=True)
def _strict_jax():
    from experiments.engine.devices import setup

    setup()
    with jax.numpy_rank_promotion("raise"), jax.debug_key_reuse(True):
        yield
