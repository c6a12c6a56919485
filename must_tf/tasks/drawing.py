"""What the tasks' pictures are made of: colours, captions, boxes, overlays."""

import colorsys

import numpy as np
from PIL import Image, ImageDraw


def colours(count: int) -> np.ndarray:
    """Returns `count` colours that differ well, uint8 [count, 3]: steps of the golden angle around the hues."""
    hues = (np.arange(count) * 0.61803398875) % 1
    rgb = [colorsys.hsv_to_rgb(hue, 0.55 + 0.4 * (i % 2), 0.95 - 0.25 * (i % 3 == 2)) for i, hue in enumerate(hues)]
    return (np.array(rgb).reshape(-1, 3) * 255).astype(np.uint8)


def caption(image: np.ndarray, text: str) -> np.ndarray:
    """Writes a line of text on a dark strip at the bottom of an image, uint8 [H, W, 3]."""
    canvas = Image.fromarray(image)
    draw = ImageDraw.Draw(canvas, "RGBA")
    top = canvas.height - 11
    draw.rectangle([0, top, canvas.width, canvas.height], fill=(0, 0, 0, 160))
    draw.text((2, top), text, fill=(255, 255, 255))
    return np.asarray(canvas)


def boxes(image: np.ndarray, boxes: np.ndarray, classes: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
    """Draws boxes [N, 4] (fractions, ymin xmin ymax xmax) with their class names, a colour a class."""
    canvas = Image.fromarray(image)
    draw = ImageDraw.Draw(canvas)
    palette = colours(len(names))
    for (ymin, xmin, ymax, xmax), cls in zip(boxes, classes, strict=True):
        colour = tuple(int(c) for c in palette[cls])
        left, top = xmin * (canvas.width - 1), ymin * (canvas.height - 1)
        draw.rectangle([left, top, xmax * (canvas.width - 1), ymax * (canvas.height - 1)], outline=colour)
        draw.text((left + 2, top), names[cls], fill=colour)
    return np.asarray(canvas)


def overlay(image: np.ndarray, colour_map: np.ndarray, valid: np.ndarray, alpha: float = 0.6) -> np.ndarray:
    """Blends a map of colours [H, W, 3] over the valid pixels [H, W] of an image; the others are dimmed."""
    mixed = np.where(valid[..., None], (1 - alpha) * image + alpha * colour_map, 0.35 * image)
    return mixed.astype(np.uint8)
