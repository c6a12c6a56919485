import functools
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
import toy
import yaml
from PIL import Image

import must_tf.labeling
from must_tf.cli import label
from must_tf.errors import UserError
from must_tf.labeling.runners import RUNNERS, Beam, Processes
from must_tf.records import open_dataset, read_manifest


@pytest.fixture
def must(run_verb):
    return functools.partial(run_verb, "label")


def test_plan_prints_an_estimate_and_writes_nothing(must, folder, tmp_path, toy_run):
    before = sorted(tmp_path.rglob("*"))
    code, out, err = must(f"--images={folder}", f"--teachers=depth=student:{toy_run}", "--batch_size=2", "--plan")
    assert code == 0 and not err and "5 images at" in out and "bytes per image" in out
    assert sorted(tmp_path.rglob("*")) == before


def test_plan_computes_costs_by_a_file_of_prices(must, folder, toy_run, tmp_path):
    prices = tmp_path / "prices.yaml"
    prices.write_text(
        "{currency: EUR, hour: {label: 0}, egress_gb: 0, reads_1000: 2, writes_1000: 4, storage_gb_month: 0}"
    )
    argv = (f"--images={folder}", f"--teachers=depth=student:{toy_run}", "--batch_size=2")
    code, out, err = must(*argv, "--plan", f"--prices={prices}", "--plan_count=3000000", "--images_per_shard=1000")
    assert code == 0 and not err and "3000000 images at" in out
    # 3,000 shards; each image is read with a request, and the note of each shard
    assert "3,003,000 requests that read, at 2 per 1,000: 6,006.00" in out
    # a shard and its note are written; 3,000,000 images and 3,000 shards are listed by the thousand
    assert "9,003 requests that write or list, at 4 per 1,000: 36.01" in out
    assert "in all 6,042.01 EUR" in out
    code, _, err = must(*argv, f"--out={tmp_path / 'out'}", f"--prices={prices}")
    assert code == 2 and len(err) == 1 and "--prices: received without --plan" in err[0]
    prices.write_text("{}")
    code, _, err = must(*argv, "--plan", f"--prices={prices}")
    assert code == 2 and len(err) == 1 and "prices.yaml: field 'currency' is missing" in err[0]


def test_plan_says_what_several_processes_take(must, folder, classifier_run):
    argv = (f"--images={folder}", f"--teachers=scene=student:{classifier_run}", "--plan")
    code, out, _ = must(*argv, "--processes=3")
    assert code == 0 and "of peak memory per process" in out
    assert "3 processes take 3 times the memory, and at best 1/3 of the time" in out
    assert "each worker of Beam" in must(*argv, "--runner=beam")[1]


def test_preview_writes_a_page_and_nothing_else(must, folder, tmp_path, toy_run):
    before = set(tmp_path.rglob("*"))
    argv = (f"--images={folder}", f"--teachers=depth=student:{toy_run}", f"--out={tmp_path / 'out'}/")
    code, out, err = must(*argv, "--preview=2")
    assert code == 0 and not err and f"{tmp_path / 'out'}.html: labels of 2 images" in out
    assert "depth (depth): 2 by toy.depth-" in out and "depth in meters: " in out
    assert set(tmp_path.rglob("*")) - before == {tmp_path / "out.html"}


@pytest.fixture(scope="module")
def classifier_file(tmp_path_factory):
    """A classifier of another library's, without a card."""
    inputs = tf_keras.Input((16, 24, 3), name="pixels")
    pooled = tf_keras.layers.GlobalAveragePooling2D()(inputs)
    model = tf_keras.Model(inputs, tf_keras.layers.Dense(3, "softmax", name="probs")(pooled))
    path = tmp_path_factory.mktemp("model") / "model.keras"
    model.save(path)
    return path


def test_model_is_described_with_the_draft_of_its_card(must, classifier_file):
    code, out, err = must(f"--describe=keras:{classifier_file}")
    assert code == 0 and not err
    assert "pixels: float32 [?, 16, 24, 3]" in out and "probs: float32 [?, 3]" in out
    drafted = yaml.safe_load(out)
    assert drafted["task"] == "classification" and "class_names" in drafted


def test_card_of_flags_alone_and_images_of_others(must, classifier_file, tmp_path):
    with tf.io.TFRecordWriter(str(tmp_path / "coco-0")) as writer:
        for seed in range(4):
            image = toy.png(toy.random_image(np.random.default_rng(seed), 20, 30))
            feature = {"image/encoded": tf.train.Feature(bytes_list=tf.train.BytesList(value=[image]))}
            writer.write(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())
    fields = {"task": "classification", "range": "[0, 1]", "activation": "probabilities", "class_names": "[a, b, c]"}
    flags = [f"--cards.scene.{name}={value}" for name, value in fields.items()]
    teacher = f"--teachers=scene=keras:{classifier_file}"
    code, _, err = must(f"--images=tfrecord:{tmp_path}/coco-*", teacher, f"--out={tmp_path / 'out'}", *flags)
    assert code == 0, err
    dataset = open_dataset(tmp_path / "out")
    assert [len(record.labels["scene"]) for record in dataset.records()] == [3] * 4
    (told,) = dataset.manifest.teachers.values()
    assert list(told["card"]["class_names"]) == ["a", "b", "c"] and told["format"] == "keras"


def test_ensemble_with_few_classes_and_mirror_images(must, classifier_file, folder, tmp_path):
    fields = {"task": "classification", "range": "[0, 1]", "activation": "probabilities", "class_names": "[a, b, c]"}
    flags = [f"--cards.scene.{name}={value}" for name, value in fields.items()]
    where = f"scene=keras:{classifier_file}"
    argv = (f"--images={folder}", f"--teachers={where},{where}", f"--out={tmp_path / 'out'}", *flags)
    code, out, err = must(*argv, "--classes=scene={x: [a, c]}", "--tta=flip", "--cards.scene.2.mean=[0.1, 0.1, 0.1]")
    assert code == 0, err
    assert "scene: 1 class of the model becomes no label: b\n" in out
    dataset = open_dataset(tmp_path / "out")
    (told,) = dataset.manifest.teachers.values()
    assert [member["card"].get("mean") for member in told["members"]] == [None, (0.1, 0.1, 0.1)]
    assert list(told["augmentation"]) == ["flip"] and list(told["task"]["class_names"]) == ["x"]
    code, _, err = must(*argv, "--classes=scene={x: [a, d]}")
    assert code == 2 and len(err) == 1 and "the model has no class 'd'" in err[0]


@pytest.mark.parametrize("mode", ["--plan", "--preview=2"])
def test_a_mistake_is_one_line_and_writes_nothing(mode, must, folder, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "model.onnx").touch()
    before = sorted(tmp_path.rglob("*"))
    out, teacher = f"--out={tmp_path / 'out'}", f"--teachers=depth=onnx:{tmp_path}/model.onnx"
    wrong = {
        "no such folder": (f"--images={tmp_path / 'none'}", teacher),
        "holds no image": (f"--images={tmp_path / 'empty'}", teacher),
        "did you mean 'onnx'": (f"--images={folder}", "--teachers=depth=onx:model.onnx"),
        "expected TASK=FORMAT:PATH": (f"--images={folder}", "--teachers=model.onnx"),
        "no card": (f"--images={folder}", f"--teachers=depth=onnx:{tmp_path}/model.onnx"),
        "--teachers: not given": (f"--images={folder}",),
    }
    for message, argv in wrong.items():
        code, printed, err = must(*argv, out, mode)
        assert code == 2 and len(err) == 1 and message in err[0] and not printed
    assert sorted(tmp_path.rglob("*")) == before


def test_preview_of_images_that_are_none_says_so(must, tmp_path, toy_run, folder):
    shutil.rmtree(folder)
    folder.mkdir()
    (folder / "a.jpg").write_text("no image")
    argv = (f"--images={folder}", f"--teachers=depth=student:{toy_run}", f"--out={tmp_path / 'out'}", "--preview=2")
    code, _, err = must(*argv)
    assert code == 2 and len(err) == 1 and "could be labeled" in err[0]


def test_plan_and_preview_go_one_at_a_time(must, folder, tmp_path, toy_run):
    argv = (f"--images={folder}", f"--teachers=depth=student:{toy_run}", f"--out={tmp_path / 'out'}")
    code, out, err = must(*argv, "--plan", "--preview=2")
    assert code == 2 and not out and "one at a time" in err[0]


def encoded(kind, **arguments):
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    Image.fromarray(noise).save(buffer, kind, **arguments)
    return buffer.getvalue()


def bad_images():
    """Files that Pillow, TensorFlow, libjpeg or libtiff have something to say of."""
    jpeg, png, lzw = encoded("JPEG", quality=95), encoded("PNG"), encoded("TIFF", compression="tiff_lzw")
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = encoded("JPEG", exif=exif)
    first = turned.index(b"Exif\0\0") + 6 + 8 + 2  # of the entries of the directory
    gif = bytearray(encoded("GIF"))
    frame = gif.index(b",", 13 + 3 * 2 ** ((gif[10] & 7) + 1)) + 5  # its width and height
    gif[frame : frame + 4] = (14_000).to_bytes(2, "little") * 2
    return {
        "cut.jpg": jpeg[: len(jpeg) // 2],
        "end.jpg": jpeg[:-2],
        "zeros.jpg": jpeg[:2000] + bytes(200) + jpeg[2200:],
        "extra.jpg": jpeg[:20] + bytes(4) + jpeg[20:],
        "exif.jpg": turned[: first - 2] + b"\x7f\x7f" + turned[first:],
        "cut.png": png[: len(png) // 2],
        "profile.png": encoded("PNG", icc_profile=b"rubbish"),
        "cut.tif": lzw[:-40],
        "zeros.tif": lzw[:300] + bytes(300) + lzw[600:],
        "frame.gif": bytes(gif),
        "text.jpg": b"no image",
        "empty.png": b"",
    }


def test_bad_images_are_told_in_the_manifest_and_not_on_standard_error(folder, tmp_path, toy_run):
    images = bad_images()
    for name, data in images.items():
        (folder / name).write_bytes(data)
    argv = (f"--images={folder}", f"--teachers=depth=student:{toy_run}", f"--out={tmp_path / 'out'}", "--max_bad=0.8")
    environment = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    command = [sys.executable, "-m", "must_tf.cli", "label", *argv]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    # Our progress; and what C itself writes: libjpeg as TensorFlow calls it, libtiff as Pillow does.
    known = re.compile(r"label \d+/17  |Corrupt JPEG data: |LZWDecode: ")
    assert [line for line in done.stderr.splitlines() if not known.match(line)] == []
    manifest = read_manifest(tmp_path / "out")
    quarantined = {Path(entry["name"]).name for entry in manifest.quarantined}
    assert quarantined >= {"cut.jpg", "end.jpg", "cut.png", "cut.tif", "text.jpg", "empty.png"}
    assert manifest.count + len(quarantined) == 5 + len(images)


# Flags that go to `label`


@pytest.fixture
def received(monkeypatch):
    """What `must label` gives to `label`, which stops there."""
    found = {}

    def stop(images, teachers, out, *sizes, **others):
        found.update(others, sizes=sizes)
        raise UserError("stopped")

    monkeypatch.setattr(must_tf.labeling, "label", stop)
    return found


def test_flags_choose_the_runner(must, received, classifier_run):
    argv = ("--images=x", "--out=y", f"--teachers=scene=student:{classifier_run}")
    must(*argv)
    assert received["runner"] is None and received["max_pixels"] == 178_956_970 and not received["allow_empty"]
    must(*argv, "--processes=3", "--max_pixels=99", "--allow_empty", "--batch_size=4", "--images_per_shard=7")
    runner = received["runner"]
    assert isinstance(runner, Processes) and (runner.processes, runner.num_gpus) == (3, 0)
    assert (received["max_pixels"], received["allow_empty"], received["sizes"]) == (99, True, (4, 7))
    must(*argv, "--runner=beam", "--beam_options=--runner=DirectRunner --direct_num_workers=2")
    runner = received["runner"]
    assert isinstance(runner, Beam)
    assert runner.pipeline_options == ["--runner=DirectRunner", "--direct_num_workers=2"]
    assert must_tf.cli.label.FLAGS["runner"].parser.enum_values == list(RUNNERS)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            ["--beam_options=--runner=FlinkRunner"],
            "--beam_options: received with --runner=local; give it with",
        ),
        (
            ["--runner=beam", "--processes=2"],
            "--processes: received with --runner=beam; give it with",
        ),
        (["--ray_address=h:1"], "--ray_address: received with --runner=local; give it with --runner=ray alone"),
        (["--runner=ray", "--ray_address=ray://h:1"], "--ray_address: 'ray://h:1' received, expected HOST:PORT"),
        (["--runner=beam", "--beam_options=--runner=FlinkRuner"], "--beam_options: Unexpected pipeline runner"),
        (["--out=ftp://bucket/x"], "ftp://bucket/x: is not a local path, nor one of s3://"),
        (["--out=ftp://bucket/x", "--preview=2"], "ftp://bucket/x: is not a local path"),
        (["--teachers=scene=studnt:x"], "did you mean 'student'"),
    ],
)
def test_flags_that_cannot_be_are_one_line_before_images_are_listed(
    must, monkeypatch, folder, tmp_path, classifier_run, options, words
):
    monkeypatch.setattr(must_tf.sources.opening, "open_images", None)
    argv = (f"--images={folder}", f"--teachers=scene=student:{classifier_run}", f"--out={tmp_path / 'out'}")
    code, out, err = must(*argv, *options)
    assert code == 2 and len(err) == 1 and words in err[0] and not out
    assert not (tmp_path / "out").exists()


def test_image_of_more_pixels_than_allowed_is_told(must, folder, tmp_path, classifier_run):
    argv = (f"--images={folder}", f"--teachers=scene=student:{classifier_run}", f"--out={tmp_path / 'out'}")
    code, out, _ = must(*argv, "--max_pixels=4000", "--max_bad=0.5")
    assert code == 0 and "0.png: 64x64 = 4096 pixels, more than the limit of 4000" in out


@pytest.mark.parametrize("options", [["--processes=2"], ["--runner=beam"]])
def test_runners_of_the_command_write_the_bytes_of_one_process(must, folder, tmp_path, classifier_run, options):
    argv = (
        f"--images={folder}",
        f"--teachers=scene=student:{classifier_run}",
        "--batch_size=2",
        "--images_per_shard=2",
    )
    assert must(*argv, f"--out={tmp_path / 'one'}")[0] == 0
    assert must(*argv, f"--out={tmp_path / 'other'}", *options)[0] == 0
    assert files(tmp_path / "one") == files(tmp_path / "other")


# Two commands at once, and a disk that is full


def files(folder):
    return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


_FLAGS = 4  # of a command, where they begin


def command(folder, out, run):
    argv = (f"--images={folder}", f"--teachers=scene=student:{run}", f"--out={out}", "--images_per_shard=2")
    return [sys.executable, "-m", "must_tf.cli", "label", "--batch_size=2", *argv]


def one_line(done):
    """Asserts that a command failed as it should; returns what it said."""
    lines = [line for line in done.stderr.splitlines() if not line.startswith("label ")]
    assert done.returncode == 2 and len(lines) == 1 and lines[0].startswith("must: error: "), done.stderr
    return lines[0]


def test_second_command_on_a_folder_is_turned_away(must, folder, tmp_path, classifier_run):
    argv = command(folder, tmp_path / "out", classifier_run)
    first = subprocess.Popen(argv, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    while not (tmp_path / "out" / ".plan.json").exists():
        assert first.poll() is None
        time.sleep(0.001)
    first.send_signal(signal.SIGSTOP)
    try:
        code, _, err = must(*argv[_FLAGS:])
        assert code == 2 and len(err) == 1 and "another run is at work" in err[0]
    finally:
        first.send_signal(signal.SIGCONT)
    assert first.wait() == 0 and read_manifest(tmp_path / "out").count == 5


@pytest.fixture
def small_disk(tmp_path):
    """A folder that has room for one shard of two images of noise."""
    place = tmp_path / "disk"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48k", "tmpfs", place], capture_output=True).returncode:
        pytest.skip("mounts are not allowed here")
    yield place
    subprocess.run(["umount", place], check=True)


def test_full_disk_is_one_line_and_the_same_command_goes_on(
    must, optimized, small_disk, folder, tmp_path, classifier_run
):
    for seed, path in enumerate(folder.iterdir()):
        path.write_bytes(toy.png(np.random.default_rng(seed).integers(0, 256, (64, 64, 3), np.uint8)))
    argv = command(folder, small_disk / "out", classifier_run)
    said = one_line(subprocess.run(argv, capture_output=True, text=True))
    assert "No space left" in said and "same command" in said
    left = {name for name in files(small_disk / "out") if not name.startswith(".")}
    assert left == {"labeled-train.tfrecord-00000-of-00003"}
    subprocess.run(["mount", "-o", "remount,size=9m", small_disk], check=True)
    for out in (small_disk, tmp_path / "whole"):  # in this process, whose bytes are those of the one before
        assert must(*command(folder, out / "out", classifier_run)[_FLAGS:])[0] == 0
    assert files(small_disk / "out") == files(tmp_path / "whole" / "out")


@pytest.mark.parametrize(
    ("texts", "names"),
    [([], {}), (["boxes"], {"boxes": ""}), (["boxes=coco_detection", "x=y"], {"boxes": "coco_detection", "x": "y"})],
)
def test_tasks_are_parsed(texts, names):
    assert label.parse_tasks(texts) == names


@pytest.mark.parametrize("texts", [["=x"], ["boxes="], [""], ["boxes=a", "boxes=b"]])
def test_wrong_tasks_are_refused(texts):
    with pytest.raises(UserError, match=r"--tasks: .* received, expected NAME=TASK"):
        label.parse_tasks(texts)


def test_corrected_boxes_come_back_under_the_teachers_task(must, tmp_path):
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (40, 20)).save(tmp_path / "photos/a.png")
    annotation = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [4, 2, 50, 4]}
    image = {"id": 1, "file_name": "a.png", "width": 40, "height": 20}
    content = {"images": [image], "annotations": [annotation], "categories": [{"id": 1, "name": "cat"}]}
    (tmp_path / "corrected.json").write_text(json.dumps(content))
    images = f"--images=coco:{tmp_path}/corrected.json"
    flags = (images, f"--root={tmp_path}/photos", "--tasks=boxes", f"--out={tmp_path}/out")
    code, said, _ = must(*flags)
    assert (
        code == 0
        and "boxes: 1 by human" in said
        and "warning: 1 image: a box that reaches beyond the image is clipped" in said
    )
    assert open_dataset(tmp_path / "out").manifest.source["tasks_of"] == {"boxes": ""}
