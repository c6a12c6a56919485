"""Fine-tunes an exported backbone in Keras 3 on tiles of three photographs; prints the accuracy on others.

    must export --workdir=RUN --formats=keras --out=EXPORT
    python -m must_tf.experiments.finetune.keras3 EXPORT

Stages 1 and 2 stay as they are; the rest of the backbone learns at a tenth of the head's rate. Batch norms keep their
statistics (`training=False`): the data are few.
"""

import sys

import keras

import must_tf
from must_tf.experiments.finetune import tiles


class Layerwise(keras.optimizers.Adam):
    """Adam with a rate for each layer: variables are known by the layer that holds them."""

    def update_step(self, gradient, variable, learning_rate):
        """Scales the rate of all but the head."""
        path = getattr(variable, "path", variable.name)  # TensorFlow's have no path, but a name that is one
        super().update_step(gradient, variable, learning_rate * (1.0 if "head" in path.split("/") else 0.1))


def main(export: str, epochs: int = 10) -> float:
    """Fine-tunes, and returns the accuracy on the test tiles."""
    (images, labels), test = tiles.load()
    backbone = must_tf.load_backbone(export, keras=3)
    for layer in backbone.layers:
        layer.trainable = not layer.name.startswith(("stage1", "stage2"))

    inputs = keras.Input([64, 64, 3])
    pooled = keras.layers.GlobalAveragePooling2D()(backbone(inputs, training=False)["C5"])
    model = keras.Model(inputs, keras.layers.Dense(len(tiles.CLASSES), name="head")(pooled))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(Layerwise(1e-3), loss, metrics=["accuracy"])
    model.fit(images, labels, batch_size=16, epochs=epochs, verbose=0)
    return model.evaluate(*test, verbose=0, return_dict=True)["accuracy"]


if __name__ == "__main__":
    print(f"accuracy on unseen tiles: {main(sys.argv[1]):.3f}")
