import json

import pytest
import tensorflow as tf

from must_tf.errors import UserError
from must_tf.training.monitor import Monitor, read_bad_batches, read_metrics


def values(loss, applied=1.0, **more):
    return {"loss": tf.constant(loss), "applied": tf.constant(applied)} | {k: tf.constant(v) for k, v in more.items()}


def test_means_are_over_the_steps_that_were_applied(tmp_path):
    monitor = Monitor(tmp_path, 0)
    for loss, applied in ((1.0, 1.0), (float("nan"), 0.0), (3.0, 1.0)):
        monitor.add(values(loss, applied))
    assert monitor.write(3, {"rate": 0.5}, {"seconds": 7.0}) == {"loss": 2.0, "not_applied": 1}
    assert read_metrics(tmp_path) == [{"step": 3, "loss": 2.0, "not_applied": 1, "rate": 0.5}]


def test_value_of_some_steps_is_their_mean(tmp_path):
    monitor = Monitor(tmp_path, 0)
    monitor.add(values(1.0))
    monitor.add(values(2.0, **{"cosine/a/b": -0.5}))
    assert monitor.write(2, {}, {})["cosine/a/b"] == -0.5


def test_steps_all_of_which_were_bad_have_no_loss(tmp_path):
    monitor = Monitor(tmp_path, 0)
    monitor.add(values(float("inf"), 0.0))
    monitor.write(1, {}, {})
    assert read_metrics(tmp_path) == [{"step": 1, "not_applied": 1}]
    assert json.loads((tmp_path / "metrics.jsonl").read_text())  # NaN and Infinity are no JSON


def test_bad_steps_are_counted_across_writes(tmp_path):
    monitor = Monitor(tmp_path, 0)
    for applied in (1.0, 0.0, 0.0):
        monitor.add(values(1.0, applied))
    assert monitor.bad(3) == ([2, 3], 2) and monitor.row == 2
    assert monitor.bad(3) == ([], 0)  # each is told once
    monitor.write(3, {}, {})
    for applied in (0.0, 1.0, 0.0):
        monitor.add(values(1.0, applied))
    assert monitor.bad(6) == ([4, 6], 3)
    monitor.write(6, {}, {})
    monitor.add(values(1.0, 0.0))
    assert monitor.bad(7) == ([7], 2)
    monitor.write(7, {}, {})
    assert monitor.row == 2
    monitor.add(values(1.0))
    assert monitor.row == 0


def test_step_of_a_loss_scale_that_is_too_high_is_not_bad(tmp_path):
    monitor = Monitor(tmp_path, 0)
    monitor.add(values(1.0, 0.0, loss_scale=1024.0))
    monitor.add(values(1.0, 0.0, loss_scale=1.0))
    monitor.add(values(float("nan"), 0.0, loss_scale=1024.0, **{"loss/a": float("nan")}))  # no scale would mend it
    assert monitor.bad(3) == ([2, 3], 2)


def test_cosine_with_a_task_that_is_absent_is_not_counted(tmp_path):
    monitor = Monitor(tmp_path, 0)
    monitor.add(values(1.0, **{"cosine/a/b": float("nan"), "cosine/a/c": float("nan")}))
    monitor.add(values(1.0, **{"cosine/a/b": -0.5, "cosine/a/c": float("nan")}))
    assert monitor.write(2, {}, {}) == {"loss": 1.0, "cosine/a/b": -0.5}


@pytest.mark.parametrize("killed", [1, 2, 3, 4, 5])
def test_files_are_the_same_after_a_restart(tmp_path, killed):
    def go(monitor, workdir, first, last):
        for step in range(first, last + 1):
            monitor.add(values(1 / step, float(step != 2)))
            if step % 3 == 0:
                for number in monitor.bad(step)[0]:
                    monitor.record_bad(number, [f"id{number}"])
                monitor.write(step, {}, {"seconds": step})

    whole = Monitor(tmp_path / "whole", 0)
    go(whole, tmp_path / "whole", 1, 6)
    monitor = Monitor(tmp_path / "killed", 0)
    go(monitor, tmp_path / "killed", 1, killed)
    state = json.loads(json.dumps(monitor.state()))
    go(monitor, tmp_path / "killed", killed + 1, 6)  # beyond the checkpoint, and lost
    go(Monitor(tmp_path / "killed", killed, state), tmp_path / "killed", killed + 1, 6)
    for name in ("metrics.jsonl", "bad_batches.jsonl"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert read_bad_batches(tmp_path / "whole") == [{"step": 2, "rollbacks": 0, "images": ["id2"]}]


def test_bad_batches_of_an_earlier_attempt_stay_on_record(tmp_path):
    Monitor(tmp_path, 0).record_bad(5, ["a"])
    again = Monitor(tmp_path, 2, rollbacks=1)
    again.record_bad(6, ["b"])
    Monitor(tmp_path, 2, rollbacks=1)  # killed: what this attempt wrote beyond step 2 comes again
    assert [line["images"] for line in read_bad_batches(tmp_path)] == [["a"]]


def test_worker_that_does_not_write_leaves_no_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monitor = Monitor(None, 0)
    monitor.add(values(1.0))
    monitor.record_bad(1, ["a"])
    assert monitor.write(1, {}, {}) == {"loss": 1.0}
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"step": 2, "lo', "line 2: not valid JSON"),
        ("[1]", r"line 2: \[1\] received; expected names with values"),
        ('{"loss": 1}', "line 2: step: None received; expected a whole number"),
        ('{"step": "2"}', "line 2: step: '2' received"),
    ],
)
def test_damaged_line_is_named_by_file_and_number(tmp_path, line, said):
    (tmp_path / "metrics.jsonl").write_text(f'{{"step": 1}}\n{line}\n{{"step": 3}}\n{{"st')
    with pytest.raises(UserError, match=rf"metrics\.jsonl: {said}"):
        read_metrics(tmp_path)
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n{"st')
    assert read_metrics(tmp_path) == [{"step": 1}]
