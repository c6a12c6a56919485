import json
import sys

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from must_tf.errors import UserError
from must_tf.export import FORMATS, export, litert


def test_each_precision_is_there_smaller_and_within_its_bound(everywhere):
    out, parities = everywhere
    for part in ("backbone", "student"):
        sizes = [(out / f"litert/{part}.{precision}.tflite").stat().st_size for precision in litert.PRECISIONS]
        assert sizes[1] < 0.6 * sizes[0] and sizes[2] < 0.4 * sizes[0]
    found = {parity.file: parity for parity in parities if parity.file.startswith("litert")}
    assert len(found) == len(FORMATS["litert"].parts)
    for file, parity in found.items():
        precision = file.split(".")[1]
        assert (parity.of, parity.bound) == {"float16": ("mean", 0.005), "int8": ("mean", 0.2)}.get(
            precision, ("largest", 1e-4)
        )


def test_int8_computes_in_int8_and_takes_and_gives_floats(everywhere):
    interpreter = Interpreter(str(everywhere[0] / "litert" / "backbone.int8.tflite"))
    ends = [*interpreter.get_input_details(), *interpreter.get_output_details()]
    assert {detail["dtype"] for detail in ends} == {np.float32}
    maps = [d for d in interpreter.get_tensor_details() if len(d["shape"]) == 4 and d["shape"][0] == 1]
    assert np.mean([d["dtype"] == np.int8 for d in maps]) > 0.8


@pytest.mark.parametrize("flag", [{"litert_size": (64, 96)}, {"litert_records": "data"}, {"litert_images": 3}])
def test_what_is_said_of_litert_alone_needs_it_among_the_formats(tmp_path, flag):
    with pytest.raises(UserError, match=f"--{next(iter(flag))}: received without litert in --formats"):
        export(tmp_path, tmp_path / "out", ["onnx"], **flag)


def test_size_and_calibration_are_what_was_asked_for_and_stand_in_the_card(classifier, toy_data, tmp_path, monkeypatch):
    monkeypatch.setattr(litert.LiteRT, "parts", ("backbone.int8",))
    out = tmp_path / "out"
    parities = export(classifier, out, ["litert"], litert_size=(64, 96), litert_records=str(toy_data), litert_images=3)
    assert {parity.size for parity in parities} == {(64, 96)}
    detail = Interpreter(str(out / "litert" / "backbone.int8.tflite")).get_input_details()[0]
    assert list(detail["shape"]) == [1, 64, 96, 3]
    card = json.loads((out / "card.json").read_text())
    assert card["litert"] == {"size": [64, 96], "records": str(toy_data), "images": 3}
    assert f"calibrated on 3 images of {toy_data}" in (out / "README.md").read_text().replace("\n", " ")


def test_a_missing_package_is_one_line_with_the_remedy(classifier, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    with pytest.raises(UserError, match=r"ai-edge-litert.*pip install 'must_tf\[litert\]'"):
        export(classifier, tmp_path / "out", formats=["litert"])


@pytest.mark.slow
def test_every_head_and_every_level_is_within_bounds_in_each_precision(run, tmp_path):
    parities = export(run[0], tmp_path / "out", formats=["litert"], litert_images=8)
    tasks = {parity.output.partition("/")[0] for parity in parities if "student" in parity.file}
    assert tasks == {"scene", "things", "stuff", "depth", "normals"}
    assert {parity.output for parity in parities if "backbone" in parity.file} == {"C5", "P3", "P4", "P5"}
