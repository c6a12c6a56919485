"""Tests of principal components: against numpy's SVD, the file's bytes, and figures of the round trip."""

import dataclasses

import numpy as np
import pytest
import specimens

from must_tf.errors import UserError
from must_tf.tasks.features.projection import Projection, cosine

TASK = specimens.SPECIMENS["features"].tasks[0]
MODEL = "ab" * 32


def images(count=20, channels=12, seed=0):
    """Returns features of images that vary mostly along 6 directions, with channels of very different deviations."""
    rng = np.random.default_rng(seed)
    directions, scales = rng.normal(size=(6, channels)), np.geomspace(0.1, 10, channels)
    grids = [rng.normal(size=(5, 4, 6)) @ directions + 0.05 * rng.normal(size=(5, 4, channels)) for _ in range(count)]
    return [
        {"grid": ((grid + 1) * scales).astype(np.float32), "summary": rng.normal(size=7).astype(np.float32)}
        for grid in grids
    ]


def fit(sample, channels=6):
    """Returns the contents of the file, and the fit."""
    fitting = dataclasses.replace(TASK, channels=channels, summary=0, projection="").fitting()
    for outputs in sample:
        fitting.add(outputs)
    return fitting.result(MODEL), fitting


def test_components_are_those_of_numpy():
    sample = images()
    data, fitting = fit(sample)
    found = Projection.from_bytes(data)
    fitted = [one for i, one in enumerate(sample, 1) if i % 8]  # the others are kept apart
    vectors = np.concatenate([one["grid"].reshape(-1, 12) for one in fitted]).astype(np.float64)
    standard = (vectors - vectors.mean(0)) / vectors.std(0)
    _, lengths, right = np.linalg.svd(standard, full_matrices=False)
    np.testing.assert_allclose(np.abs((found.components * right[:6]).sum(-1)), 1, atol=1e-5)
    np.testing.assert_allclose(found.components @ found.components.T, np.eye(6), atol=1e-5)
    share = np.square(lengths[:6]).sum() / np.square(lengths).sum()
    assert found.figures["variance"] == pytest.approx(share, rel=1e-6) and share > 0.95
    coordinates = found.project(vectors)
    assert np.square(coordinates).mean() == pytest.approx(1, rel=1e-4)
    assert (found.channels, found.asked, found.summary, found.model) == (6, 6, 7, MODEL)
    assert f"fitted on 18 images, keep {share:.1%} of their variance; on 2 others" in fitting.words()


def test_cosines_of_coordinates_are_those_of_what_they_span():
    found = Projection.from_bytes(fit(images())[0])
    one, other = (found.project(images(seed=seed)[0]["grid"].reshape(-1, 12)) for seed in (1, 2))
    full = [found.standardize(found.restore(coordinates)) for coordinates in (one, other)]
    np.testing.assert_allclose(cosine(one, other), cosine(*full), atol=1e-4)


def test_figures_are_what_a_record_gives_back_of_images_that_were_not_fitted():
    sample = images()
    found = Projection.from_bytes(fit(sample)[0])
    task = dataclasses.replace(TASK, channels=6, summary=7, projection=found.sha256)
    cosines, sizes = [], []
    for one in sample[7::8]:
        values = task.encode(task.pseudo_label(one | {"grid": found.project(one["grid"])}))
        stored = np.frombuffer(values["vectors/grid/values"], np.int8).reshape(5, 4, 6)
        back = found.restore(stored * np.float32(values["vectors/grid/scale"][0]))
        cosines.append(cosine(one["grid"], back).mean())
        sizes.append(sum(len(value) * (1 if isinstance(value, bytes) else 4) for value in values.values()))
    assert found.figures["cosine"] == pytest.approx(np.mean(cosines), rel=1e-6) and np.mean(cosines) > 0.99
    assert found.figures["bytes"] == pytest.approx(np.mean(sizes), abs=4)


def test_same_images_give_the_same_bytes_and_others_do_not():
    assert fit(images())[0] == fit(images())[0] != fit(images(seed=1))[0]


def test_fewer_components_where_there_are_fewer():
    found = Projection.from_bytes(fit(images(), channels=64)[0])
    assert (found.channels, found.asked) == (12, 64)
    assert Projection.from_bytes(fit(images(1), channels=64)[0]).channels <= 12


@pytest.mark.parametrize("sample", [[], [{"grid": np.ones((3, 3, 4), np.float32), "summary": np.ones(2)}]])
def test_what_has_no_components_is_said(sample):
    with pytest.raises(ValueError, match=r"0 vectors of features|the features of all places are equal"):
        fit(sample)


def test_features_of_other_lengths_are_said():
    """They would be broadcast, or end in an error of numpy."""
    sample = images(3)
    with pytest.raises(ValueError, match=r"vectors of \[11, 7\] numbers .* for one .* of \[12, 7\] for another"):
        fit([*sample, {**sample[0], "grid": sample[0]["grid"][..., :11]}])


def test_file_of_a_card_is_read_and_a_bad_one_is_refused(tmp_path, monkeypatch):
    data, _ = fit(images())
    (tmp_path / "good.npz").write_bytes(data)
    found = Projection.from_json("good.npz", tmp_path / "model.card.yaml")
    assert found.to_json()["sha256"] == found.sha256 == Projection.from_bytes(data).sha256
    assert Projection.from_json(found, "x") is found
    monkeypatch.chdir(tmp_path)  # a flag names it from where the command is given
    assert Projection.from_json("good.npz", tmp_path / "models" / "model.card.yaml").sha256 == found.sha256
    (tmp_path / "cut.npz").write_bytes(data[:-100])
    np.savez(tmp_path / "other.npz", mean=np.ones(3))
    for name, message in (
        ("cut.npz", "cut.npz: holds no principal components"),
        ("other.npz", "other.npz: holds no principal components"),
        ("missing.npz", r"missing.npz: no such file, .* in the current folder; leave the field out"),
        (3, "projection: 3 received; expected the name of a file"),
    ):
        with pytest.raises(UserError, match=message):
            Projection.from_json(name, tmp_path / "model.card.yaml")
