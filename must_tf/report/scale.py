"""Round numbers along an axis."""

import math


def ticks(low: float, high: float, count: int) -> list[float]:
    """Returns about `count` multiples of 1, 2 or 5 times a power of ten, from the last ≤ low to the first ≥ high."""
    size = max(abs(low), abs(high))
    # Ends that are equal but for rounding have a step that can still be told apart.
    rough = max((high - low) / count, 1e-9 * size) if high > low else size or 1.0
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{i * step:.12g}") for i in range(first, max(last, first + 1) + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Returns 1, 2 and 5 times powers of ten, from the last one ≤ low to the first ≥ high; only the powers if many."""
    factors = (1, 2, 5) if high / low < 1000 else (1,)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    marks = [float(f"{factor * 10.0**power:.12g}") for power in powers for factor in factors]
    first = max(i for i, mark in enumerate(marks) if mark <= low)
    last = min(i for i, mark in enumerate(marks) if mark >= high)
    return marks[first : last + 1]


def label(value: float, sign: bool = False) -> str:
    """Returns a number as short as it can be: 12k, 0.05, −3; `sign` marks positive ones too."""
    if abs(value) >= 1e6:
        text = f"{value / 1e6:g}M"
    elif abs(value) >= 1e4:
        text = f"{value / 1e3:g}k"
    else:
        text = f"{value:.4g}"
    return (f"+{text}" if sign and value > 0 else text).replace("-", "−")
