"""Hypothesis strategies of damage: to bytes, and to JSON values."""

import copy
import struct

from hypothesis import strategies as st


@st.composite
def damaged(draw, content):
    """Flips, cuts, inserts and repeats bytes, mostly near the start, where the headers are."""
    content = bytearray(content)
    for _ in range(draw(st.integers(1, 6))):
        if not content:
            break
        end = len(content) - 1
        place = draw(st.one_of(st.integers(0, min(end, 64)), st.integers(0, end)))
        kind = draw(st.sampled_from(["byte", "bytes", "insert", "remove", "cut", "repeat"]))
        if kind == "byte":
            content[place] = draw(st.sampled_from([0, 1, 127, 128, 254, 255]) | st.integers(0, 255))
        elif kind == "bytes":
            new = draw(st.binary(min_size=1, max_size=8))
            content[place : place + len(new)] = new
        elif kind == "insert":
            content[place:place] = draw(st.binary(min_size=1, max_size=20))
        elif kind == "remove":
            del content[place : place + draw(st.integers(1, 40))]
        elif kind == "repeat":
            content[place:place] = content[place : place + draw(st.integers(1, 60))]
        elif draw(st.booleans()):
            del content[place:]
    return bytes(content)


_NUMBERS = [0, -1, 2**31, 2**63, 10**30, 1e308, float("inf"), float("nan")]
_TEXTS = ["", "..", "../../x", "/etc", "a\0b", "\n", "x" * 5000, "\ud800"]
_NESTED = [[], {}, [[]], {"": {}}, [[[[[[]]]]]]]
_scalars = (
    st.sampled_from([None, True, *_NUMBERS, *_TEXTS])
    | st.sampled_from(_NESTED).map(copy.deepcopy)  # `altered` changes what was drawn
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
)
_names = st.text(max_size=8)
values = st.recursive(
    _scalars, lambda part: st.lists(part, max_size=4) | st.dictionaries(_names, part, max_size=4), max_leaves=6
)


@st.composite
def altered(draw, value):
    """Changes, removes, adds, renames and moves parts of JSON values, at any depth."""
    value = copy.deepcopy(value)
    for _ in range(draw(st.integers(1, 3))):
        place = value
        while isinstance(place, dict | list) and place:
            key = draw(st.sampled_from(sorted(place)) if isinstance(place, dict) else st.integers(0, len(place) - 1))
            if not isinstance(place[key], dict | list) or not place[key] or draw(st.integers(0, 3)) == 0:
                break
            place = place[key]
        else:
            return draw(values)
        change = draw(st.sampled_from(["value", "value", "remove", "add", "rename", "copy"]))
        if change == "value":
            place[key] = draw(values)
        elif change == "remove":
            del place[key]
        elif change == "copy":
            place[key] = [copy.deepcopy(place[key])] * draw(st.integers(0, 3))
        elif isinstance(place, list):
            place.insert(key, draw(values))
        else:
            part = draw(values) if change == "add" else place.pop(key)
            place[draw(st.text(max_size=8) | st.just(key + "s"))] = part
    return value


def frame(record, length=None):
    """Returns a record as a TFRecord file holds it, with sound checksums; `length` is the length that it claims."""
    header = struct.pack("<Q", len(record) if length is None else length)
    return header + _masked_crc(header) + record + _masked_crc(record)


def _masked_crc(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    crc ^= 0xFFFFFFFF
    return struct.pack("<I", (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF)


def _remainder(byte):
    for _ in range(8):
        byte = (byte >> 1) ^ (0x82F63B78 if byte & 1 else 0)
    return byte


_TABLE = [_remainder(byte) for byte in range(256)]
