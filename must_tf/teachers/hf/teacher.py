"""Teachers from Hugging Face models: image processor, model and post-processing of transformers, in batches."""

import functools
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image

from must_tf.copies import named
from must_tf.errors import UserError, one_line
from must_tf.geometry import Geometry, Size, restore_map, stretch
from must_tf.parsing import short
from must_tf.runtime import pytorch
from must_tf.tasks import Task, kind_of, to_json
from must_tf.tasks.reader import Arrays
from must_tf.tasks.task import Outputs
from must_tf.teachers.hf import card
from must_tf.teachers.hf.family import Tensors
from must_tf.teachers.hf.files import Files, image_processor
from must_tf.teachers.hf.folder import sha256
from must_tf.teachers.hf.frames import Frames
from must_tf.teachers.model import versions
from must_tf.teachers.spec import TeacherSpec
from must_tf.teachers.teacher import InImage, Teacher, invalidate

_PIXELS = "pixel_values"
_GRAY = (96, 128)  # height and width of the image on which a model is tried


class HfTeacher(Teacher):
    """A model of transformers as a teacher, see the package.

    A view is what the image processor makes of the whole image. Views of one shape are run together, so that no label
    depends on the padding that other images of the batch would need.

    Args:
      spec: folder or name; and the card, fields and thresholds that replace what the model's files say.

    Raises:
      UserError: files are missing, pickled, or those of a model that transformers does not know; a library is not
        installed; the card does not fit. One run on a gray image checks this.
    """

    def __init__(self, spec: TeacherSpec):
        self.files = Files.find(spec)
        self.family, self.where = self.files.family, spec.where
        self.card = card.read_hf_card(spec, self.files)
        self.reader = self.card.reader
        self.family = self.family.with_reader(self.reader)
        self.task = kind_of(self.card.task)(spec.task, **self.reader.task_fields())
        self.left_out = self.reader.left_out
        self.processor = self.files.processor()
        self._image_processor = image_processor(self.processor)
        prepare = functools.partial(self.family.prepare, self._preparing)
        self._frames = Frames(prepare, self._image_processor, self.family.unpads, self.where)
        self._model = self.files.model().to(pytorch.device())
        self._texts = self._moved(self._tokens())
        self._check_on_gray()
        self.sha256 = sha256(self.files.folder)
        if problem := self.reader.misfit_of_model(self.sha256):
            raise self.card.error(problem)
        identity = f"{self.sha256} {json.dumps(self.card.to_json(), sort_keys=True)} {spec.task}"
        self.id = f"{Path(spec.path).name or self.files.name}-{hashlib.sha256(identity.encode()).hexdigest()[:8]}"

    @staticmethod
    def check(spec: TeacherSpec) -> None:
        """Raises a `UserError` if the files or the card cannot be used; no model is loaded."""
        card.read_hf_card(spec, Files.find(spec))

    @staticmethod
    def draft(spec: TeacherSpec) -> str:
        """Returns what a model's files define, as a card in YAML with its preparation in comments."""
        return card.draft(spec, Files.find(spec))

    def geometry(self, image_size: Any) -> Geometry:
        """Returns the geometry from an image to its view: the image itself, a center of it, or it beside padding."""
        height, width = (int(side) for side in image_size)
        place = self._frames.place(height, width)
        return place.geometry((height, width)) if place else stretch((height, width), (height, width))

    def reduction(self, height: int, width: int) -> int:
        """Returns 1: the processor sees every pixel."""
        return 1

    def view(self, image: np.ndarray, size: Size | None = None, ratio: int = 1) -> Tensors:
        """Returns what the processor makes of an image, uint8 RGB [height, width, 3]: tensors by name."""
        return self.family.prepare(self._preparing, Image.fromarray(image))

    def predict(self, views: Sequence[Tensors], batch_size: int) -> list[dict[str, np.ndarray]]:
        """Runs the model on views, those of one shape together; returns its own outputs for each."""
        found: list[dict[str, np.ndarray]] = [{}] * len(views)
        for places in _alike(views):
            outputs = self._run([views[place] for place in places])
            for row, place in enumerate(places):
                found[place] = {name: values[row] for name, values in outputs.items()}
        return found

    def in_image(self, outputs: Mapping[str, np.ndarray], height: int, width: int) -> InImage:
        """Returns a function that gives the outputs in the frame of an image, after the model's post-processing."""
        size, place = (height, width), self._frames.place(height, width)
        return functools.partial(self._in_image, self._arrays(outputs, place.view if place else size), size)

    def __call__(self, images: np.ndarray) -> Outputs:
        """Runs the model on images of one size, or on the centers that it crops; see `Teacher.__call__`."""
        crops, size = self._frames.crop is not None, images.shape[1:3]
        whole = {"do_resize": False, "do_center_crop": False} if crops else {}
        views = [self.family.prepare(self._preparing, Image.fromarray(image), **whole) for image in images]
        found = self.predict(views, len(views))
        each = [self._at(self._arrays(one, size), size) if crops else self.in_image(one, *size)() for one in found]
        finite = [all(np.isfinite(values).all() for values in outputs.values()) for outputs in found]
        return invalidate(_stacked(each, self.task), np.array(finite))

    def describe(self) -> dict[str, Any]:
        """Returns the card with all fields in use, the preparation, the SHA-256, and the versions of the libraries."""
        backend = ["torchvision"] if getattr(self._image_processor, "backend", "") == "torchvision" else []
        libraries = ["must_tf", "pillow", "tensorflow", "torch", "transformers", *backend]
        return {
            "format": "hf",
            "path": named(self.where.partition(":")[2]),
            "model": self.files.name,
            "sha256": self.sha256,
            "preparation": card.preparation(self.processor),
            "precision": str(self._model.dtype).removeprefix("torch."),
            "task": to_json(self.task),
            "card": self.card.to_json(),
            "license": self.card.license,
            "source": self.card.source,
            "libraries": versions(libraries),
        }

    @property
    def _preparing(self) -> Any:
        return self.processor if self.family.whole else self._image_processor

    def _tokens(self) -> list[Tensors]:
        """Returns the inputs of the card's texts; a `UserError` if they cannot be read, or two are the same to it."""
        prompts = list((self.card.prompts or {}).values())
        try:
            texts = self.family.texts(self.processor, prompts)
        except Exception as error:  # of transformers and tokenizers
            raise UserError(f"{self.where}: its processor cannot read the prompts: {one_line(error)}") from error
        rows = [tuple(row) for tokens in texts if prompts for row in tokens["input_ids"].tolist()]
        if len({*rows}) < len(rows):
            twice = next(text for text, row in zip(prompts, rows, strict=True) if rows.count(row) > 1)
            raise self.card.error(f"prompts: {short(twice)} is the same as another text to its tokenizer; give others")
        return texts

    def _run(self, views: Sequence[Tensors]) -> dict[str, np.ndarray]:
        """Returns the outputs of the model for views of one shape, float32 [batch, ...]."""
        import torch

        (images,) = self._moved([{name: torch.cat([view[name] for view in views]) for name in views[0]}])
        with torch.inference_mode():
            outputs = self.family.run(self._model, images, self._texts)
            return {name: values.float().cpu().numpy() for name, values in outputs.items()}

    def _moved(self, inputs: Sequence[Tensors]) -> list[Tensors]:
        """Returns inputs on the model's device; floats, and pixels that no processor scaled, in its precision."""
        model = self._model
        return [
            {
                name: values.to(model.device, model.dtype if values.is_floating_point() or name == _PIXELS else None)
                for name, values in tensors.items()
            }
            for tensors in inputs
        ]

    def _arrays(self, outputs: Mapping[str, np.ndarray], frame: Size) -> Arrays:
        """Returns the arrays of the kind's roles for one image, in standard form, by the model's post-processing."""
        import torch
        from transformers.utils import ModelOutput

        found = ModelOutput({name: torch.from_numpy(np.array(values))[None] for name, values in outputs.items()})
        with torch.inference_mode():
            arrays = self.family.read(found, frame, self._image_processor)
        return self.reader.standard(arrays, channels_first=False)

    def _in_image(self, arrays: Arrays, size: Size, *band: Any) -> dict[str, np.ndarray]:
        """Returns the outputs of the task for one image in its own frame, or those in a band of its rows."""
        if (place := self._frames.place(*size)) is None:
            return self._at(arrays, size, *band)
        restored = self.task.to_image_frame(self._at(arrays, place.view), place.geometry(size), *band)
        return {name: np.asarray(values) for name, values in restored.items()}

    def _at(self, arrays: Arrays, size: Size, *band: Any) -> dict[str, np.ndarray]:
        """Returns the outputs of the task at a size, to which maps are resized first, as in the pipeline."""
        maps = {role for role in arrays if self.reader.form(role).is_map}
        moved = {role: _resized(values, size, *band) if role in maps else values for role, values in arrays.items()}
        rows = next((moved[role].shape[1:3] for role in maps), size)
        with np.errstate(all="ignore"):  # values may be not finite
            return {name: values[0] for name, values in self.reader.read(moved, rows).items()}

    def seen(self, height: int, width: int) -> np.ndarray:
        """Returns the part of an image that the processor does not crop; see `Teacher.seen`."""
        place = self._frames.place(height, width)
        return place.seen() if place else np.array([0.0, 0.0, 1.0, 1.0])

    def _check_on_gray(self) -> None:
        """Runs the model once on a gray image: checks shapes, and that a label can be made."""
        try:
            (outputs,) = self.predict([self.view(np.full((*_GRAY, 3), 128, np.uint8))], 1)
            place = self._frames.place(*_GRAY)
            arrays = self._arrays(outputs, place.view if place else _GRAY)
        except Exception as error:
            raise UserError(f"{self.where}: does not run on an image {[*_GRAY, 3]}: {one_line(error)}") from error
        if problem := self.reader.misfit(arrays, 1, False):
            raise self.card.error(problem)
        self.label(outputs, *_GRAY)


def _stacked(each: Sequence[Mapping[str, np.ndarray]], task: Task) -> dict[str, np.ndarray]:
    """Stacks the outputs of images; lists of different lengths are padded, as the task's ranking says."""
    columns = task.ranking.columns if task.ranking else ()
    most = max((len(one[columns[0]]) for one in each), default=0) if columns else 0

    def padded(name: str, values: np.ndarray) -> np.ndarray:
        if not task.ranking or name not in columns:
            return values
        missing = [(0, most - len(values))] + [(0, 0)] * (values.ndim - 1)
        return np.pad(values, missing, constant_values=-1 if name == task.ranking.valid else 0)

    return {name: np.stack([padded(name, one[name]) for one in each]) for name in each[0]}


def _resized(values: np.ndarray, size: Size, *band: Any) -> np.ndarray:
    """Resizes a map [1, h, w, C] to a size, or to a band of its rows."""
    frame = stretch(size, values.shape[1:3])
    return restore_map(tf.constant(values[0]), frame, *band).numpy()[np.newaxis]


def _alike(views: Sequence[Tensors]) -> Iterator[list[int]]:
    """Yields the places of views whose tensors have the same shapes."""
    groups: dict[Any, list[int]] = {}
    for place, view in enumerate(views):
        groups.setdefault(tuple((name, tuple(values.shape)) for name, values in view.items()), []).append(place)
    yield from groups.values()
