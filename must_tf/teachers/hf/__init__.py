"""Hugging Face models as teachers, `hf:NAME_OR_FOLDER` (extra `hf`): opened, prepared and read by transformers itself.

No card is needed: classes, conventions and thresholds come from the model's config, and the license from its README.
"""

from must_tf.teachers.hf.teacher import HfTeacher

__all__ = ["HfTeacher"]
