"""Sources: open folders of images, TFRecords, TFDS datasets and labeled datasets, and read them as records."""

from must_tf.sources.decoding import MAX_PIXELS
from must_tf.sources.opening import may_have_labels, open_source
from must_tf.sources.renaming import renamed
from must_tf.sources.source import Source

__all__ = ["MAX_PIXELS", "Source", "may_have_labels", "open_source", "renamed"]
