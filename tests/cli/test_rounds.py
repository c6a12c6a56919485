import pytest

GIVEN = ["rounds", "--config=rooms/teacher.py:classification", "--images=photos", "--out=out"]


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (GIVEN[:2] + GIVEN[3:], "--images: not given"),
        (GIVEN[:3], "--out: not given"),
        ([*GIVEN, "--rounds=0"], "--rounds=0"),
        ([*GIVEN, "--thresholds=a.min_score=0.3,a=best:b"], "--thresholds: a=best: received together with a number"),
        ([*GIVEN, "--tta=turn"], "--tta=turn"),
        ([*GIVEN[:1], *GIVEN[2:]], "--config: not given"),
        ([*GIVEN, "--config=s3://bucket/a.py"], "s3://bucket/a.py"),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(run_verb, tmp_path, monkeypatch, argv, said):
    monkeypatch.chdir(tmp_path)
    code, _, errors = run_verb(*argv)
    assert code == 2 and len(errors) == 1 and said in errors[0]
    assert not (tmp_path / "out").exists()
