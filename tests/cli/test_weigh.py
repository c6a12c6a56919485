import pytest


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--target=x"], "not given: --workdir"),
        (["--workdir=x"], "not given: --target"),
        (["--workdir=x", "--target=y"], "x: holds no run"),
        (["--workdir=x", "--target=y", "--batches=1"], "--batches"),
        (["--workdir=x", "--target=y", "--batch_sizes=1"], "batch_sizes"),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(run_verb, tmp_path, monkeypatch, argv, said):
    monkeypatch.chdir(tmp_path)
    code, _, errors = run_verb("weigh", *argv)
    assert code == 2 and len(errors) == 1 and said in errors[0]
    assert not [*tmp_path.iterdir()]
