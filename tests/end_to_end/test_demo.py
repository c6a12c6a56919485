import dataclasses
import json
import shutil

from must_tf.cli import demo_stages
from must_tf.evaluation import read_cells, read_table, write_cells
from must_tf.experiments.rooms import demo_seeds
from must_tf.records import open_dataset, verify
from must_tf.training import read_metrics


def test_every_stage_comes_after_what_it_needs_and_has_a_product_of_its_own():
    stages = demo_stages.plan(1.0)
    seen = set()
    for stage in stages:
        seen.add(stage.name)
    assert len(seen) == len({stage.product for stage in stages}) == len(stages)
    done: set[str] = set()
    while len(done) < len(stages):
        ready = {stage.name for stage in stages if stage.name not in done and done.issuperset(stage.needs)}
        assert ready, f"never ready: {seen - done}"
        done |= ready


def test_the_table_holds_a_score_for_each_task_and_each_start(small_demo):
    table = json.loads((small_demo / "transfer.json").read_text())
    assert [task["name"] for task in table["tasks"]] == list(demo_stages.DOWNSTREAM)
    for task in table["tasks"]:
        assert set(task["scores"]) == {"random", "classification", "must"}
        assert all(0 <= score <= 1 for scores in task["scores"].values() for score in scores)
    budgets = table["budgets"]
    assert budgets["random"] == {"images": 0, "minutes": 0, "human_labels": 0}
    assert 0 < budgets["classification"]["images"] < budgets["must"]["images"]
    assert 0 < budgets["classification"]["human_labels"] < budgets["must"]["human_labels"]
    printed = (small_demo / "stdout.txt").read_text()
    assert "segmentation_b" in printed and "report.html" in printed
    assert (small_demo / "report.html").stat().st_size > 100_000


def test_shared_images_keep_their_human_classes_and_get_every_other_label(small_demo):
    dataset = open_dataset(small_demo / "data" / "labeled" / "classification")
    counts = dataset.manifest.counts
    assert set(counts["classification"]) == {"human"}
    for task in ("detection", "segmentation", "depth"):
        assert sum(counts[task].values()) == dataset.manifest.count
        assert all(origin.startswith(f"teacher_{task}-") for origin in counts[task])
    assert not verify(dataset).problems


def test_no_label_of_a_downstream_task_and_no_normal_reaches_the_student(small_demo):
    for name in ("classification", "unlabeled"):
        tasks = {task.name for task in open_dataset(small_demo / "data" / "labeled" / name).manifest.tasks}
        assert tasks == set(demo_stages.TEACHERS)


def test_a_finished_demo_runs_no_stage_again(small_demo, must):
    before = read_metrics(small_demo / "runs" / "teacher_depth")
    product = small_demo / "export" / "card.json"
    kept = product.read_bytes()
    again = must("demo", f"--out={small_demo}", "--scale=0.01", cwd=small_demo.parent)
    assert again.returncode == 0, again.stderr
    assert "[" not in again.stdout.splitlines()[0]  # no stage ran
    assert product.read_bytes() == kept and read_metrics(small_demo / "runs" / "teacher_depth") == before


def test_a_demo_of_another_scale_is_refused_in_one_line(small_demo, must):
    ended = must("demo", f"--out={small_demo}", "--scale=0.02", cwd=small_demo.parent)
    assert ended.returncode == 2
    (line,) = ended.stderr.strip().splitlines()
    assert "0.01" in line and "0.02" in line and "--out" in line


def test_demos_of_several_seeds_become_one_table_that_says_in_how_many_must_is_ahead(small_demo, tmp_path, capsys):
    for seed in (0, 1):
        demo = shutil.copytree(small_demo, tmp_path / f"seed-{seed}", ignore=shutil.ignore_patterns("data", "export"))
        for name in ("data", "export"):
            (demo / name).symlink_to(small_demo / name)
        (demo / "demo.json").write_text(json.dumps({"scale": 0.01, "seed": seed}))
        for folder in (demo / "runs").glob("*_must"):  # ahead with the first seed, behind with the second
            cells = read_cells(folder)
            shutil.rmtree(folder / cells[0].task)
            write_cells(folder, [dataclasses.replace(cell, test={cell.metric: 1.0 - seed}) for cell in cells])
        for folder in (demo / "runs").glob("*_*/"):
            if seed and (folder / "transfer.json").exists():
                cells = [dataclasses.replace(cell, seed=seed, weights="") for cell in read_cells(folder)]
                shutil.rmtree(folder / cells[0].task, ignore_errors=True)
                write_cells(folder, cells)
    demo_seeds.main(tmp_path, (0, 1), 0.01)
    assert "must is ahead of classification in the mean in 1 of 2 demos" in capsys.readouterr().out
    table = read_table(tmp_path / demo_seeds.TABLE)
    assert table.seeds == (0, 1) and table.repetitions[-1] == 2
    assert table.average.of("must") == (1.0, 0.0)
    assert table.budgets == read_table(small_demo / "transfer.json").budgets
