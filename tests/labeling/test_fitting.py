"""Principal components are fitted before anything is labeled: once, whole, and the same after a stop."""

import functools
import io

import numpy as np
import pytest
import tf_keras
import toy
from PIL import Image

from must_tf.errors import UserError
from must_tf.labeling import label
from must_tf.labeling.runners import Processes
from must_tf.labeling.shard import Failure
from must_tf.records import open_dataset
from must_tf.verbs.teachers import teachers_of

FIELDS = {"task": "features", "range": [0, 1], "components": 6}


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    """A file of a backbone of stride 16 with 40 channels; beside it is that of another one."""
    folder = tmp_path_factory.mktemp("backbone")
    for seed, name in enumerate(("model", "other")):
        tf_keras.utils.set_random_seed(seed)
        layers = [tf_keras.layers.Conv2D(40, 3, 4, "same", activation="relu") for _ in range(2)]
        model = tf_keras.Sequential([tf_keras.Input((64, 64, 3)), *layers], name="feature_map")
        model.save(folder / f"{name}.keras")
    return folder / "model.keras"


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for i in range(9):
        Image.fromarray(toy.random_image(rng, *toy.SIZES[i % len(toy.SIZES)])).save(folder / f"{i}.png")
    return folder


def load(backbone, **fields):
    return toy.load_all([f"vectors=keras:{backbone}"], fields={"vectors": FIELDS | fields})


def contents(folder):
    """Returns the bytes of all shards and of what was fitted."""
    return {
        path.name: path.read_bytes()
        for path in sorted(folder.iterdir())
        if "tfrecord-" in path.name or path.suffix == ".npz"
    }


@pytest.fixture(scope="module")
def labeled(backbone, photos, tmp_path_factory):
    out = tmp_path_factory.mktemp("labeled") / "out"
    label(photos, functools.partial(load, backbone), out, images_per_shard=4)
    return out


def test_labels_are_along_the_components_in_the_folder(labeled, backbone, photos):
    """A second dataset takes the components of the first one, and then has labels of the same identity."""
    dataset = open_dataset(labeled)
    (task,) = dataset.manifest.tasks
    (teacher,) = load(backbone, projection=str(labeled / "vectors.fitted.npz"))
    assert teacher.task == task and {record.origins["vectors"] for record in dataset.records()} == {teacher.id}
    full = load(backbone)[0]
    for record in dataset.records():
        image = np.asarray(Image.open(io.BytesIO(record.encoded)).convert("RGB"))
        (outputs,) = full.predict([full.view(image)], 4)
        expected = teacher.card.reader.projection.project(outputs["grid"])
        unit = np.abs(expected).max() / 254
        np.testing.assert_allclose(record.labels["vectors"]["grid"], expected, atol=unit + 1e-3)


def stop(*_):
    raise KeyboardInterrupt


def stopped(at, images, backbone, out, **fields):
    """Labels images, and is stopped where this function is called."""
    with pytest.MonkeyPatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(at, stop)
        label(images, functools.partial(load, backbone, **fields), out, images_per_shard=4)
    assert (out / "vectors.fitted.npz").exists()


def test_a_run_that_was_stopped_goes_on_with_what_was_fitted(labeled, backbone, photos, tmp_path, monkeypatch):
    stopped("must_tf.labeling.run._run", photos, backbone, tmp_path / "out")
    monkeypatch.setattr("must_tf.labeling.fitting._outputs", stop)  # is not run again
    label(photos, functools.partial(load, backbone), tmp_path / "out", images_per_shard=4)
    assert contents(tmp_path / "out") == contents(labeled)
    assert label(photos, functools.partial(load, backbone), tmp_path / "out", images_per_shard=4).count == 9


def test_what_a_run_without_labels_left_is_fitted_again_to_these_images(labeled, backbone, photos, tmp_path):
    """Other images, or a card that prepares them in another way, would have components without a meaning."""
    Image.fromarray(toy.random_image(np.random.default_rng(1), 64, 64)).save(tmp_path / "other.png")
    stopped("must_tf.labeling.run.pending", tmp_path / "other.png", backbone, tmp_path / "images")
    stopped("must_tf.labeling.run.pending", photos, backbone, tmp_path / "card", range=[-1, 1])
    for name in ("images", "card"):
        label(photos, functools.partial(load, backbone), tmp_path / name, images_per_shard=4)
        assert contents(tmp_path / name) == contents(labeled)


def test_components_of_another_model_or_number_are_refused(labeled, backbone, photos):
    fitted = str(labeled / "vectors.fitted.npz")
    with pytest.raises(UserError, match="projection: was fitted to the features of another model"):
        load(backbone.with_name("other.keras"), projection=fitted)
    with pytest.raises(UserError, match="components: 7 received; expected 6, as `projection` has"):
        load(backbone, projection=fitted, components=7)
    with pytest.raises(UserError, match="made with other arguments"):
        label(photos, functools.partial(load, backbone), labeled, images_per_shard=5)
    other = toy.load_all([f"others=keras:{backbone}"], fields={"others": FIELDS})
    with pytest.raises(UserError, match=r"others.fitted.npz: is missing in a folder that holds records"):
        label(photos, other, labeled, images_per_shard=4)
    assert not (labeled / "others.fitted.npz").exists()


def test_test_time_augmentation_is_fitted_and_an_ensemble_is_refused(backbone, photos, tmp_path):
    arguments = {"fields": {"vectors": FIELDS}}
    mirrored = teachers_of({"vectors": f"keras:{backbone}"}, tta=("flip",), **arguments)
    manifest = label(photos, mirrored, tmp_path / "mirrored")
    assert manifest.tasks[0].projection and manifest.count == 9
    both = teachers_of({"vectors": [f"keras:{backbone}", f"keras:{backbone.with_name('other.keras')}"]}, **arguments)
    with pytest.raises(UserError, match="vectors: 2 teachers, and projection is of one model"):
        label(photos, both, tmp_path / "both")


def test_teachers_that_lack_their_components_cannot_label_elsewhere(backbone):
    (teacher,) = load(backbone)
    outputs = teacher.predict([np.zeros((64, 64, 3), np.uint8)], 1)[0]
    with pytest.raises(UserError, match=r"principal components are not fitted; .* --cards.vectors.projection="):
        teacher.task.encode(teacher.label(outputs, 64, 64))


def test_images_without_any_features_are_said(backbone, tmp_path):
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (64, 64)).save(tmp_path / "photos" / "black.png")
    tf_keras.Sequential([tf_keras.Input((64, 64, 3)), tf_keras.layers.AveragePooling2D(16)]).save(
        tmp_path / "gray.keras"
    )
    with pytest.raises(UserError, match="vectors: cannot be fitted to a sample of the images: the features of all pla"):
        label(tmp_path / "photos", load(tmp_path / "gray.keras"), tmp_path / "out")


def test_the_reason_is_said_if_no_image_can_be_fitted(backbone, photos, tmp_path, monkeypatch):
    monkeypatch.setattr("must_tf.labeling.shard.predict_each", lambda teacher, seen, size: [Failure("no memory")] * 9)
    with pytest.raises(UserError, match=r"vectors: none of 9 images of a sample can be .*png: .* failed on it: no m"):
        label(photos, load(backbone), tmp_path / "out", images_per_shard=4)


def test_dry_runs_fit_on_few_images_and_say_so(backbone, photos, tmp_path, run_verb, monkeypatch):
    """The time of a plan holds that of the fit: 9 images of 9, before they are labeled."""
    monkeypatch.setattr("must_tf.cli.label._FITTED", 4)
    flags = [f"--cards.vectors.{name}={value}" for name, value in FIELDS.items()]
    argv = [f"--images={photos}", f"--teachers=vectors=keras:{backbone}", f"--out={tmp_path / 'out'}", *flags]
    for mode, words in (("--plan", "9 images, after 9 to fit on, at "), ("--preview=2", "labels of 2 images")):
        code, printed, err = run_verb("label", *argv, mode)
        assert code == 0, err
        assert "fitted on 4 images" in printed and "the run fits on up to 1024" in printed and words in printed
        assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_several_processes_give_the_same_bytes(labeled, backbone, photos, tmp_path):
    runner = Processes(2)
    label(photos, functools.partial(load, backbone), tmp_path / "out", images_per_shard=4, runner=runner)
    assert contents(tmp_path / "out") == contents(labeled)
