"""What a kind declares of its outputs decides what is exported: tested with kinds that are in no other file."""

import dataclasses
import json
from typing import ClassVar

import pytest
import tensorflow as tf
import tf_keras
import toy

from must_tf import tasks
from must_tf.export import FORMATS, card, endpoints, export, notes
from must_tf.export.formats import plan_files
from must_tf.student import Student
from must_tf.tasks import Normals, Output, Ranking
from must_tf.tasks.task import PYRAMID

COUNT = 8


class PeaksHead(tf_keras.layers.Layer):
    """Reads the finest level of the pyramid: {level: [batch, h, w, C]} → [batch, h, w, 4]."""

    def __init__(self):
        super().__init__()
        self.conv = tf_keras.layers.Conv2D(4, 1)

    def call(self, pyramid, training=False):
        return tf.cast(self.conv(pyramid[min(pyramid)]), tf.float32)


@dataclasses.dataclass(frozen=True)
class Peaks(Normals):
    """A ranked list of the best pixels, read from the pyramid; LiteRT is left out."""

    taps: ClassVar = (PYRAMID,)
    outputs: ClassVar = (
        Output("points", ("peak", "xyz"), "where it is"),
        Output("ids", ("peak",), "-1 is padding"),
        Output("quality", ("peak",), "its score"),
    )
    ranking: ClassVar = Ranking(("points", "ids", "quality"), "quality", "ids")
    left_out: ClassVar = {"litert": "lists of peaks are not tried in LiteRT"}

    def head(self, trunk):
        return PeaksHead()

    def decode_predictions(self, prediction, view_size):
        rows = tf.reshape(prediction, [tf.shape(prediction)[0], -1, 4])
        quality, best = tf.math.top_k(tf.sigmoid(rows[..., 0]), COUNT)
        points = tf.gather(rows[..., 1:], best, batch_dims=1)
        ids = tf.where(quality > 0.5, tf.cast(points[..., 0] > 0, tf.int32), -1)
        return {"points": points, "ids": ids, "quality": quality}


@dataclasses.dataclass(frozen=True)
class Quarter(Normals):
    """A map of a quarter of the image."""

    outputs: ClassVar = (Output("map", ("height/4", "width/4", "xyz"), "as predicted"),)

    def decode_predictions(self, prediction, view_size):
        return {"map": prediction}


@pytest.fixture
def kinds(monkeypatch):
    for kind in (Peaks, Quarter):
        monkeypatch.setitem(tasks.KINDS, kind.__name__.lower(), kind)


def test_a_kind_that_reads_the_pyramid_and_ranks_is_exported_as_it_declares(kinds, finish, tmp_path):
    finish(tmp_path / "run", (Peaks("peaks"), Quarter("quarter")))
    out = tmp_path / "out"
    parities = export(tmp_path / "run", out, ["onnx"], sizes=[(64, 96)], batches=[2])
    named = {"peaks/points", "peaks/ids", "peaks/quality", "quarter/map"}
    for part in ("heads", "student"):
        assert {parity.output for parity in parities if part in parity.file} == named
    said = json.loads((out / "card.json").read_text())
    assert (
        said["outputs"]["heads"]
        == said["outputs"]["student"]
        == {
            "peaks/points": ["batch", COUNT, 3],
            "peaks/ids": ["batch", COUNT],
            "peaks/quality": ["batch", COUNT],
            "quarter/map": ["batch", "height/4", "width/4", 3],
        }
    )
    assert said["left_out"] == [] and not any("left out" in line for line in notes(out))


def test_a_format_that_a_kind_leaves_out_is_said_of_every_file_and_an_empty_one_is_not_written():
    student = Student((Peaks("peaks"), toy.SCENE), toy.TRUNK)
    files = plan_files(student, ["onnx", "litert"])
    assert not any(file.empty for file in files)
    said = {"left_out": card._left_out(files), "files": {file.path: {} for file in files}}
    heads = [FORMATS["litert"].path(f"student.{precision}") for precision in ("float32", "float16", "int8")]
    assert card.left_out(said) == [
        f"task peaks is left out of {', '.join(heads)}: lists of peaks are not tried in LiteRT"
    ]
    alone = plan_files(Student((Peaks("peaks"),), toy.TRUNK), ["litert"])
    assert [file.path for file in alone if file.empty] == heads


def declares(outputs, ranking=None):
    """Returns the peaks' kind with other declarations."""
    return dataclasses.dataclass(frozen=True)(type("Peaks", (Peaks,), {"outputs": outputs, "ranking": ranking}))


POINTS, IDS, QUALITY = Peaks.outputs


@pytest.mark.parametrize(
    ("outputs", "said"),
    [
        ((POINTS, IDS), "gives, and `outputs` does not declare 'quality'"),
        ((*Peaks.outputs, Output("more", (), "")), "does not give, and `outputs` declares 'more'"),
        ((POINTS, IDS, Output("quality", ("peak", "one"), "")), r"'peaks/quality' has shape \[2, 8\].*'one'"),
        ((Output("points", ("height", "xyz"), ""), IDS, QUALITY), r"'peaks/points' has shape \[2, 8, 3\].*'height'"),
    ],
)
def test_outputs_that_are_not_as_declared_are_an_error_that_names_kind_and_output(outputs, said):
    student = Student((declares(outputs)("peaks"),), toy.TRUNK)
    with pytest.raises(TypeError, match=f"^peaks: .*{said}"):
        endpoints.shapes(student, "student")


def test_an_axis_that_varies_must_be_declared_as_a_side():
    @dataclasses.dataclass(frozen=True)
    class Strip(Quarter):
        outputs: ClassVar = (Output("map", ("row", "width/4", "xyz"), ""),)

    with pytest.raises(TypeError, match=r"strip: output 'strip/map' has shape .* its declared axes are .*'row'"):
        endpoints.shapes(Student((Strip("strip"),), toy.TRUNK), "student")


def test_a_ranking_of_outputs_that_are_not_declared_is_an_error():
    student = Student((declares(Peaks.outputs, Ranking(("points", "scores"), "scores", "ids"))("peaks"),), toy.TRUNK)
    with pytest.raises(TypeError, match="peaks: `ranking` names 'scores'"):
        endpoints.rankings(student)
