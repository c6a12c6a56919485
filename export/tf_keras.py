"""A `.keras` file of tf_keras's (Keras 2's) own layers: loads without must_tf and without Model Garden."""

from pathlib import Path

import numpy as np
import tf_keras

from must_tf.export import card, plain
from must_tf.export.parity import Runner
from must_tf.student import Student

PARTS = plain.PARTS
SNIPPET = """
## Load it: tf_keras (Keras 2)

```python
import numpy as np
import tf_keras

images = np.zeros([1, {height}, {width}, 3], "float32")  # {pixels}
backbone = tf_keras.models.load_model("tf_keras/backbone.keras")
features = backbone(images)  # {features}
for layer in backbone.layers:  # stage1 (stem) ... stage5, fpn
    layer.trainable = not layer.name.startswith(("stage1", "stage2"))
```

With must_tf: `must_tf.load_backbone(FOLDER)`, where FOLDER is that of this file.
"""


def path(part: str) -> str:
    """Returns where a part lies in an export."""
    return f"tf_keras/{part}.keras"


def write(student: Student, part: str, file: Path, facts: card.Card) -> None:
    """Writes the backbone; the file has no place for facts, which stand in the card beside it."""
    assert part in PARTS
    file.parent.mkdir(parents=True, exist_ok=True)
    plain.build(tf_keras, student, facts["normalization"]["inside"]).save(file)


def load(file: Path) -> Runner:
    """Returns a `.keras` file as tf_keras loads it."""
    model = tf_keras.models.load_model(file, compile=False)

    def run(images: np.ndarray) -> dict[str, np.ndarray]:
        return {name: values.numpy() for name, values in model(images, training=False).items()}

    return run
