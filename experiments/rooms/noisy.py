"""Config of a student that has it harder than its teacher: as `student.py`, with stronger augmentation.

    must rounds --config=rooms/student.py --student=rooms/noisy.py --images=data/labeled/unlabeled --out=rounds

Random operations on colors and squares that are cut out, as in Noisy Student (arXiv 1911.04252). The trunk is the same,
so that rounds differ in their labels and not in size.
"""

import dataclasses

from must_tf.experiments.rooms import student
from must_tf.pipeline import Augment, Strong
from must_tf.training import Experiment


def get_config() -> Experiment:
    """Returns the experiment of the later rounds."""
    return dataclasses.replace(student.get_config(), augment=Augment((0.5, 1.5), strong=Strong(num_ops=2, cutout=0.5)))
