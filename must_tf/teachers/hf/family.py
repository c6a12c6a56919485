"""Contract of a family of Hugging Face models: how a model is run, and how its outputs become a kind's arrays.

Outputs are read by the image processor's own post-processing, with the size of the image, so that labels are those of
`transformers.pipeline`, except where a processor crops or pads: see `frames`.
"""

import abc
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from must_tf.geometry import Size

Tensors = dict[str, Any]  # torch tensors by name


@dataclasses.dataclass(frozen=True)
class Family(abc.ABC):
    """Models of one family.

    Attributes:
      kind: the kind of its labels.
      raw: the outputs of the model that are read; those that a model does not have are left out.
      reading: card fields that say how its outputs are read; a card must not give them.
      classified: whether its kind has classes.
      prompted: whether classes are found by text, the card's `prompts`.
      whole: whether the processor of text and images prepares images, instead of its image processor.
      unpads: whether `read` takes the padding of the processor away itself; otherwise it is taken away after it.
      spare: names of parts of the model whose weights its files may lack; such a part becomes None.
    """

    kind: ClassVar[str]
    raw: ClassVar[tuple[str, ...]]
    reading: ClassVar[Mapping[str, Any]] = {}
    classified: ClassVar[bool] = True
    prompted: ClassVar[bool] = False
    whole: ClassVar[bool] = False
    unpads: ClassVar[bool] = False
    spare: ClassVar[frozenset[str]] = frozenset()

    def known(self, config: Any) -> dict[str, Any]:
        """Returns the card fields that the model's config defines, besides its classes.

        Raises:
          ValueError: the config says that it is no model of the kind.
        """
        del config
        return {}

    def with_reader(self, reader: Any) -> "Family":
        """Returns the family with what it must know of the card's reader, such as a threshold; by default, itself."""
        del reader
        return self

    def texts(self, processor: Any, prompts: Sequence[str]) -> list[Tensors]:
        """Returns the inputs that are the same for all images, one set per pass of the model."""
        del processor, prompts
        return [{}]

    def prepare(self, processor: Any, image: Any, **options: Any) -> Tensors:
        """Returns the inputs that depend on the image, a PIL image: tensors with a batch axis of 1."""
        return dict(processor(images=image, return_tensors="pt", **options))

    def run(self, model: Any, images: Tensors, texts: Sequence[Tensors]) -> Tensors:
        """Returns the outputs `raw` for a batch of images."""
        found = model(**images, **texts[0])
        return {name: found[name] for name in self.raw if found.get(name) is not None}

    @abc.abstractmethod
    def read(self, outputs: Any, size: Size, processor: Any) -> dict[str, np.ndarray]:
        """Returns the arrays of the kind's roles, with a batch axis of 1.

        Args:
          outputs: those of `run` for one image, with a batch axis of 1, as a `ModelOutput`.
          size: height and width of what the model saw, in pixels; boxes and depths are in this frame.
          processor: the image processor.
        """


# How boxes are read, whatever model finds them.
BOXES: dict[str, Any] = {
    "suppressed": True,
    "box_format": "xyxy",
    "box_units": "pixels",
    "outputs": {"boxes": "boxes", "scores": "scores", "classes": "labels"},
}
