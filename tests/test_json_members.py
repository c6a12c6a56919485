"""Large JSON objects are read entry by entry, and come out as `json.loads` reads them, wherever a part ends."""

import json

import damage
import pytest
from hypothesis import given
from hypothesis import strategies as st

from must_tf import json_members
from must_tf.errors import UserError
from must_tf.json_members import members

LIST = r'[1.5e-3, "x\"\u00e9\\", [], {"b": [null, true]} , 12345678901234567890]'
TEXT = f'\ufeff {{"a" : {LIST}, "info": {{"c": 1}}, "e": [ ]}}\n'


def read(path):
    return {name: list(value) if hasattr(value, "__next__") else value for name, value in members(path, "an object")}


@pytest.mark.parametrize("chunk", range(1, 60, 3))
def test_parts_of_any_size_give_what_the_whole_gives(tmp_path, monkeypatch, chunk):
    monkeypatch.setattr(json_members, "_CHUNK", chunk)
    (tmp_path / "a.json").write_text(TEXT, encoding="utf-8")
    assert read(tmp_path / "a.json") == json.loads(TEXT.lstrip("\ufeff"))


def test_every_cut_is_no_json(tmp_path, monkeypatch):
    monkeypatch.setattr(json_members, "_CHUNK", 7)
    content = TEXT.encode()
    for end in range(4, len(content) - 2):
        (tmp_path / "a.json").write_bytes(content[:end])
        with pytest.raises(UserError, match=r"a\.json: not valid JSON"):
            read(tmp_path / "a.json")


@given(damage.damaged(TEXT.strip("\ufeff\n").encode()) | st.binary(max_size=40))
def test_damaged_text_is_read_as_json_loads_does_or_is_one_line(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("damaged") / "a.json"
    path.write_bytes(content)
    try:
        found = read(path)
    except UserError as error:
        assert "\n" not in str(error) and str(path) in str(error)
        return
    assert repr(found) == repr(json.loads(content))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[1]", r"\[1\] received; expected an object"),
        ('{"a": [1], "a": 2}', "has 'a' twice"),
        ('{"a": [1]} {}', "not valid JSON .Extra data: char 11"),
        ('{"a": [1,,2]}', "not valid JSON .Expecting value: char 9"),
        ('{"a": ' + "[" * 100_000, "nested too deep"),
        ('{"a": [1' + "0" * 5000 + "]}", "not valid JSON .*4300 digits"),
    ],
)
def test_what_is_no_object_of_lists_is_one_line(tmp_path, text, said):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(UserError, match=said):
        read(tmp_path / "a.json")


def test_entries_that_nobody_asks_for_are_skipped_and_a_huge_one_is_refused(tmp_path, monkeypatch):
    (tmp_path / "a.json").write_text(TEXT, encoding="utf-8")
    assert [name for name, _ in members(tmp_path / "a.json", "")] == ["a", "info", "e"]
    monkeypatch.setattr(json_members, "_MOST", 100)
    monkeypatch.setattr(json_members, "_CHUNK", 10)
    (tmp_path / "a.json").write_text(json.dumps({"a": ["short", "x" * 1000]}))
    with pytest.raises(UserError, match="an entry at char 16 has more than 100 characters"):
        read(tmp_path / "a.json")
