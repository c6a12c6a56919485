import html
import re
import shlex

import numpy as np
import pytest

from must_tf.cli.__main__ import main
from must_tf.errors import UserError
from must_tf.records import open_dataset
from must_tf.report import report
from must_tf.report.pictures import spread
from must_tf.report.predictions import predict


def sections(page):
    return [attributes["id"] for attributes in page.of("section")]


def test_all_sections_in_order_and_nothing_from_outside(whole, read_page):
    page = read_page(whole[0])
    assert sections(page) == [
        "transfer",
        "transfer-2",
        "lines",
        "lines-2",
        "labels",
        "predictions",
        "curves",
        "datasets",
    ]
    assert "<h1>Rooms &amp; &lt;more&gt;</h1>" in page.source
    assert not re.search(r"(?:src|href)=.https?:", page.source)


def test_every_section_names_its_command(whole, dataset_folder, workdir, read_page):
    source = read_page(whole[0]).source
    parts = source.split("<section ")[1:]
    assert all(part.count('class="command">Made by <code>') == 1 for part in parts)
    datasets, student, workdirs = f"--datasets={dataset_folder}", f"--student={workdir}", f"--workdirs={workdir}"
    for flags in ([datasets], [datasets, student], [workdirs]):
        assert f"<code>{html.escape(shlex.join(['must', 'report', *flags]))}</code>" in source


def test_the_same_inputs_give_the_same_bytes(whole, tmp_path):
    path, arguments = whole
    report(tmp_path / "again.html", *arguments)
    assert (tmp_path / "again.html").read_bytes() == path.read_bytes()


def test_every_task_of_the_student_has_a_picture_an_image(whole, dataset_folder, read_page):
    page = read_page(whole[0])
    start = page.source.index('id="predictions"')
    part = page.source[start : page.source.index('id="curves"')]
    assert part.count("by run &amp; co on image") + part.count("no label of") == 5 * 4


def test_a_section_without_data_is_left_out(dataset_folder, workdir, tmp_path, read_page):
    report(tmp_path / "page.html", [], [workdir])
    assert sections(read_page(tmp_path / "page.html")) == ["curves"]
    report(tmp_path / "page.html", [dataset_folder])
    assert sections(read_page(tmp_path / "page.html")) == ["labels", "datasets"]


def test_predictions_stand_in_the_frame_of_their_image(dataset_folder, workdir):
    records = spread(open_dataset(dataset_folder), 4)
    _, predicted = predict(workdir, records)
    for record in predicted:
        assert record.labels["depth"].shape == record.labels["parts"].shape == (record.height, record.width)
        assert np.isfinite(record.labels["depth"]).all()
        assert set(record.origins.values()) == {"run & co"}


def test_what_is_missing_is_named(dataset_folder, workdir, tmp_path):
    out = tmp_path / "page.html"
    with pytest.raises(UserError, match="nothing to report"):
        report(out)
    with pytest.raises(UserError, match="nowhere: no such folder"):
        report(out, [tmp_path / "nowhere"])
    with pytest.raises(UserError, match=r"config.json: no such file"):
        report(out, [dataset_folder], student=tmp_path)
    (tmp_path / "config.json").write_text('{"input_size": 64}')
    with pytest.raises(UserError, match=r"config.json: input_size: 64 received; expected 2 whole numbers"):
        report(out, [dataset_folder], student=tmp_path)
    with pytest.raises(UserError, match="name a dataset too"):
        report(out, student=workdir)
    assert not out.exists()


def test_text_takes_only_the_place_of_the_tables(transfer_file, lines_file, tmp_path):
    path = tmp_path / "RESULTS.md"
    arguments = {"transfer": [transfer_file], "curves": [lines_file], "text": path}
    report(tmp_path / "page.html", **arguments, title="What <was> found")
    made = path.read_text()
    assert made.startswith("# What &lt;was> found\n\n<!-- tables -->\n## Transfer &lt;to> two tasks\n")
    assert "\n## More &lt;images>\n" in made and "Made by `must demo --out='a & b'`." in made
    around = "# Mine\n\nBefore.\n{}\nAfter, with \\1.\n"
    path.write_text(around.format("<!-- tables -->\nold\n<!-- /tables -->"))
    report(tmp_path / "page.html", **arguments)
    block = made[made.index("<!-- tables -->") :].rstrip("\n")
    assert path.read_text() == around.format(block)
    report(tmp_path / "page.html", **arguments)
    assert path.read_text() == around.format(block)


@pytest.mark.parametrize(
    "content", ["", "<!-- tables -->\n", "<!-- /tables -->\n<!-- tables -->\n", "a <!-- tables -->\n<!-- /tables -->\n"]
)
def test_text_without_a_place_for_the_tables_is_left_alone(content, transfer_file, tmp_path):
    path = tmp_path / "RESULTS.md"
    path.write_text(content)
    with pytest.raises(UserError, match=r"RESULTS\.md: not one line <!-- tables -->"):
        report(tmp_path / "page.html", transfer=[transfer_file], text=path)
    assert path.read_text() == content and not (tmp_path / "page.html").exists()


def test_the_command_takes_lists_of_tables_and_curves(transfer_file, lines_file, tmp_path, read_page, capsys):
    page, text = tmp_path / "page.html", tmp_path / "RESULTS.md"
    tables, curves = f"--transfer={transfer_file},{transfer_file}", f"--curves={lines_file},{lines_file}"
    with pytest.raises(SystemExit) as ended:
        main(["report", tables, curves, f"--out={page}", f"--text={text}"])
    assert not ended.value.code and capsys.readouterr().out == f"{page}: the page\n{text}: the tables\n"
    assert sections(read_page(page)) == ["transfer", "transfer-2", "lines", "lines-2"]
    assert text.read_text().count("```text") == 4


def test_text_without_tables_is_refused(workdir, tmp_path):
    with pytest.raises(UserError, match="--transfer or --curves"):
        report(tmp_path / "page.html", workdirs=[workdir], text=tmp_path / "RESULTS.md")
