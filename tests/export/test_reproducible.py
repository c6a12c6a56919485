"""An export of the same student is the same bytes from every process."""

import json
import os
import subprocess
import sys
import zipfile

import pytest
import tensorflow as tf
import tf2onnx

from must_tf.export import FORMATS, card, reproducible
from must_tf.export.formats import plan_files
from must_tf.integrity import describe_files

EXPORTER = """
import json, sys
import tensorflow as tf
from must_tf.export import export
options, workdir, out, *formats = sys.argv[1:]
tf.config.optimizer.set_experimental_options(json.loads(options))
export(workdir, out, formats, batches=[3], litert_images=4)
"""


def test_an_export_from_a_fresh_process_has_the_bytes_of_one_from_a_process_that_made_other_models(
    everywhere, classifier, tmp_path
):
    out = tmp_path / "again"
    formats = json.loads((everywhere[0] / "card.json").read_text())["formats"]
    # Both processes compare their files with a student that runs alike.
    options = json.dumps(tf.config.optimizer.get_experimental_options())
    argv = [sys.executable, "-c", EXPORTER, options, classifier, out, *formats]
    environment = os.environ | {"PYTHONHASHSEED": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    ours, theirs = describe_files(everywhere[0]), describe_files(out)
    assert set(ours) == set(theirs)
    assert [name for name in ours if ours[name] != theirs[name]] == []


def test_onnx_does_not_count_what_its_process_has_made(run, tmp_path, monkeypatch):
    workdir, student = run
    facts = card.describe(student, workdir, True, plan_files(student, ["onnx"]))
    for count in (7, 99_990):
        monkeypatch.setattr(tf2onnx.utils, "INTERNAL_NAME", count)
        FORMATS["onnx"].write(student, "heads", tmp_path / str(count), facts)
    assert (tmp_path / "7").read_bytes() == (tmp_path / "99990").read_bytes()


class Counted(tf.Module):
    """Functions with branches, a loop and a gradient of its own, which TensorFlow counts."""

    def __init__(self):
        self.factor = tf.Variable(2.0)

        @tf.custom_gradient
        def double(x):
            return 2 * x, lambda upstream: 3 * upstream

        @tf.function(input_signature=[tf.TensorSpec([], tf.float32)])
        def serve(x):
            for _ in tf.range(3):
                x = double(x) * self.factor
            return {"y": tf.cond(x > 0, lambda: x, lambda: -x)}

        self.serve = serve


def saved(folder):
    module = Counted()
    tf.saved_model.save(module, str(folder), signatures=module.serve)
    reproducible.clean_saved_model(folder)
    return describe_files(folder)


def test_a_saved_model_with_branches_loops_and_gradients_is_the_same_and_runs(tmp_path):
    one, other = saved(tmp_path / "one"), saved(tmp_path / "other")
    assert one == other
    loaded = tf.saved_model.load(str(tmp_path / "one"))
    assert loaded.serve(tf.constant(-1.0))["y"].numpy() == 64
    assert loaded.signatures["serving_default"](tf.constant(1.0))["y"].numpy() == 64
    x = tf.Variable(1.0)
    with tf.GradientTape() as tape:
        y = loaded.serve(x)["y"]
    assert tape.gradient(y, x).numpy() == (3 * 2) ** 3  # the gradient that the function brought along
    found = tf.saved_model.experimental.read_fingerprint(str(tmp_path / "one"))
    assert found.saved_model_checksum and found.singleprint()


def test_a_saved_model_does_not_hold_the_settings_of_its_process(tmp_path):
    before, option = tf.config.optimizer.get_experimental_options(), "constant_folding"
    plain = saved(tmp_path / "plain")
    tf.config.optimizer.set_experimental_options({option: False})
    try:
        assert saved(tmp_path / "set") == plain
    finally:
        tf.config.optimizer.set_experimental_options({option: before.get(option, True)})


@pytest.mark.parametrize("name", ["keras", "tf_keras"])
def test_a_keras_file_has_no_dates(everywhere, name):
    with zipfile.ZipFile(everywhere[0] / FORMATS[name].path("backbone")) as archive:
        assert {entry.date_time[0] for entry in archive.infolist()} == {1980}
        assert archive.namelist() == sorted(archive.namelist())
        assert b"date" not in archive.read("metadata.json")
