"""From a model's named arrays to what `Task.decode_predictions` of its kind gives, as its card says. A function a kind.

A reader takes the card, the arrays by role (and `anchors`, where the card has some) and the size of the view.
"""

from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf

from must_tf.geometry import Size
from must_tf.tasks import Classification, Depth, Detection, Normals, Segmentation, Task
from must_tf.tasks.detection import boxes
from must_tf.tasks.detection.anchors import make_anchors, read_anchors
from must_tf.teachers.card import Card

Arrays = Mapping[str, np.ndarray]
Outputs = dict[str, np.ndarray]

_CLOSE = 1e-3  # of probabilities, to 0 and 1


def make_task(card: Card, name: str) -> Task:
    """Returns the task of a card under a name."""
    names = task_classes(card)
    if card.task == "classification":
        return Classification(name, names, top_k=card.top_k)
    if card.task == "detection":
        return Detection(name, names, min_score=card.min_score, doubtful_score=card.doubtful_score)
    if card.task == "segmentation":
        return Segmentation(name, names, min_score=card.min_score)
    return Depth(name, convention=str(card.convention)) if card.task == "depth" else Normals(name)


def task_classes(card: Card) -> tuple[str, ...]:
    """Returns the classes of the labels: the model's, or those that they are mapped onto."""
    if card.classes is None:
        return card.class_names
    return card.task_classes or tuple(dict.fromkeys(card.classes.values()))


def classification(card: Card, arrays: Arrays, view: Size) -> Outputs:
    """`probs` [batch, classes], summing to 1 over the classes that are kept; even where all of these are 0."""
    kept = _map_probs(card, _probabilities(card, _standard(card, "probs", arrays["probs"]))) + 1e-12
    return {"probs": kept / kept.sum(-1, keepdims=True)}


def segmentation(card: Card, arrays: Arrays, view: Size) -> Outputs:
    """`probs` [batch, H, W, classes]; what a pixel gives to classes that are dropped is missing from its sum."""
    if "mask" in arrays:
        mask = tf.image.resize(_standard(card, "mask", arrays["mask"]), view, method="nearest").numpy()[..., 0]
        ids = np.rint(mask).astype(np.int32) - int(card.background_first)
        return {"probs": _map_probs(card, tf.one_hot(ids, len(card.class_names)).numpy())}
    values = tf.image.resize(_standard(card, "probs", arrays["probs"]), view).numpy()
    return {"probs": _map_probs(card, _probabilities(card, values))}


def depth(card: Card, arrays: Arrays, view: Size) -> Outputs:
    """`depth` [batch, H, W, 1]: meters, or inverse depth."""
    values = tf.image.resize(_standard(card, "depth", arrays["depth"]), view).numpy()
    metric = card.convention == "metric"
    inverse = (not metric) if card.inverse is None else card.inverse
    if inverse == metric:  # the labels are of the other sort; 0 and less is as far away as max_depth
        values = 1 / np.maximum(values, 1 / card.max_depth)
    return {"depth": values * np.float32(card.depth_scale) if metric else values}


def normals(card: Card, arrays: Arrays, view: Size) -> Outputs:
    """`normals` [batch, H, W, 3], unit length."""
    values = tf.image.resize(_standard(card, "normals", arrays["normals"]), view)
    return {"normals": tf.math.l2_normalize(values * np.array(card.normals_axes, np.float32), -1).numpy()}


def detection(card: Card, arrays: Arrays, view: Size) -> Outputs:
    """`boxes` [batch, M, 4] (fractions of the view), `classes` [batch, M] (-1: padding), `scores` [batch, M]."""
    found = _standard(card, "boxes", arrays["boxes"])
    anchors = arrays.get("anchors")
    if anchors is not None:
        found = boxes.decode(found, anchors, str(card.box_format), card.box_scales, card.box_log_sizes)
    else:
        sides = np.array((*view, *view), np.float32) if card.box_units == "pixels" else np.float32(1)
        found = boxes.to_yxyx(found, str(card.box_format)) / sides
    inside_out = np.asarray((found[..., 2:] < found[..., :2]).any(-1))
    scores = _standard(card, "scores", arrays["scores"])
    if not card.suppressed:
        by_class = np.where(inside_out[..., np.newaxis], 0, _map_scores(card, _probabilities(card, scores)))
        return boxes.suppress(found, by_class, Detection.max_outputs, card.nms_iou)
    ids = np.rint(arrays["classes"]).astype(np.int32) - int(card.background_first)
    real = ~inside_out
    if "count" in arrays:
        real &= np.arange(found.shape[1]) < arrays["count"].reshape(-1, 1)
    classes = np.where(real, _map_ids(card, ids), -1).astype(np.int32)
    kept = classes >= 0
    return {
        "boxes": np.where(kept[..., np.newaxis], np.clip(found, 0, 1), 0),
        "classes": classes,
        "scores": np.where(kept, scores, 0),
    }


READERS: dict[str, Callable[[Card, Arrays, Size], Outputs]] = {
    reader.__name__: reader for reader in (classification, segmentation, depth, normals, detection)
}


def roles(card: Card) -> tuple[set[str], set[str]]:
    """Returns the roles that a card of this kind must give an output to, and those that it may."""
    if card.task == "detection" and card.suppressed and "packed" in (card.outputs or {}):
        return {"packed"}, set()
    if card.task == "detection":
        return ({"boxes", "scores", "classes"}, {"count"}) if card.suppressed else ({"boxes", "scores"}, set())
    if card.task == "segmentation" and "mask" in (card.outputs or {}):
        return {"mask"}, set()
    return {{"depth": "depth", "normals": "normals"}.get(card.task, "probs")}, set()


def misfit(card: Card, arrays: Arrays, batch: int) -> str | None:
    """Returns what is wrong with the shapes of a model's outputs by role; None where they fit the card."""
    anchors = arrays.get("anchors")
    for role, array in arrays.items():
        if array is anchors:
            continue
        ranks, last = _expected(card, role)
        if array.ndim not in ranks or array.shape[0] != batch:
            axes = " or ".join(str(rank) for rank in ranks)
            return f"outputs: {role}: shape {list(array.shape)} for {batch} images; {axes} axes expected, batch first"
        given = _standard(card, role, array).shape[-1]
        if role in ("probs", "scores") and last and given != last and not _binary(card, given):
            background = " and a background" if card.background_first else ""
            return f"class_names: {len(card.class_names)} names{background}, but {role} is of {given} classes"
        if role not in ("probs", "scores") and last and given != last:
            return f"outputs: {role}: shape {list(array.shape)}; the last axis (channels) must be {last}"
    if anchors is not None and len(anchors) != (count := _standard(card, "boxes", arrays["boxes"]).shape[1]):
        return f"anchors: {len(anchors)} of them, but boxes are {count}"
    return None


def unlikely(card: Card, arrays: Arrays) -> str | None:
    """Returns what speaks against the activation that a card names, in a model's outputs by role; None for nothing."""
    role = next((role for role in ("probs", "scores") if role in arrays), None)
    if role is None or card.suppressed:
        return None
    values = _standard(card, role, arrays[role])
    if not values.size:
        return None
    low, high = float(values.min()), float(values.max())
    if card.activation == "probabilities" and (low < -_CLOSE or high > 1 + _CLOSE):
        return (
            f"activation: probabilities, but {role} are between {low:.3g} and {high:.3g} on gray; logits, or sigmoid?"
        )
    sums_to_one = low >= 0 and bool((abs(values.sum(-1) - 1) < _CLOSE).all())
    if card.activation != "probabilities" and sums_to_one and values.shape[-1] > 1:
        return f"activation: {card.activation}, but {role} are probabilities already: they sum to 1 on gray"
    return None


def regular(card: Card, arrays: Arrays, single: bool) -> Arrays:
    """Returns the arrays by role with the batch first, and of one shape for all batches.

    Args:
      card: of the model.
      arrays: what it gave. Of a single image, boxes after suppression may be [N, 4], scores and classes [N], and N
        another for each image.
      single: whether the model sees one image at a time.
    """
    if "packed" in arrays:
        return boxes.unpack(arrays["packed"], card.packed_order, Detection.max_outputs)
    if not (single and card.suppressed) or "count" in arrays:
        return arrays
    ranks = {"boxes": 3, "scores": 2, "classes": 2}
    real = {role: array.astype(np.float32) for role, array in arrays.items()}  # -1 is no class of unsigned ids
    whole = {role: array[np.newaxis] if array.ndim < ranks[role] else array for role, array in real.items()}
    fits = all(array.ndim == ranks[role] for role, array in whole.items())
    fits = fits and len({array.shape[:2] for array in whole.values()}) == 1
    return boxes.keep_best(**whole, max_outputs=Detection.max_outputs) if fits else arrays


def finite(arrays: Arrays, batch: int) -> np.ndarray:
    """Returns of which images a model gave finite values alone, bool [batch]; rows beyond `count` may be anything.

    Args:
      arrays: what it gave, by role; of a single image, the batch may be missing.
      batch: how many images it saw.
    """
    count = np.asarray(arrays.get("count", np.inf), np.float32).reshape(-1, 1)
    found = np.ones(batch, bool)
    for array in arrays.values():
        good = np.isfinite(array if array.shape[:1] == (batch,) else array[np.newaxis])
        rows = good.all(tuple(range(2, good.ndim))).reshape(len(good), -1)
        found &= (rows | (np.arange(rows.shape[1]) >= count)).all(1)
    return found


def anchors_of(card: Card, view: Size) -> np.ndarray | None:
    """Returns the anchors [N, 4] that a card names or describes; None where its boxes are boxes already."""
    if card.anchors_file:
        return read_anchors(card.beside(card.anchors_file))
    return make_anchors(card.anchors, view, card.path) if card.anchors else None


def _expected(card: Card, role: str) -> tuple[tuple[int, ...], int]:
    """Returns how many axes the array of a role may have, and the size of its last one as `_standard` (0: any)."""
    classes = len(card.class_names) + int(card.background_first)
    if role == "probs":
        return ((3, 4) if card.task == "segmentation" else (2, 3, 4)), classes
    if role == "scores":
        return ((2,), 0) if card.suppressed else ((3,), classes)
    return {"boxes": ((3, 4), 4), "classes": ((2,), 0), "count": ((1, 2), 0), "normals": ((4,), 3)}.get(
        role, ((3, 4), 1)
    )


def _standard(card: Card, role: str, array: np.ndarray) -> np.ndarray:
    """Returns the array of a role in float32: maps as [batch, h, w, C], boxes [batch, N, 4], probs [batch, classes]."""
    array = array.astype(np.float32)
    if role in ("mask", "depth", "normals") or (role == "probs" and card.task == "segmentation"):
        if array.ndim == 3:
            return array[..., np.newaxis]
        return array.transpose(0, 2, 3, 1) if (card.output_layout or card.layout) == "NCHW" else array
    if role == "probs":
        return array.reshape(len(array), -1)
    # Some SSDs have an axis of length 1 in [batch, N, 1, 4].
    return array.reshape(len(array), -1, array.shape[-1]) if role == "boxes" else array


def _binary(card: Card, channels: int) -> bool:
    """Whether one channel stands for two classes: the probability of the second."""
    return channels == 1 and len(card.class_names) + int(card.background_first) == 2 and card.task != "detection"


def _probabilities(card: Card, values: np.ndarray) -> np.ndarray:
    """Probabilities [..., classes] of a last axis of classes, the background left out."""
    if _binary(card, values.shape[-1]):
        second = values if card.activation == "probabilities" else tf.sigmoid(values).numpy()
        values = np.concatenate([1 - second, second], -1)
    elif card.activation == "logits":
        values = tf.nn.softmax(values).numpy()
    elif card.activation == "sigmoid":
        values = tf.sigmoid(values).numpy()
    return values[..., int(card.background_first) :]


def _table(card: Card) -> np.ndarray:
    """The task class of each of the model's classes, -1 where it is dropped; int32 [model classes]."""
    names = task_classes(card)
    mapping = dict(zip(names, names, strict=True)) if card.classes is None else card.classes
    return np.array([names.index(mapping[name]) if name in mapping else -1 for name in card.class_names], np.int32)


def _map_probs(card: Card, probs: np.ndarray) -> np.ndarray:
    """Sums the probabilities of the classes that become one."""
    if card.classes is None:
        return probs
    return probs @ (_table(card)[:, np.newaxis] == np.arange(len(task_classes(card)))).astype(np.float32)


def _map_scores(card: Card, scores: np.ndarray) -> np.ndarray:
    """The best score of the classes that become one."""
    if card.classes is None:
        return scores
    table = _table(card)
    columns = [scores[..., table == i].max(-1, initial=0) for i in range(len(task_classes(card)))]
    return np.stack(columns, -1)


def _map_ids(card: Card, ids: np.ndarray) -> np.ndarray:
    """The task classes of the model's class ids; -1 for those that are dropped or are no class."""
    table = np.append(_table(card), -1)
    known = (ids >= 0) & (ids < len(card.class_names))
    return table[np.where(known, ids, -1)]
