"""Splits rows of detectors, each a box with its scores, by the order that a card gives, `packed_order`."""

from collections.abc import Collection, Sequence

import numpy as np

_WIDTHS = {"box": 4, "score": 1, "class": 1, "objectness": 1, "batch": 1}  # numbers of values of a part of a row
_SCORES, _REST = "scores", "rest"  # parts of as many values as there are classes, and of any number of values


def order_problem(order: Sequence[str], suppressed: bool | None, given: Collection[str]) -> str | None:
    """Returns what is wrong with the order of a row; None if it can be read.

    Args:
      order: parts of a row, see `DetectionReader.packed_order`.
      suppressed: whether the model applies non-maximum suppression itself.
      given: the roles in the card's `outputs`.
    """
    parts = set(order)
    if unknown := parts - {*_WIDTHS, _SCORES, _REST}:
        return f"{sorted(unknown)[0]!r} is unknown; known: {', '.join([*_WIDTHS, _SCORES, _REST])}"
    if len(parts) < len(order) or (_REST in parts and order[-1] != _REST):
        return "each part once, and rest last"
    if not suppressed:
        good = parts <= {"box", "objectness", _SCORES, _REST} and parts >= {"box", _SCORES}
        return None if good else "expected box and scores, before suppression; suppressed: true goes with a score alone"
    good = parts <= {"batch", "box", "score", "class", _REST} and parts >= {"box", "score"}
    if not good or ("class" in parts) == ("classes" in given):
        return "expected box, score and class, after suppression; the class may be an output of its own, classes"
    return "the rows of a batch have their class" if "batch" in parts and "classes" in given else None


def shape_problem(shape: Sequence[int], order: Sequence[str], num_scores: int) -> str | None:
    """Returns why an array cannot hold rows of this order; None if it can."""
    axes = _axes(shape, order, num_scores)
    if len(axes) == 1:
        return None
    width, parts = _width(order, num_scores), ", ".join(order)
    if axes:
        return f"packed: shape {list(shape)}; both axes may hold rows of {width} values; export with another input size"
    expected = (
        f"packed: shape {list(shape)}; expected [batch, N, {width}{' or more' * (_REST in order)}], rows of {parts}"
    )
    if _SCORES not in order:
        return expected
    fitting = min(shape[-2:]) - (width - num_scores)
    hint = f"; {fitting} would fit" if fitting > 0 and _REST not in order else ""
    return f"{expected} of {num_scores} classes, or [batch, {width}, N]{hint}"


def unpack(packed: np.ndarray, order: Sequence[str], num_scores: int, batch: int) -> dict[str, np.ndarray]:
    """Splits rows into boxes and scores.

    Args:
      packed: [batch, N, values], [batch, 1, N, values], or [N, values]; before suppression also [batch, values, N]. It
        fits, see `shape_problem`.
      order: parts of a row.
      num_scores: number of values of the part `scores`.
      batch: number of images.

    Returns:
      `boxes` float32 [batch, N, 4], and whatever the order has of `scores` [batch, N] (one value) or [batch, N,
      num_scores], `classes` [batch, N] and `objectness` [batch, N].
    """
    (axis,) = _axes(packed.shape, order, num_scores)
    rows = packed.astype(np.float32)
    rows = rows.reshape(rows.shape[0] if rows.ndim > 2 else 1, *rows.shape[-2:])
    rows = rows.transpose(0, 2, 1) if axis == -2 else rows
    ends = np.cumsum([_part_width(part, num_scores) for part in order])
    parts = dict(zip(order, np.split(rows, ends, axis=-1), strict=False))
    if "batch" in parts:
        return _by_image(parts, batch)
    return _named(parts)


def _named(parts: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    names = {"score": "scores", "class": "classes", "objectness": "objectness"}
    found = {names[part]: values[..., 0] for part, values in parts.items() if part in names}
    found |= {_SCORES: parts[_SCORES]} if _SCORES in parts else {}
    return {"boxes": parts["box"]} | found


def _by_image(parts: dict[str, np.ndarray], batch: int) -> dict[str, np.ndarray]:
    """Gives each image the rows that have its number; the class of what is missing to a full array is -1."""
    images = np.rint(parts.pop("batch").ravel())
    found = {role: values.reshape(-1, *values.shape[2:]) for role, values in _named(parts).items()}
    most = max([1, *((images == i).sum() for i in range(batch))])
    full = {role: np.zeros((batch, most, *values.shape[1:]), np.float32) for role, values in found.items()}
    full["classes"] -= 1
    for i in range(batch):
        for role, values in found.items():
            own = values[images == i]
            full[role][i, : len(own)] = own
    return full


def _part_width(part: str, num_scores: int) -> int:
    return num_scores if part == _SCORES else _WIDTHS.get(part, 0)


def _width(order: Sequence[str], num_scores: int) -> int:
    """Returns the number of values of a row, without the rest."""
    return sum(_part_width(part, num_scores) for part in order)


def _axes(shape: Sequence[int], order: Sequence[str], num_scores: int) -> list[int]:
    """Returns which of the last two axes may hold the values of a row: -1, -2; after suppression only the last one."""
    if len(shape) not in (2, 3) and not (len(shape) == 4 and shape[1] == 1):
        return []
    width, raw = _width(order, num_scores), _SCORES in order
    if _REST in order:  # there are more boxes than values of a box
        axis = -2 if raw and shape[-2] < shape[-1] else -1
        return [axis] if shape[axis] >= width else []
    return [axis for axis in ((-1, -2) if raw else (-1,)) if shape[axis] == width]
