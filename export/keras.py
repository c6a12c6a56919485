"""A `.keras` file of Keras 3's own layers: loads without must_tf, on TensorFlow, JAX and PyTorch."""

from pathlib import Path

import keras
import numpy as np

from must_tf.export import card, plain
from must_tf.export.parity import Runner
from must_tf.student import Student

PARTS = plain.PARTS
SNIPPET = """
## Load it: Keras 3, on any backend

```python
import keras
import numpy as np

images = np.zeros([1, {height}, {width}, 3], "float32")  # {pixels}
backbone = keras.saving.load_model("keras/backbone.keras", safe_mode=True)
features = backbone(images)  # {features}
for layer in backbone.layers:  # stage1 (stem) ... stage5, fpn
    layer.trainable = not layer.name.startswith(("stage1", "stage2"))
```

With must_tf: `must_tf.load_backbone(FOLDER, keras=3)`, where FOLDER is that of this file; it can be given to KerasHub.
"""


def path(part: str) -> str:
    """Returns where a part lies in an export."""
    return f"keras/{part}.keras"


def write(student: Student, part: str, file: Path, facts: card.Card) -> None:
    """Writes the backbone; the file has no place for facts, which stand in the card beside it."""
    assert part in PARTS
    file.parent.mkdir(parents=True, exist_ok=True)
    plain.build(keras, student, facts["normalization"]["inside"]).save(file)


def load(file: Path) -> Runner:
    """Returns a `.keras` file as Keras 3 loads it."""
    model = keras.saving.load_model(file, compile=False, safe_mode=True)

    def run(images: np.ndarray) -> dict[str, np.ndarray]:
        outputs = model(images, training=False)
        return {name: keras.ops.convert_to_numpy(values) for name, values in outputs.items()}

    return run
