"""Writes records as other tools read them: COCO, YOLO, VOC, masks, maps, classes, Label Studio, Hugging Face."""

import sys

from must_tf import Verb
from must_tf.convert.format import Format
from must_tf.convert.images import MODES
from must_tf.convert.run import FORMATS, Converted, convert, format_of
from must_tf.convert.selection import ORDERS, Selection, choose_tasks

__all__ = ["FORMATS", "MODES", "ORDERS", "Converted", "Format", "Selection", "choose_tasks", "convert", "format_of"]

sys.modules[__name__].__class__ = Verb
