"""Ensembles: one teacher of several teachers of a task, or of several variants of each image, merged by the kind."""

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from must_tf.errors import UserError
from must_tf.geometry import Geometry, Size, stretch
from must_tf.records import check_same_labels
from must_tf.tasks import to_json
from must_tf.tasks.task import Outputs
from must_tf.teachers.augmentation import Variant, has_scales, variants
from must_tf.teachers.loading import check, load_teacher
from must_tf.teachers.spec import TeacherSpec
from must_tf.teachers.teacher import InImage, Teacher, invalidate


class EnsembleTeacher(Teacher):
    """A teacher whose outputs are those of its members for all variants of an image, see `Task.merge`.

    A member's thresholds do not count: outputs are merged before a threshold applies. Those of the ensemble are the
    spec's or, by default, those of the first member.

    Args:
      spec: with `members` and `augmentation`.

    Raises:
      UserError: labels of the members are not comparable; or the kind's outputs depend on the scale of an image.
    """

    def __init__(self, spec: TeacherSpec):
        self.members = [load_teacher(member) for member in spec.members]
        self.augmentation = spec.augmentation
        self.left_out = tuple(dict.fromkeys(name for member in self.members for name in member.left_out))
        self.task = dataclasses.replace(self.members[0].task, **spec.thresholds)  # type: ignore[arg-type]
        for member in self.members[1:]:
            first = self.members[0].id
            check_same_labels(f"{member.id} beside {first} (--classes changes labels)", [member.task], [self.task])
        if has_scales(self.augmentation) and self.task.changed_by_scale:
            changed = self.task.changed_by_scale
            raise UserError(f"--tta: {spec.task}: {changed} change with the scale of an image; expected flip alone")
        ids = [member.id for member in self.members]
        identity = json.dumps([ids, self.augmentation, to_json(self.task)], sort_keys=True)
        self.id = f"ensemble-{spec.task}-{hashlib.sha256(identity.encode()).hexdigest()[:8]}"

    @staticmethod
    def check(spec: TeacherSpec) -> None:
        """Raises a `UserError` if a member cannot be loaded, or has no such thresholds; no model is loaded."""
        for member in spec.members:
            check(dataclasses.replace(member, thresholds=spec.thresholds))

    def geometry(self, image_size: Any) -> Geometry:
        """The image itself."""
        height, width = (int(side) for side in image_size)
        return stretch((height, width), (height, width))

    def reduction(self, height: int, width: int) -> int:
        """The least of the members' or, where images have variants, 1."""
        return 1 if self.augmentation else min(member.reduction(height, width) for member in self.members)

    def view(self, image: np.ndarray, size: Size | None = None, ratio: int = 1) -> list[list[Any]]:
        """Returns the view of each variant for each member."""
        if not self.augmentation:
            return [[member.view(image, size, ratio)] for member in self.members]
        images = [variant.of(image) for variant in self._variants(*image.shape[:2])]
        return [[member.view(one) for one in images] for member in self.members]

    def predict(self, views: Sequence[list[list[Any]]], batch_size: int) -> list[dict[str, np.ndarray]]:
        """Returns the outputs of all members for all variants of each image, by `MEMBER/VARIANT/NAME`."""
        found: list[dict[str, np.ndarray]] = [{} for _ in views]
        for number, member in enumerate(self.members):
            places = [(image, variant) for image, of in enumerate(views) for variant in range(len(of[number]))]
            for start in range(0, len(places), batch_size):
                batch = places[start : start + batch_size]
                outputs = member.predict([views[image][number][variant] for image, variant in batch], batch_size)
                for (image, variant), one in zip(batch, outputs, strict=True):
                    found[image] |= {f"{number}/{variant}/{name}": values for name, values in one.items()}
        return found

    def in_image(self, outputs: Mapping[str, np.ndarray], height: int, width: int) -> InImage:
        """Returns a function that merges the outputs in the frame of the image, or in a band of it."""
        parts = list(self._parts(outputs, height, width))
        seen = [part.seen for part in parts]

        def merged(*band: tf.Tensor) -> dict[str, np.ndarray]:
            return self.task.merge([self._located(part, (height, width), *band) for part in parts], seen)

        return merged

    def seen(self, height: int, width: int) -> np.ndarray:
        """Returns what the member with the largest view of the whole image shows."""
        return max((member.seen(height, width) for member in self.members), key=_area)

    def __call__(self, images: np.ndarray) -> Outputs:
        """Merges the outputs for images of one size; see `Teacher.__call__`."""
        height, width = images.shape[1:3]
        found = self.predict([self.view(image) for image in images], len(images))
        each = [self.in_image(outputs, height, width)() for outputs in found]
        finite = [all(np.isfinite(values).all() for values in outputs.values()) for outputs in found]
        return invalidate({name: np.stack([one[name] for one in each]) for name in each[0]}, np.array(finite))

    def doubts(self) -> list[str]:
        """Returns those of the members."""
        return [f"{member.id}: {line}" for member in self.members for line in member.doubts()]

    def describe(self) -> dict[str, Any]:
        """Returns the manifest entry, with those of the members."""
        members = [member.describe() | {"id": member.id} for member in self.members]
        licenses = dict.fromkeys(str(member.get("license", "unknown")) for member in members)
        return {
            "format": "ensemble",
            "path": " + ".join(str(member["path"]) for member in members),
            "task": to_json(self.task),
            "augmentation": list(self.augmentation),
            "members": members,
            "license": "; ".join(licenses),
        }

    def _variants(self, height: int, width: int) -> list[Variant]:
        return variants(self.augmentation, height, width)

    def _parts(self, outputs: Mapping[str, np.ndarray], height: int, width: int) -> Iterator["_Part"]:
        """Yields the outputs of each member for each variant of an image."""
        found: dict[tuple[int, int], dict[str, np.ndarray]] = {}
        for key, values in outputs.items():
            member_place, variant_place, name = key.split("/", 2)
            found.setdefault((int(member_place), int(variant_place)), {})[name] = values
        of_image = self._variants(height, width)
        for (number, place), own in found.items():
            member, variant = self.members[number], of_image[place]
            seen = variant.in_image(member.seen(variant.height, variant.width), (height, width))
            yield _Part(variant, member.in_image(own, variant.height, variant.width), seen)

    def _located(self, part: "_Part", size: Size, *band: tf.Tensor) -> dict[str, np.ndarray] | None:
        """Returns the outputs for a variant in the frame of the image or a band; None if it shows nothing of it."""
        variant, rows = part.variant, None
        if band:
            first, total = (int(number) for number in band[0])
            rows = first, total
            start, count, _ = variant.rows(first, total)
            if count <= 0:
                return None
            band = (tf.constant([start, count]),)
        outputs = part.in_image(*band)
        if not self.task.has_frame or (variant == Variant(0, 0, *size, False)):
            return outputs
        moved = self.task.to_image_frame(dict(outputs), variant.geometry(size, rows))
        return {name: np.asarray(values) for name, values in moved.items()}


class _Part(NamedTuple):
    """The outputs of a member for a variant of an image; and the part of the image that it shows, in fractions."""

    variant: Variant
    in_image: InImage
    seen: np.ndarray


def _area(part: np.ndarray) -> float:
    return float((part[2] - part[0]) * (part[3] - part[1]))
