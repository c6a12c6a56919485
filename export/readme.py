"""The model card for people, in Markdown."""

import inspect
from collections.abc import Sequence
from typing import Any

from must_tf.export.parity import BOUND, Parity, table
from must_tf.tasks import from_json

_SNIPPETS = {
    "savedmodel": """
## Load it: Keras 3

The backbone as a layer that can be fine-tuned. Without `call_training_endpoint` the batch norms' moving statistics
would stay as they are.

```python
import keras
import numpy as np

images = np.zeros([1, {height}, {width}, 3], "float32")  # RGB in [0, 255]
backbone = keras.layers.TFSMLayer(
    "savedmodel/backbone", call_endpoint="features", call_training_endpoint="features_train"
)
features = backbone(images)  # {features}
```

With must_tf: `must finetune --init=FOLDER`, or `load_trunk(student, FOLDER)`, where FOLDER is that of this file.

## Load it: TensorFlow

```python
import numpy as np
import tensorflow as tf

images = np.zeros([1, {height}, {width}, 3], "float32")  # RGB in [0, 255]
student = tf.saved_model.load("savedmodel/student")
outputs = student.signatures["serving_default"](images=tf.constant(images))  # by name, as above
features = student.features(images)  # {features}
```
""",
    "onnx": """
## Load it: onnxruntime

```python
import numpy as np
import onnxruntime

images = np.zeros([1, {height}, {width}, 3], "float32")  # RGB in [0, 255]
session = onnxruntime.InferenceSession("onnx/student.onnx", providers=["CPUExecutionProvider"])
names = [output.name for output in session.get_outputs()]
outputs = dict(zip(names, session.run(None, {{"images": images}})))  # by name, as above
```

`onnx/backbone.onnx` gives {features}.
""",
}


def render(card: dict[str, Any], licences: Sequence[str]) -> str:
    """Returns the README of an export.

    Args:
      card: what card.json holds.
      licences: lines on the licences of the training labels.
    """
    trunk = card["trunk"]
    pyramid = f", pyramid {_names(f'P{level}' for level in card['levels'])} of {trunk['num_filters']} channels"
    height, width = card["input_size"]
    words = {
        "height": height,
        "width": width,
        "features": _names(card["outputs"]["backbone"]),
    }
    return "\n".join(
        [
            f"# {card['name']}\n",
            f"ResNet-{trunk['depth']}, width {trunk['width']:g}{pyramid if card['levels'] else ''}; made by must_tf "
            f"{card['must_tf']} from weights {card['weights_sha256'][:16]}. Trained at {height}x{width}.\n",
            "## Input\n",
            f"{card['input']}.\n",
            "## Tasks\n",
            *_table(("task", "kind", "classes", "outputs"), [_task_row(task) for task in card["tasks"]]),
            "## Outputs\n",
            "Sides that do not divide are rounded up.\n",
            *_table(("part", "name", "shape"), _output_rows(card["outputs"])),
            *(_SNIPPETS[name].strip().format(**words) + "\n" for name in card["formats"]),
            "## Parity\n",
            f"Each file was loaded by its own runtime and compared with the student; bound {BOUND:g}. "
            "card.json has every size and batch. Boxes are compared in pairs: near-tied ones may change places.\n",
            f"```\n{table([Parity(**entry) for entry in card['parity']])}\n```\n",
            "## Files\n",
            *_table(("file", "bytes"), [(name, f"{size:,}") for name, size in card["files"].items()]),
            "## Licences\n",
            *(f"- {line}" for line in licences),
            "",
        ]
    )


def _task_row(task: dict[str, Any]) -> tuple[str, ...]:
    names = task.get("class_names", ())
    few = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
    said = (inspect.getdoc(from_json(task).outputs) or "").splitlines()[0]
    return task["name"], task["kind"], f"{len(names)}: {few}" if names else "", said


def _output_rows(outputs: dict[str, dict[str, list[int | str]]]) -> list[tuple[str, ...]]:
    return [
        (part, f"`{name}`", f"[{', '.join(map(str, shape))}]")
        for part, shapes in outputs.items()
        for name, shape in shapes.items()
    ]


def _names(names) -> str:
    return ", ".join(names)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [*(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)), ""]
