import json

import pytest

from must_tf.errors import UserError
from must_tf.evaluation.lines import parse_lines, read_lines

OLD = {  # as version 0.1.0 wrote it: without units and directions
    "title": "More images",
    "command": "python -m sizes --out='a & b'",
    "note": "",
    "x": {"name": "unlabeled images", "values": [500, 2000, 8000.5], "log": True},
    "panels": [
        {"name": "empty", "lines": {}},
        {"name": "depth, delta1", "lines": {"must": [[0.3, 0.32], None, [0.5, 0.52]], "other": [None, [0.5], None]}},
    ],
}


@pytest.fixture
def value():
    return json.loads(json.dumps(OLD))


def test_lines_come_back_as_they_were(value):
    lines = parse_lines(value)
    assert [panel.name for panel in lines.drawn] == ["depth, delta1"] and (lines.inits, lines.seeds) == (
        ["must", "other"],
        2,
    )
    assert parse_lines(json.loads(json.dumps(lines.to_json()))) == lines
    assert [isinstance(x, int) for x in lines.x.values] == [True, True, False]
    (panel,) = lines.drawn
    assert (panel.unit, panel.better) == ("share", "higher")
    assert panel.mean("must", 0).value == pytest.approx(0.31)
    assert not panel.mean("must", 1).known and not panel.mean("third", 0).known


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda lines: lines.pop("x"), "field 'x' is missing"),
        (lambda lines: lines["x"].update(log=1), "x.log: 1 received; expected true or false"),
        (lambda lines: lines["x"].update(values=[3, 2, 1]), "x.values: [3, 2, 1] received; expected ascending numbers"),
        (lambda lines: lines["x"].update(values=[]), "x.values: [] received; expected ascending numbers"),
        (lambda lines: lines["x"].update(values=[0, 2, 4]), "x.values: [0, 2, 4] received; expected numbers above 0"),
        (lambda lines: lines.update(panels=[]), "panels: no line received"),
        (lambda lines: lines["panels"][1].pop("lines"), "field 'panels[1].lines' is missing"),
        (
            lambda lines: lines["panels"][1]["lines"].update(must=[[1]]),
            "panels[1].lines.must: 1 received; expected scores",
        ),
        (
            lambda lines: lines["panels"][1]["lines"]["must"].__setitem__(2, "x"),
            "panels[1].lines.must[2]: 'x' received",
        ),
    ],
)
def test_broken_file_is_named_in_one_line_with_its_command(value, damage, words, tmp_path):
    damage(value)
    path = tmp_path / "lines.json"
    path.write_text(json.dumps(value))
    with pytest.raises(UserError) as error:
        read_lines(path)
    assert str(error.value).startswith(f"{path}: {words}") and "\n" not in str(error.value)
    assert "make the file again with `python -m sizes" in str(error.value)
