"""Each experiment trains to the losses it had: a change of its numbers is noticed."""

import json

import numpy as np
import pytest

from tests.experiments import golden

KNOWN = json.loads(golden.FILE.read_text()) if golden.FILE.exists() else {}


@pytest.mark.slow
@pytest.mark.parametrize("name", golden.COMMANDS)
def test_losses_are_what_they_were(name, tmp_path):
    """Other instruction sets and jax 0.12 agree to 2e-7."""
    found = golden.train(name, tmp_path / "run")
    assert found.keys() == KNOWN[name].keys()
    for key, losses in KNOWN[name].items():
        told = f"{key}: if this change is meant, `python -m tests.experiments.golden` and say why"
        np.testing.assert_allclose(found[key], losses, rtol=5e-6, err_msg=told)
