"""Which pictures a classifier has, and that they are functions of what a study records."""

import numpy as np

from experiments.classifier_pictures import linear_templates
from experiments.data import preprocess


def test_templates_are_those_of_a_linear_classifier():
    kernel = np.arange(24.0, dtype=np.float32).reshape(6, 4)
    params = {"output": {"kernel": kernel, "bias": np.zeros(4)}}
    images = linear_templates(params, {}, (2, 3))
    assert set(images) == {f"template_{k}" for k in range(4)}
    np.testing.assert_array_equal(images["template_1"].values, kernel[:, 1].reshape(2, 3))
    assert linear_templates(params, {}, (6,))["template_0"].values.shape == (1, 6)
    colours = linear_templates(params, {}, (1, 2, 3))
    np.testing.assert_array_equal(colours["template_3"].values, kernel[:, 3].reshape(1, 2, 3))
    assert linear_templates(params, {}, (1, 2, 3, 1)) == {}
    deeper = {**params, "layer_1": {"kernel": np.ones((6, 6))}}
    assert linear_templates(deeper, {}, (2, 3)) == {}


def test_templates_of_rotated_inputs_are_what_they_amount_to_in_the_image():
    rng = np.random.default_rng(0)
    matrix, kernel = rng.normal(size=(6, 3)), rng.normal(size=(3, 4))
    image = rng.normal(size=(2, 3))
    templates = linear_templates({"output": {"kernel": kernel}}, {"matrix": matrix}, (2, 3))
    scores = [(templates[f"template_{k}"].values * image).sum() for k in range(4)]
    np.testing.assert_allclose(scores, image.ravel() @ matrix @ kernel, rtol=1e-9)


def test_templates_of_standardised_inputs_are_what_they_amount_to_in_the_image():
    rng = np.random.default_rng(0)
    kernel, images = rng.normal(size=(6, 4)), rng.normal(size=(9, 2, 3)) * [1.0, 10.0, 100.0]
    params = {"output": {"kernel": kernel}}
    for name in ("standardise", "standardise_channel"):
        stats = preprocess.fit(name, images)
        templates = linear_templates(params, stats, (2, 3))
        inputs = np.asarray(preprocess.apply(stats, images)).reshape(9, 6)
        centred = images - np.asarray(stats["mean"])
        scores = [(centred * templates[f"template_{k}"].values).sum(axis=(1, 2)) for k in range(4)]
        np.testing.assert_allclose(np.stack(scores, axis=1), inputs @ kernel, rtol=1e-4, atol=1e-4)
