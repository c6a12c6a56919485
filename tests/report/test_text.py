import pytest

from must_tf.errors import UserError
from must_tf.report.text import WIDTH, text_table, write_text


def columns(line):
    return [cell for cell in line.split("  ") if cell.strip()]


def test_columns_are_as_wide_as_their_widest_cell():
    lines = text_table(["task", "a", "longer"], [["depth", "1.0", "2"], ["x", "10.0", "-"]])
    assert lines == ["task      a  longer", "depth   1.0       2", "x      10.0       -"]


@pytest.mark.parametrize("left", [1, 2])
@pytest.mark.parametrize("count", [1, 5, 12])
def test_a_wide_table_is_broken_into_blocks_that_hold_every_cell_once(left, count):
    header = [f"left{i}" for i in range(left)] + [f"column_{i:02}_of_many" for i in range(count)]
    rows = [[f"r{row}c{i:02}" for i in range(left + count)] for row in range(3)]
    text = "\n".join(text_table(header, rows, left))
    assert all(len(line) <= WIDTH for line in text.splitlines())
    blocks = text.split("\n\n")
    assert [text.count(cell) for row in rows for cell in row[left:]] == [1] * 3 * count
    assert [text.count(cell) for row in rows for cell in row[:left]] == [len(blocks)] * 3 * left
    sizes = [len(columns(block.splitlines()[0])) for block in blocks]
    assert max(sizes) - min(sizes) <= len(blocks)


def test_a_column_wider_than_a_page_stands_alone():
    blocks = "\n".join(text_table(["task", "a", "b"], [["x", "1" * 150, "2"]])).split("\n\n")
    assert len(blocks) == 2 and blocks[1].splitlines()[1].split() == ["x", "2"]


def test_what_is_around_the_tables_of_a_file_keeps_its_bytes(tmp_path):
    path = tmp_path / "r.md"
    before, after = "\ufeffgröße ≥ 1\r\n\r\n".encode(), b"\r\nend"  # as Windows' editor writes
    path.write_bytes(before + b"<!-- tables -->\r\nold\r\n<!-- /tables -->\r\n" + after)
    write_text(path, "title", [("heading", "", "new", "")])
    found = path.read_bytes()
    assert found.startswith(before) and found.endswith(after) and b"new" in found and b"old" not in found
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match=r"r\.md: "):
        write_text(path, "title", [])
