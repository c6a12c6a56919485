import copy
import dataclasses
import json
import math
import pickle
import time
import tracemalloc
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Optional

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from must_tf.errors import UserError
from must_tf.parsing import (
    FrozenDict,
    as_items,
    as_size,
    decode_json,
    frozen,
    load_json,
    load_yaml,
    parse,
    plain_name,
    read_json,
    read_text,
    read_yaml,
    short,
    words,
)  # fmt: skip

# Files


def test_file_is_read_and_what_is_none_is_named(tmp_path):
    (tmp_path / "a.json").write_bytes(b'\xef\xbb\xbf{"\xc3\xa9": [1, null]}')
    (tmp_path / "a.yaml").write_text("é: [1, null]")
    assert read_json(tmp_path / "a.json") == read_yaml(tmp_path / "a.yaml") == {"é": [1, None]}
    assert read_yaml(tmp_path / "a.json") == {"é": [1, None]}
    (tmp_path / "latin").write_bytes(b"caf\xe9")
    for name, said in [
        ("none", "no such file"), (".", "is a folder"), ("latin", "byte 3 is no UTF-8"), ("a\0b", "no name of a file"),
    ]:  # fmt: skip
        with pytest.raises(UserError, match=said):
            read_text(tmp_path / name)
    with pytest.raises(UserError, match="none: make one first"):
        read_text(tmp_path / "none", missing="make one first")


def test_file_without_an_end_is_read_up_to_the_bound():
    with pytest.raises(UserError, match="/dev/zero: is too large; expected 1,000 bytes at most"):
        read_text("/dev/zero", most_bytes=1000)


# JSON and YAML

BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join(9 * [f'*a{i - 1}'])}]\n" for i in range(1, 10)
)
MERGED = "a0: &a0 {x: 1}\n" + "".join(f"a{i}: &a{i} {{<<: [{', '.join(9 * [f'*a{i - 1}'])}]}}\n" for i in range(1, 10))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[" * 100_000, "nested too deep"),
        ('{"a":' * 100_000, "nested too deep"),
        ("[" * 60 + "]" * 60, "nested too deep; expected 50 levels at most"),
        ("{", "not valid JSON"),
        ("", "not valid JSON"),
        ("1" * 5000, "not valid JSON"),
        ("1" * 300, "a whole number of 994 bits> received; expected 64 bits at most"),
        ('{"a": 1, "b": 2, "a": 3}', "the name 'a' occurs twice"),
        (r'["\ud800"]', r"'\\ud800' received; expected text that UTF-8 can write"),
        (r'{"\udfff": 1}', r"'\\udfff' received"),
        (b"\xff", "not valid JSON"),
    ],
)
def test_json_that_is_wrong_is_one_line_that_names_the_file(text, said):
    with pytest.raises(UserError, match=said) as error:
        load_json(text, "f.json")
    assert str(error.value).startswith("f.json: ") and "\n" not in str(error.value) and len(str(error.value)) < 300


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (BOMB, "line 7: 5,380,840 values, its aliases unfolded; expected 1,000,000 at most"),
        (MERGED, "values, its aliases unfolded"),
        ("a: &a [*a]", "line 1: a value that holds itself"),
        ("a: &a {<<: *a}", "a value that holds itself"),
        ("[" * 100_000, "nested too deep"),
        ("[" * 60 + "]" * 60, "nested too deep"),
        ("- " * 60 + "a", "nested too deep"),
        ("a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}]\n" for i in range(1, 60)), "nested too deep"),
        ("a: [1", "not valid YAML"),
        ("a: 1\n---\nb: 2", "not valid YAML: expected a single document"),
        ("a: 1\nb: 2\na: 3", "line 1: the name 'a' occurs twice"),
        ("a: 2020-01-02", "line 1: a value of the type 'timestamp'; expected text, .*: put it in quotes"),
        ("a: !!binary aGk=", "type 'binary'"),
        ("a: !!set {b, c}", "type 'set'"),
        ("a: !!python/object/apply:os.system [ls]", "type 'python/object/apply'|type 'os.system'"),
        ("!!int ''", "not valid YAML"),
        ("!!bool maybe", "not valid YAML"),
        ("!!float ''", "not valid YAML"),
        ("!!null [1]", "not valid YAML"),
        ("? [1, 2]\n: 3", "not valid YAML: .*unhashable key"),
        ("a: 0x" + "f" * 17, "64 bits at most"),
        ("a: 1" + ":59" * 10_000, "line 1: '1:59.* expected a number of 100 digits at most"),
        ('"\\ud800"', "UTF-8"),
        ("a: \x07", "not valid YAML"),
        ("a: *b", "not valid YAML"),
        ("a: %", "not valid YAML"),
    ],
)
def test_yaml_that_is_wrong_is_one_line_that_names_the_file_at_once(text, said):
    tracemalloc.start()
    start = time.monotonic()
    with pytest.raises(UserError, match=said) as error:
        load_yaml(text, "f.yaml")
    assert time.monotonic() - start < 5 and tracemalloc.get_traced_memory()[1] < 2**26
    tracemalloc.stop()
    assert str(error.value).startswith("f.yaml: ") and "\n" not in str(error.value) and len(str(error.value)) < 400


def test_yaml_may_repeat_itself_and_merge():
    text = "base: &base {a: 1, b: 2}\nmore: &more {<<: *base, b: 3}\nmost: {<<: [*more, *base], c: [*base, *base]}"
    base = {"a": 1, "b": 2}
    assert load_yaml(text, "") == {
        "base": base, "more": {"a": 1, "b": 3}, "most": {"a": 1, "b": 3, "c": [base, base]},
    }  # fmt: skip
    assert load_yaml("", "") is None and load_yaml("# nothing", "") is None


TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\x7f\x85\ufeff\ufffe\uffff"))
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inside: st.lists(inside) | st.dictionaries(TEXTS, inside),
    max_leaves=20,
)


@given(values)
def test_json_comes_back(value):
    assert load_json(json.dumps(value), "") == decode_json(json.dumps(value), "") == value


@given(values)
def test_json_is_yaml_with_the_same_values(value):
    assert load_yaml(json.dumps(value, ensure_ascii=False), "") == value


# Frozen values and messages


@given(values)
def test_frozen_values_are_keys_and_equal_where_the_values_are(value):
    assert hash(frozen(value)) == hash(frozen(copy.deepcopy(value)))
    assert frozen(value) == frozen(json.loads(json.dumps(value)))
    assert json.loads(json.dumps(frozen(value))) == value


def test_frozen_dict_cannot_be_changed_and_is_copied_and_pickled():
    value = frozen({"a": {"b": [1]}})
    assert value == {"a": {"b": (1,)}} == pickle.loads(pickle.dumps(value)) == copy.deepcopy(value)
    assert type(pickle.loads(pickle.dumps(value))) is FrozenDict and value | {"c": 1} == {"a": {"b": (1,)}, "c": 1}
    for change in (
        lambda: value.__setitem__("a", 1),
        lambda: value.pop("a"),
        lambda: value.update(a=1),
        lambda: value.__delitem__("a"),
    ):
        with pytest.raises(TypeError, match="cannot be changed"):
            change()


def test_what_a_message_says_of_a_value_is_short_and_one_line():
    deep = ["x" * 1000]
    for _ in range(40):
        deep = [deep] * 9
    for value in (deep, frozen({"a": "x" * 10**6}), "\n" * 10**6, 10**10000, {i: i for i in range(10**5)}, [10**9000]):
        assert len(short(value)) <= 120 and "\n" not in short(value)
    assert short({"a": [1, 2.5, None]}) == "{'a': [1, 2.5, None]}" and short("é") == "'é'"


# Types


@dataclasses.dataclass(frozen=True)
class Inner:
    width: int
    scale: "float" = 1.0
    tags: tuple[str, ...] = ()

    def __post_init__(self):
        if self.width < 0:
            raise UserError(f"width {self.width}; expected 0 or more")


@dataclasses.dataclass(frozen=True)
class Explained:
    remedy: str

    def __post_init__(self):
        raise ValueError(f"remedy: {'a long explanation, ' * 10}{self.remedy}")


def test_what_is_wrong_with_a_field_is_said_in_full():
    for remedy, end in (("give another", "explanation, give another"), ("a\nb", "a b"), ("\x1b[2J", "x1b[2J'")):
        for field, begins in (("", "file: "), ("card", "file: card.")):
            with pytest.raises(UserError) as error:
                parse(Explained, {"remedy": remedy}, "file", field)
            said = str(error.value)
            assert said.startswith(begins) and said.endswith(end) and said.isprintable()
            assert end.endswith("'") or said.count("a long explanation") == 10


@dataclasses.dataclass
class Outer:
    name: str
    inner: "Inner" = Inner(1)
    inners: "tuple[Inner, ...]" = ()
    mode: Literal["fast", "exact", 1] = "fast"
    side: "int | tuple[int, int] | None" = None
    number: float | int | None = None
    maybe: Optional[Inner] = None  # noqa: UP045
    weights: Mapping[str, float] = dataclasses.field(default_factory=dict)
    counts: dict[str, list[int]] = dataclasses.field(default_factory=dict)
    anything: Any = None
    flag: bool = False
    made: int = dataclasses.field(default=0, init=False)


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("inner", {"width": 2, "scale": 3}, Inner(2, 3.0)),
        ("inner", Inner(7), Inner(7)),
        ("inners", [{"width": 2, "tags": ["a"]}, {"width": 3}], (Inner(2, tags=("a",)), Inner(3))),
        ("mode", "exact", "exact"),
        ("mode", 1, 1),
        ("side", 3, 3),
        ("side", [3, 4], (3, 4)),
        ("side", None, None),
        ("number", 3, 3),
        ("number", 3.5, 3.5),
        ("maybe", {"width": 1}, Inner(1)),
        ("maybe", None, None),
        ("weights", {"a": 1, "b": 2.5}, FrozenDict(a=1.0, b=2.5)),
        ("counts", {"a": [1]}, {"a": [1]}),
        ("anything", {"a": [[1], {"b": []}]}, FrozenDict(a=((1,), FrozenDict(b=())))),
        ("flag", True, True),
    ],
)
def test_value_becomes_one_of_its_type(field, value, expected):
    found = getattr(parse(Outer, {"name": "x", field: value}, "f"), field)
    assert found == expected and type(found) is type(expected)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ([], r"f: \[\] received; expected names with values"),
        ({}, "f: field 'name' is missing"),
        ({"name": 3}, "f: name: 3 received; expected text: put it in quotes"),
        ({"name": True}, "name: True received; expected text: put it in quotes"),
        ({"name": "x", "inner": {}}, "field 'inner.width' is missing"),
        ({"name": "x", "inner": {"width": 1, "scael": 2}}, "field 'inner.scael' is unknown; did you mean 'scale'?"),
        ({"name": "x", "made": 2}, "field 'made' is unknown"),
        ({"name": "x", 3: 2}, "field '3' is unknown"),
        ({"name": "x", "inner": {"width": True}}, "inner.width: True received; expected a whole number"),
        ({"name": "x", "inner": {"width": 1.0}}, "inner.width: 1.0 received; expected a whole number"),
        ({"name": "x", "inner": {"width": -1}}, "^f: width -1; expected 0 or more"),
        ({"name": "x", "inners": [{"width": 1}, {"width": "a"}]}, r"inners\[1\].width: 'a' received"),
        ({"name": "x", "inners": {"width": 1}}, "inners: .* expected a list of values"),
        ({"name": "x", "mode": True}, "mode: True received; expected one of fast, exact, 1"),
        ({"name": "x", "mode": ["fast"]}, "mode: .* expected one of"),
        ({"name": "x", "side": [1, 2, 3]}, "side: .* expected a whole number or 2 whole numbers or null"),
        ({"name": "x", "maybe": {"width": "a"}}, "maybe.width: 'a' received"),
        ({"name": "x", "weights": {"a": math.nan}}, "weights.a: nan received; expected a number"),
        ({"name": "x", "weights": {"a": math.inf}}, "weights.a: inf received"),
        ({"name": "x", "weights": {1: 1}}, "weights: 1 received; expected text: put it in quotes"),
        ({"name": "x", "weights": {math.nan: 1}}, "weights: nan received; expected text"),
        ({"name": "x", "weights": {"\n" * 10**5: "a"}}, "weights"),
        ({"name": "x", "counts": {"a": [1, "b"]}}, r"counts.a\[1\]: 'b' received"),
        ({"name": "x", "flag": 1}, "flag: 1 received; expected true or false"),
        ({"name": "x", "flag": None}, "flag: None received"),
        ({"name": "x" * 10**6, "x" * 10**6: 1}, "is unknown"),
    ],
)
def test_value_of_another_type_is_one_line_that_names_field_and_value(value, said):
    with pytest.raises(UserError, match=said) as error:
        parse(Outer, value, "f")
    assert "\n" not in str(error.value) and len(str(error.value)) < 400


class Own:
    @classmethod
    def from_json(cls, value, where):
        return where, value


def test_class_may_read_itself():
    assert parse(Own, 3, "f") == ("f", 3) and parse(tuple[Own, ...], [3], "f") == (("f", 3),)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (str, "text"),
        (int | None, "a whole number or null"),
        (tuple[float, float], "2 numbers"),
        (tuple[str, ...], "a list of texts"),
        (list[int], "a list of whole numbers"),
        (Literal["a", "b"], "one of a, b"),
        (Inner, "names with values"),
        (dict[str, int], "names with values"),
    ],
)
def test_words_of_a_type(kind, said):
    assert words(kind) == said


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
anything = st.recursive(
    scalars, lambda inside: st.lists(inside) | st.dictionaries(scalars | st.sampled_from(["name", "inner"]), inside)
)


@given(anything | st.fixed_dictionaries({}, optional={field.name: anything for field in dataclasses.fields(Outer)}))
def test_any_value_is_parsed_or_refused_in_one_line(value):
    try:
        made = parse(Outer, value, "f")
    except UserError as error:
        assert "\n" not in str(error) and len(str(error)) < 600
    else:
        assert repr(parse(Outer, value, "f")) == repr(made)


# Names


@pytest.mark.parametrize("name", ["depth", "coco_detection", "a-b.c", "Größe", "living room", "x" * 200])
def test_plain_names(name):
    assert plain_name(name, "a task", "f") == name


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../../evil", "/etc/passwd", "a/b", "a\\b", ".hidden", "-flag", " a", "a\0b", "a\nb", "\ud800",
     "x" * 201, "ß" * 101, "a:b", "a*", 3, None, ["a"]],
)  # fmt: skip
def test_name_that_could_be_a_path_is_refused(name):
    with pytest.raises(UserError, match=r"f: .* received; expected the name of a task") as error:
        plain_name(name, "a task", "f")
    assert "\n" not in str(error.value)


def test_one_text_path_or_number_is_one_item():
    assert as_items("coco:x") == ("coco:x",) and as_items(Path("a")) == (Path("a"),) and as_items(3) == (3,)
    assert as_items(["a", "b"]) == as_items(iter("ab")) == ("a", "b") and as_items(()) == ()


def test_one_number_is_both_sides_of_a_size():
    assert as_size(64, "f") == as_size([64], "f") == as_size(np.int64(64), "f") == (64, 64) and as_size(
        (32, 64), "f"
    ) == (32, 64)
    for wrong in ((), (1, 2, 3), "64", 0, (32, 1.5), None):
        with pytest.raises(UserError, match=r"f: .* received; expected height and width, or one number for both"):
            as_size(wrong, "f")
