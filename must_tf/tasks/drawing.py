"""Draws labels on images: colors, captions, boxes and overlays. Text and lines scale with the image."""

import colorsys
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

_TEXT_HEIGHT = 0.055  # height of text as a share of the image's mean side
_MIN_TEXT_PIXELS = 10  # smallest height of text in pixels
_MIN_REGION_SHARE = 0.02  # a region gets its class name if it covers at least this share of the image


def colors(count: int) -> np.ndarray:
    """Returns `count` distinct colors, uint8 [count, 3], whose hues differ by the golden angle."""
    hues = (0.58 + np.arange(count) * 0.61803398875) % 1
    rgb = [colorsys.hsv_to_rgb(hue, 0.5 + 0.35 * (i % 2), 0.95 - 0.25 * (i % 3 == 2)) for i, hue in enumerate(hues)]
    return (np.array(rgb).reshape(-1, 3) * 255).astype(np.uint8)


def caption(image: np.ndarray, text: str) -> np.ndarray:
    """Writes a line of text on a dark strip at the bottom of an image, uint8 [H, W, 3]."""
    canvas = Image.fromarray(image)
    draw = ImageDraw.Draw(canvas, "RGBA")
    font = _font(canvas)
    top = canvas.height - 1.6 * font.size
    draw.rectangle([0, top, canvas.width, canvas.height], fill=(0, 0, 0, 170))
    middle = (0.5 * font.size, (top + canvas.height) / 2)
    draw.text(middle, text, fill=(255, 255, 255), font=font, anchor="lm")
    return np.asarray(canvas)


def boxes(image: np.ndarray, boxes: np.ndarray, classes: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Draws boxes [N, 4] (fractions, ymin xmin ymax xmax) with their class names, one color per class."""
    canvas = Image.fromarray(image)
    draw = ImageDraw.Draw(canvas)
    palette = colors(len(names))
    line = max(round(_font(canvas).size / 8), 1)
    corners = [
        (xmin * (canvas.width - 1), ymin * (canvas.height - 1), xmax * (canvas.width - 1), ymax * (canvas.height - 1))
        for ymin, xmin, ymax, xmax in boxes
    ]
    for corner, cls in zip(corners, classes, strict=True):
        draw.rectangle(corner, outline=_rgb(palette[cls]), width=line)
    # Names are drawn after all boxes, so that no line crosses a name.
    for (left, top, *_), cls in zip(corners, classes, strict=True):
        _tag(canvas, draw, left, top - 1.3 * _font(canvas).size, names[cls], _rgb(palette[cls]))
    return np.asarray(canvas)


def regions(image: np.ndarray, mask: np.ndarray, valid: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Overlays the valid pixels of a mask [H, W] with one color per class, and writes each class name on its region."""
    palette = colors(len(names))
    canvas = Image.fromarray(overlay(image, palette[np.where(valid, mask, 0)], valid))
    draw = ImageDraw.Draw(canvas)
    font = _font(canvas)
    for cls in np.unique(mask[valid]):
        inside = (mask == cls) & valid
        if inside.mean() < _MIN_REGION_SHARE:
            continue
        y, x = _densest_point(inside)
        width = font.getlength(names[cls]) + 0.6 * font.size
        _tag(canvas, draw, x - width / 2, y - 0.65 * font.size, names[cls], _rgb(palette[cls]))
    return np.asarray(canvas)


def objects(image: np.ndarray, masks: Sequence[np.ndarray], classes: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Draws masks of objects, bool [H, W] each, with an outline and their class names, one color per class."""
    palette = colors(len(names))
    painted = image.copy()
    width = max(round(_font(Image.fromarray(image)).size / 8), 1)
    for mask, cls in zip(masks, classes, strict=True):
        painted[mask] = (0.6 * painted[mask] + 0.4 * palette[cls]).astype(np.uint8)
    for mask, cls in zip(masks, classes, strict=True):
        painted[_outline(mask, width)] = palette[cls]
    canvas = Image.fromarray(painted)
    draw = ImageDraw.Draw(canvas)
    # Names are drawn after all objects, so that no outline crosses a name.
    for mask, cls in zip(masks, classes, strict=True):
        if mask.any():
            left, top = (int(np.flatnonzero(mask.any(axis))[0]) for axis in (0, 1))
            _tag(canvas, draw, left, top - 1.3 * _font(canvas).size, names[cls], _rgb(palette[cls]))
    return np.asarray(canvas)


def overlay(image: np.ndarray, color_map: np.ndarray, valid: np.ndarray, alpha: float = 0.6) -> np.ndarray:
    """Blends a map of colors [H, W, 3] over the valid pixels, bool [H, W], of an image; other pixels are dimmed."""
    mixed = np.where(valid[..., None], (1 - alpha) * image + alpha * color_map, 0.35 * image)
    return mixed.astype(np.uint8)


def _outline(mask: np.ndarray, width: int) -> np.ndarray:
    """Returns the pixels of a mask, bool [H, W], that lie at most `width` pixels inside of its edge."""
    inner = np.pad(mask, 1)
    for _ in range(width):
        inside = inner[1:-1, 1:-1] & inner[:-2, 1:-1] & inner[2:, 1:-1] & inner[1:-1, :-2] & inner[1:-1, 2:]
        inner = np.pad(inside, 1)
    return mask & ~inner[1:-1, 1:-1]


def _densest_point(inside: np.ndarray) -> tuple[int, int]:
    """Returns row and column of the point of a region, bool [H, W], around which the region is densest."""
    radius = max(sum(inside.shape) // 10, 1)
    padded = np.pad(inside, 2 * radius).astype(np.uint8) * 255
    blurred = np.asarray(Image.fromarray(padded).filter(ImageFilter.GaussianBlur(radius)), int)
    density = blurred[2 * radius : -2 * radius, 2 * radius : -2 * radius]
    row, column = np.unravel_index(np.argmax(np.where(inside, density, -1)), inside.shape)
    return int(row), int(column)


def _tag(
    canvas: Image.Image, draw: ImageDraw.ImageDraw, left: float, top: float, text: str, color: tuple[int, ...]
) -> None:
    """Writes a class name on a colored patch, which is shifted to lie within the image."""
    font = _font(canvas)
    width, height = font.getlength(text) + 0.6 * font.size, 1.3 * font.size
    left = min(max(left, 0), max(canvas.width - width, 0))
    top = min(max(top, 0), max(canvas.height - height, 0))
    draw.rectangle([left, top, left + width, top + height], fill=color)
    dark = float(np.dot(color, (0.299, 0.587, 0.114))) < 140
    ink = (255, 255, 255) if dark else (0, 0, 0)
    draw.text((left + 0.3 * font.size, top + height / 2), text, fill=ink, font=font, anchor="lm")


def _font(canvas: Image.Image) -> ImageFont.FreeTypeFont:
    size = max(round(_TEXT_HEIGHT * (canvas.width + canvas.height) / 2), _MIN_TEXT_PIXELS)
    return ImageFont.load_default(size)  # type: ignore[return-value]


def _rgb(color: np.ndarray) -> tuple[int, ...]:
    return tuple(int(channel) for channel in color)
