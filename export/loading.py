"""Loads the backbone of an export as a Keras model to fine-tune."""

import functools
import os
from pathlib import Path
from typing import Any

from must_tf.copies import fetched
from must_tf.errors import UserError
from must_tf.export.endpoints import BACKBONE
from must_tf.export.formats import FORMATS
from must_tf.export.verify import verify

__all__ = ["load_backbone"]


def load_backbone(where: str | os.PathLike, keras: int | None = None) -> Any:
    """Loads the backbone of an export: a trainable model of plain layers, [batch, H, W, 3] → {`C5`, `P3`, ...}.

    Layers are named by stage: `stage1_...` (stem) to `stage5_...`, then `fpn_...`. A model of Keras 3 also has the
    attributes of a backbone of KerasHub: `pyramid_outputs` (P3, ...), `image_shape`, `min_level` and `max_level`.

    Args:
      where: folder of the export.
      keras: 3 for a model of Keras 3; by default one of tf_keras.

    Raises:
      UserError: no export, one without the format, or one that is damaged; an unknown Keras. The model itself raises
        it for images whose height or width is not a multiple of 32.
    """
    if keras not in (None, 2, 3):
        raise UserError(f"keras: {keras!r}; expected 3 for Keras 3, or None for tf_keras")
    version: Any = FORMATS["keras" if keras == 3 else "tf_keras"]
    file = version.path(BACKBONE)
    where = fetched(where)
    verify(where, file.partition("/")[0])
    model = _guarded(version.keras.saving.load_model(Path(where, file), safe_mode=True))
    return _for_kerashub(model) if keras == 3 else model


def _guarded(model: Any) -> Any:
    """Makes a model check the size of its images, which else fails in a sum of the pyramid."""
    for name in ("call", "compute_output_spec"):  # Keras 3 runs the second one on what `Input` gives
        if hasattr(model, name):
            setattr(model, name, _checked(getattr(model, name)))
    return model


def _checked(method: Any) -> Any:
    @functools.wraps(method)
    def checked(inputs: Any, *args: Any, **kwargs: Any) -> Any:
        height, width = inputs.shape[1:3]
        if (height or 0) % 32 or (width or 0) % 32:
            raise UserError(f"images of {height}x{width} pixels; height and width must be multiples of 32")
        return method(inputs, *args, **kwargs)

    return checked


def _for_kerashub(model: Any) -> Any:
    """Adds the attributes by which KerasHub's detectors and segmenters know a backbone."""
    levels = sorted(name for name in model.output if name.startswith("P"))
    model.pyramid_outputs = {level: model.output[level] for level in levels}
    model.image_shape = (None, None, 3)
    if levels:
        model.min_level, model.max_level = int(levels[0][1:]), int(levels[-1][1:])
    return model
