"""Format `tf_keras`: a `.keras` file of tf_keras (Keras 2); loads without must_tf and without Model Garden."""

from typing import Any

import numpy as np

from must_tf.export.keras_file import KerasFile

_SNIPPET = """
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

With must_tf: `must_tf.load_backbone(FOLDER)`. FOLDER is the folder of this README.
"""


class TfKeras(KerasFile):
    """A `.keras` file of tf_keras's own layers."""

    name = "tf_keras"
    snippet = _SNIPPET
    library = "tf_keras"

    def to_numpy(self, values: Any) -> np.ndarray:
        """Turns a tensor of TensorFlow into an array."""
        return values.numpy()
