"""Fine-tunes an exported backbone in tf_keras (Keras 2) on tiles of three photographs; prints the accuracy on others.

    must export --workdir=RUN --formats=tf_keras --out=EXPORT
    python -m must_tf.experiments.finetune.keras2 EXPORT

Stages 1 and 2 stay as they are; the rest of the backbone learns at a tenth of the head's rate. Batch norms keep their
statistics (`training=False`): the data are few.
"""

import sys

import tensorflow as tf
import tf_keras

import must_tf
from must_tf.experiments.finetune import tiles


class Model(tf_keras.Model):
    """A model whose head has an optimizer of its own."""

    def compile(self, slow, *args, **kwargs):
        """Takes the backbone's optimizer, then all that `compile` takes."""
        super().compile(*args, **kwargs)
        self.slow = slow

    def train_step(self, data):
        """One step of both optimizers."""
        images, labels = data
        with tf.GradientTape() as tape:
            loss = self.compute_loss(images, labels, self(images, training=True))
        head = self.get_layer("head").trainable_variables
        rest = self.get_layer("backbone").trainable_variables
        for_head, for_rest = tape.gradient(loss, [head, rest])
        self.optimizer.apply_gradients(zip(for_head, head, strict=True))
        self.slow.apply_gradients((g, v) for g, v in zip(for_rest, rest, strict=True) if g is not None)
        return {"loss": loss}


def main(export: str, epochs: int = 10) -> float:
    """Fine-tunes, and returns the accuracy on the test tiles."""
    (images, labels), test = tiles.load()
    backbone = must_tf.load_backbone(export)
    for layer in backbone.layers:
        layer.trainable = not layer.name.startswith(("stage1", "stage2"))

    inputs = tf_keras.Input([64, 64, 3])
    pooled = tf_keras.layers.GlobalAveragePooling2D()(backbone(inputs, training=False)["C5"])
    model = Model(inputs, tf_keras.layers.Dense(len(tiles.CLASSES), name="head")(pooled))
    loss = tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(tf_keras.optimizers.Adam(1e-4), tf_keras.optimizers.Adam(1e-3), loss, metrics=["accuracy"])
    model.fit(images, labels, batch_size=16, epochs=epochs, verbose=0)
    return model.evaluate(*test, verbose=0, return_dict=True)["accuracy"]


if __name__ == "__main__":
    print(f"accuracy on unseen tiles: {main(sys.argv[1]):.3f}")
