"""Recognizes the op that ends SSD detectors in .tflite files, `TFLite_Detection_PostProcess`."""

from collections.abc import Mapping
from typing import Any

_OP = "TFLite_Detection_PostProcess"
_ROLES = ("boxes", "classes", "scores", "count")  # its outputs, in their order


def facts_of_boxes(interpreter: Any, names: Mapping[int, str]) -> dict[str, Any]:
    """Returns the card fields that the op defines; none if the model does not end with it.

    Args:
      interpreter: of LiteRT.
      names: names of the model's outputs by index; their own order is any.
    """
    ops = [op for op in interpreter._get_ops_details() if op["op_name"] == _OP]
    if len(ops) != 1:
        return {}
    outputs = {role: names[int(i)] for role, i in zip(_ROLES, ops[0]["outputs"], strict=False) if int(i) in names}
    boxes = {"suppressed": True, "box_format": "yxyx", "box_units": "normalized"}
    return {"task": "detection", "outputs": outputs} | boxes if len(outputs) == len(_ROLES) else {}
