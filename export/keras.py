"""Format `keras`: a `.keras` file of Keras 3; loads without must_tf, on TensorFlow, JAX and PyTorch."""

from typing import Any

import numpy as np

from must_tf.export.keras_file import KerasFile

_SNIPPET = """
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

With must_tf: `must_tf.load_backbone(FOLDER, keras=3)`, which KerasHub takes as a backbone. FOLDER is the folder of this
README.
"""


class Keras(KerasFile):
    """A `.keras` file of Keras 3's own layers."""

    name = "keras"
    snippet = _SNIPPET
    library = "keras"

    def to_numpy(self, values: Any) -> np.ndarray:
        """Turns a tensor of any backend of Keras 3 into an array."""
        return self.keras.ops.convert_to_numpy(values)
