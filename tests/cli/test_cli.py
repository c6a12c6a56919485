import importlib
import io
import json
import re
import shutil
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import toy
from PIL import Image

from must_tf.cli import app
from must_tf.cli.__main__ import main
from must_tf.cli.verbs import VERBS
from must_tf.training import load_student

CONFIG = """
import toy
from must_tf.training import Experiment

def get_config(folder):
    return toy.experiment(folder, tasks=[toy.SCENE, toy.DEPTH], steps=2, validation=folder)
"""


@pytest.fixture(autouse=True)
def fresh_flags():
    """Flags keep the values of the call before."""
    yield
    for verb in VERBS:
        module = sys.modules.get(f"must_tf.cli.{verb}")
        if module:
            module.FLAGS.unparse_flags()


@pytest.fixture
def must(capsys):
    """Runs `must` in this process: (exit code, standard output, standard error)."""

    def run(*argv):
        code = 0
        try:
            main([str(argument) for argument in argv])
        except SystemExit as error:
            code = error.code or 0
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture
def fails(must):
    """Runs `must`, and asserts that it fails as it should: one line that holds these words, no traceback."""

    def run(*argv, words=()):
        code, _, err = must(*argv)
        lines = [line for line in err.strip().splitlines() if not line.startswith(("label ", "train ", "evaluate "))]
        assert code not in (0, None), err
        assert len(lines) == 1 and lines[0].startswith("must: error: "), err
        for word in words:
            assert word in lines[0], lines[0]

    return run


@pytest.fixture
def config(tmp_path, toy_data):
    path = tmp_path / "config.py"
    path.write_text(CONFIG)
    return f"{path}:{toy_data}"


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(3):
        Image.fromarray(toy.random_image(rng, 40, 60)).save(folder / f"{i}.png")
    return folder


# Help


def seconds(*argv):
    start = time.perf_counter()
    result = subprocess.run([sys.executable, "-m", "must_tf.cli", *argv], capture_output=True, text=True)
    return time.perf_counter() - start, result


def test_help_is_quick_and_names_every_verb():
    took, result = min((seconds("--help") for _ in range(2)), key=lambda pair: pair[0])
    assert result.returncode == 0 and not result.stderr and took < 1
    assert all(f"must {verb}" in result.stdout for verb in VERBS)


def test_no_argument_says_where_one_is(must, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, _ = must()
    assert code == 0 and "Next: must init FOLDER" in out and "must --help" in out


def test_what_a_terminal_cannot_show_is_printed_escaped(tmp_path, monkeypatch):
    (tmp_path / "größe-\udcff").mkdir()
    (tmp_path / "größe-\udcff" / "manifest.json").write_text('{"schema": 1, "shards": [], "count": 2}')
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.chdir(tmp_path)
    main([])
    assert rb"gr\xf6\xdfe-\udcff: 2 images" in out.buffer.getvalue()


def test_version_is_told(must):
    from must_tf import __version__

    assert must("--version") == (0, f"must_tf {__version__}\n", "")


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_a_verb_shows_its_flags_and_loads_no_tensorflow(verb):
    code = (
        "import sys; from must_tf.cli.__main__ import main; main([sys.argv[1], '--help']); "
        "assert not {'tensorflow', 'tf_keras'} & set(sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code, verb], capture_output=True, text=True)
    assert result.returncode == 0 and not result.stderr, result.stderr
    assert result.stdout.startswith(f"must {verb}: ")
    flags = importlib.import_module(f"must_tf.cli.{verb}").FLAGS
    assert all(f"--{'[no]' if flags[name].boolean else ''}{name}" in result.stdout for name in flags)
    assert "--alsologtostderr" not in result.stdout  # absl's own


@pytest.mark.parametrize("verb", VERBS)
def test_every_flag_is_explained(verb):
    flags = importlib.import_module(f"must_tf.cli.{verb}").FLAGS
    assert all(flags[name].help.strip() for name in flags)


@pytest.mark.parametrize("verb", VERBS)
def test_help_has_examples_that_parse(verb):
    module = importlib.import_module(f"must_tf.cli.{verb}")
    lines = module.__doc__.replace(" \\\n", " ").splitlines()
    examples = [line.split()[2:] for line in lines if line.startswith(f"    must {verb} ")]
    assert examples
    for arguments in examples:
        given = [argument for argument in arguments if argument.startswith("--")]
        places = [argument for argument in arguments if not argument.startswith("--")]
        name = getattr(module, "PLACE", "data")
        module.FLAGS([verb, *given, *(f"--{name}={place}" for place in places)])


# What works


def test_train_evaluate_label_inspect(must, config, images, tmp_path):
    run = tmp_path / "run"
    code, out, _ = must("train", f"--config={config}", f"--workdir={run}", "--config.steps=3")
    assert code == 0 and f"{run}/student" in out
    assert json.loads((run / "config.json").read_text())["steps"] == 3
    code, out, _ = must("train", f"--workdir={run}", "--steps=4")
    assert code == 0 and "goes on to 4 steps" in out and (run / "steps-3" / "student").is_dir()

    code, out, _ = must("evaluate", f"--workdir={run}")
    scores = json.loads((run / "evaluation.json").read_text())["scores"]
    assert code == 0 and set(scores) == {"scene", "depth"}
    lines = out.splitlines()
    assert f"scene: top1 {100 * scores['scene']['top1']:.1f}%" in lines
    (depth,) = [line for line in lines if line.startswith("depth: ")]
    assert re.fullmatch(r"depth: delta1 [\d.]+%  AbsRel ↓ [\d.,]+  RMSE ↓ [\d.,]+ m", depth)
    assert "↓: lower is better" in lines

    labeled = tmp_path / "labeled"
    teachers = f"scene=student:{run},depth=student:{run}"
    code, out, _ = must("label", f"--images={images}", f"--teachers={teachers}", f"--out={labeled}")
    assert code == 0 and "3 records in 1 shard\n" in out

    code, out, err = must("inspect", f"--data={labeled}", "--pictures=1")
    assert code == 0 and not err and "3 records" in out and (labeled / "report.html").exists()


def test_training_starts_from_weights_and_takes_no_run_up_that_it_should_not(must, fails, config, toy_run, tmp_path):
    arguments = (f"--config={config}", f"--workdir={tmp_path / 'run'}", "--config.optimizer.learning_rate=0.0")
    code, out, _ = must("train", *arguments, f"--init_from={toy_run}")
    assert code == 0 and "backbone: loaded" in out
    begun, trained = (load_student(folder).backbone for folder in (toy_run, tmp_path / "run"))
    for mine, theirs in zip(trained.trainable_variables, begun.trainable_variables, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    fails("train", *arguments, f"--init_from={toy_run}", "--noresume", words=["holds a run already"])
    fails("train", *arguments, "--init_from=", "--resume", words=["another init_from"])


def test_label_that_quarantines_says_so_and_succeeds(must, images, classifier_run, tmp_path):
    (images / "broken.jpg").write_text("no image")
    arguments = (f"--images={images}", f"--teachers=scene=student:{classifier_run}", f"--out={tmp_path / 'out'}")
    code, out, _ = must("label", *arguments, "--max_bad=0.5")
    assert code == 0 and "quarantined: 1" in out and "broken.jpg" in out


# What users get wrong


def test_unknown_verb(fails):
    fails("trian", words=["'trian'", "did you mean 'train'"])


@pytest.mark.parametrize("verb", VERBS)
def test_unknown_flag(fails, verb):
    fails(verb, "--nonsense=1", words=["nonsense"])


@pytest.mark.parametrize("verb", sorted(set(VERBS) - {"demo", "rooms", "report"}))
def test_missing_flag(fails, verb):
    fails(verb, words=["--", "not given"])


def test_argument_that_is_no_flag(fails):
    fails("rooms", "here", words=["'here'", "--name=value"])


def test_value_of_another_type(fails):
    fails("rooms", "--size=big", words=["size", "big"])


def test_config_field_without_value(fails):
    fails("train", "--config=x", "--workdir=y", "--config.steps", words=["--config.steps", "=VALUE"])


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("--config.step=3", ["step", "did you mean 'steps'"]),
        ("--config.steps=many", ["--config.steps", "many", "a whole number"]),
        ("--config.input_size=(64, 65)", ["64x65", "multiples of 32"]),
        ("--config.policy=float8", ["float8"]),
        ("--config.trunk.backbone=resnet-11", ["resnet-11", "did you mean"]),
        ("--config.optimizer.name=adam", ["adam", "did you mean 'adamw'"]),
        ("--config.balance.rule=papers", ["papers", "did you mean 'paper'"]),
        ("--config.train=/nowhere", ["/nowhere", "no such folder"]),
        ("--config.init_from=/nowhere", ["/nowhere", "no such folder"]),
        ("--config.batch_size=0", ["batch_size", "0"]),
        ("--accelerators=8", ["--accelerators", "without --plan"]),
    ],
)
def test_config_that_cannot_be_trained(fails, config, tmp_path, argument, words):
    fails("train", f"--config={config}", f"--workdir={tmp_path / 'run'}", argument, words=words)


def test_missing_config(fails, tmp_path):
    fails("train", "--config=studnt.py", f"--workdir={tmp_path}", words=["studnt.py", "no such config"])


def test_task_that_the_data_lack(fails, config, tmp_path):
    image = np.zeros((8, 8, 3), np.uint8)
    toy.write_dataset(tmp_path / "d", [toy.record(image, {"scene": 1})], [toy.SCENE, toy.DEPTH], 1)
    fails(
        "train",
        f"--config={config.partition(':')[0]}:{tmp_path / 'd'}",
        f"--workdir={tmp_path / 'run'}",
        words=[str(tmp_path / "d"), "no label of task 'depth'"],
    )


@pytest.mark.parametrize("damage", ["missing", "truncated", "schema", "unfinished", "manifest"])
def test_dataset_that_is_not_whole(fails, data, damage):
    shard = sorted(data.glob("*.tfrecord-*"))[0]
    words = [str(data)]
    if damage == "missing":
        shard.unlink()
        words += [shard.name, "is missing"]
    elif damage == "truncated":
        shard.write_bytes(shard.read_bytes()[:-7])
        words += [shard.name, "bytes of", "delete"]
    elif damage == "schema":
        toy.change_manifest(data, schema=0)
        words += ["schema 0", "reads 1"]
    elif damage == "unfinished":
        (data / "manifest.json").unlink()
        words += ["not finished"]
    else:
        (data / "manifest.json").write_text("{")
        words += ["not valid JSON"]
    fails("report", f"--datasets={data}", f"--out={data}.html", words=words)


def test_damaged_shard_is_told_by_inspect(must, data):
    shard = sorted(data.glob("*.tfrecord-*"))[0]
    content = bytearray(shard.read_bytes())
    content[500] ^= 1
    shard.write_bytes(content)
    code, _, err = must("inspect", f"--data={data}", "--pictures=0")
    assert code == 1 and "Traceback" not in err
    lines = err.strip().splitlines()
    assert lines and all(line.startswith("must: problem: ") for line in lines) and shard.name in lines[0]


def test_damaged_shard_ends_training_with_a_remedy(fails, config, data, tmp_path):
    for shard in data.glob("*.tfrecord-*"):
        content = bytearray(shard.read_bytes())
        content[500] ^= 1
        shard.write_bytes(content)
    argv = ("train", f"--config={config.partition(':')[0]}:{data}", f"--workdir={tmp_path / 'run'}")
    fails(*argv, words=["cannot be read", "must inspect"])


@pytest.mark.parametrize(
    ("images", "words"),
    [
        ("nowhere", ["nowhere", "no such folder"]),
        ("empty", ["empty", "holds no image"]),
        ("broken", ["a.jpg", "is not a JPEG"]),
    ],
)
def test_images_that_are_none(fails, classifier_run, tmp_path, images, words):
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "a.jpg").write_text("no image")
    teacher = f"--teachers=scene=student:{classifier_run}"
    fails("label", f"--images={tmp_path / images}", teacher, f"--out={tmp_path / 'out'}", words=words)


@pytest.mark.parametrize(
    ("teachers", "words"),
    [
        ("scene", ["'scene'", "TASK=FORMAT:PATH"]),
        ("scene=kera:x", ["kera:x", "FORMAT:PATH"]),
        ("scene=keras:x", ["keras:x", "no such file"]),
        (f"scene=keras:{__file__}", ["test_cli.py: no card", "--describe"]),
        ("scene=student:/nowhere", ["/nowhere"]),
    ],
)
def test_teachers_that_are_none(fails, images, tmp_path, teachers, words):
    fails("label", f"--images={images}", f"--teachers={teachers}", f"--out={tmp_path / 'out'}", words=words)


def test_workdir_of_another_run(fails, config, toy_run, tmp_path):
    run = shutil.copytree(toy_run, tmp_path / "run")
    fails("train", f"--config={config}", f"--workdir={run}", words=[str(run), "another", "--workdir"])


def test_task_that_the_student_has_not(fails, toy_run, toy_data):
    fails("evaluate", f"--workdir={toy_run}", f"--data={toy_data}", "--tasks=dept", words=["'dept'", "'depth'"])


def test_evaluation_without_data(fails, toy_run):
    fails("evaluate", f"--workdir={toy_run}", words=["--data"])


def test_size_of_three_numbers(fails, classifier_run, toy_data):
    argv = ("evaluate", f"--workdir={classifier_run}", f"--data={toy_data}", "--size=64,96,128")
    fails(*argv, words=["--size", "(64, 96, 128)", "height and width"])


def test_workdir_without_a_student(fails, tmp_path):
    for verb, *more in (("evaluate",), ("export", f"--out={tmp_path / 'out'}")):
        fails(verb, f"--workdir={tmp_path}", *more, words=[str(tmp_path)])


def test_folder_of_records_that_was_made_otherwise(fails, images, classifier_run, toy_run, tmp_path):
    shutil.copytree(images, tmp_path / "out")
    argv = ("label", f"--images={images}", f"--teachers=scene=student:{classifier_run}", f"--out={tmp_path / 'out'}")
    fails(*argv, words=[str(tmp_path / "out"), "other files"])


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("--seeds=0,x", ["--seeds", "'0,x'", "whole numbers"]),
        ("--steps=0", ["--steps", "'0'", "1 or more"]),
        ("--learning_rates=0.1,-1", ["--learning_rates", "'0.1,-1'"]),
        ("--learning_rates=0.1,0.2", ["validation"]),
        ("--reference=b", ["'b'", "['a']"]),
        ("--extend_sweep", ["--extend_sweep", "two or more of --learning_rates or --steps"]),
        ("--pretraining_seeds=x", ["--pretraining_seeds", "'x'", "whole numbers"]),
        ("--primary=depth", ["'depth'", "['mean', 'scene']"]),
        ("--budgets=/nowhere.json", ["/nowhere.json"]),
    ],
)
def test_sweep_that_is_none(fails, toy_data, tmp_path, option, words):
    path = Path(tmp_path, "c.py")
    path.write_text(CONFIG.replace("[toy.SCENE, toy.DEPTH]", "[toy.SCENE]"))
    where = (f"--config={path}:{toy_data}", f"--config.test={toy_data}", f"--workdir={tmp_path / 'run'}")
    fails("transfer", *where, "--init_from=a=", option, words=words)


@pytest.mark.parametrize(
    ("inits", "words"),
    [("mine", ["mine", "NAME=PATH"]), ("a=/nowhere", ["/nowhere"]), ("=x", ["NAME=PATH"]), ("a=,a=", ["'a='"])],
)
def test_inits_that_are_none(fails, toy_data, tmp_path, inits, words):
    path = Path(tmp_path, "c.py")
    path.write_text(CONFIG.replace("[toy.SCENE, toy.DEPTH]", "[toy.SCENE]"))
    where = (f"--config={path}:{toy_data}", f"--config.test={toy_data}", f"--workdir={tmp_path / 'run'}")
    fails("transfer", *where, f"--init_from={inits}", words=words)


@pytest.mark.parametrize("value", ["nan", "inf"])
@pytest.mark.parametrize("verb", ["demo", "rooms"])
def test_factor_that_is_no_finite_number(fails, tmp_path, verb, value):
    fails(verb, f"--scale={value}", f"--out={tmp_path / 'out'}", words=["--scale", value, "finite number"])
    assert not (tmp_path / "out").exists()


def test_split_that_is_none(fails, tmp_path):
    fails("rooms", "--splits=depht/train", f"--out={tmp_path}", words=["'depht/train'", "did you mean 'depth/train'"])


@pytest.mark.parametrize(
    ("argv", "flag"),
    [
        (["train", "--config=gs://b/x", "--workdir=runs"], "config"),
        (["finetune", "--config=s3://b/x", "--init_from=runs", "--workdir=runs"], "config"),
        (["report", "--text=s3://b/x", "--transfer=t.json"], "text"),
        (["label", "--images=x", "--merge=coco:s3://b/x", "--out=y"], "merge"),
        (["inspect", "data", "--audit_from=coco:s3://b/x"], "audit_from"),
        (["rooms", "--out=gs://b/x", "--splits=demo/train"], "out"),
        (["demo", "--out=memory://b/x"], "out"),
        (["init", "s3://b/x"], "images"),
    ],
)
def test_url_where_only_local_paths_go_is_refused_and_nothing_is_written(fails, tmp_path, monkeypatch, argv, flag):
    monkeypatch.chdir(tmp_path)
    fails(*argv, words=[f"--{flag}=", "://b/x", "is not a local path"])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("verb", ["train", "finetune", "transfer", "rounds"])
def test_the_argument_of_a_config_may_be_a_url(fails, verb):
    others = {"train": [], "rounds": ["--images=x", "--out=y"]}.get(verb, ["--init_from=a=x"])
    place = [] if verb == "rounds" else ["--workdir=y"]
    fails(verb, "--config=none.py:s3://b/x", *place, *others, words=["none.py: no such config"])


def test_license_may_be_a_url(fails, tmp_path):
    license = "--license=https://creativecommons.org/licenses/by/4.0/"
    fails("label", f"--images={tmp_path / 'none'}", "--out=y", license, words=[f"{tmp_path / 'none'}: "])


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (sqlite3.OperationalError("database or disk is full"), "is full; make room on the disk, also .*TMPDIR"),
        (MemoryError("Unable to allocate 9 GiB"), "9 GiB; no room on the disk or in memory"),
        (tf.errors.NotFoundError(None, None, "d/x.tfrecord; No such file or directory"), "^d/x.tfrecord; No such file"),
        (tf.errors.NotFoundError(None, None, "Op type not registered"), "^$"),
    ],
)
def test_what_a_user_can_mend_outside_of_the_program_is_one_line(error, words):
    assert re.search(words, app._mendable(error))


def test_command_that_does_not_join_lost_workers_again_says_what_to_do(fails, monkeypatch):
    from must_tf.training.strategy import LOST

    def lost(*_, **__):
        raise LOST[-1](None, None, "Collective ops is aborted by: Deadline Exceeded")

    monkeypatch.setenv("TF_CONFIG", "{}")  # set by a training of several workers, wherever it finds them
    monkeypatch.setattr("must_tf.verbs.finetune", lost, raising=False)
    argv = ("finetune", "--config=c.py", "--init_from=x", "--workdir=y")
    fails(*argv, words=["another worker was lost (Collective ops is aborted", "same command on all of them continues"])
    monkeypatch.delenv("TF_CONFIG")
    assert not app._mendable(LOST[-1](None, None, "of something else"))  # there is no other worker
