"""A film of a student's predictions: as many frames as were read, of one even size, with what the student says."""

import io

import numpy as np
import pytest
import toy
from PIL import Image

from must_tf.errors import UserError
from must_tf.experiments.driving import video
from must_tf.sources import open_source
from must_tf.student import Student
from must_tf.tasks import Detection, Segmentation, drawing
from must_tf.training import save_student

TASKS = (
    Detection("vehicles", ("vehicle",), anchor_size=2.0, num_convs=1, max_outputs=5),
    Segmentation("drivable", ("background", "drivable")),
    Segmentation("lanes", ("background", "lane")),
)


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "joint"
    save_student(Student(TASKS, toy.TRUNK), folder)
    (folder / "config.json").write_text('{"input_size": [32, 64]}')
    return folder


@pytest.fixture
def frames(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "frames").mkdir()
    for number in range(3):
        Image.fromarray(toy.random_image(rng, 36, 64)).save(tmp_path / "frames" / f"{number}.png")
    return tmp_path / "frames"


def test_masks_are_tinted_without_their_background_and_boxes_are_drawn():
    image = np.full((20, 40, 3), 100, np.uint8)
    drivable, lanes = np.zeros((2, 20, 40), int)
    drivable[10:], lanes[:, 5] = 1, 1
    nothing = {"boxes": np.zeros((0, 4)), "classes": np.zeros(0, int)}
    labels = {"vehicles": nothing, "drivable": drivable, "lanes": lanes}
    drawn = video.draw(image, labels, {task.name: task for task in TASKS})
    assert (drawn[:10, 6:] == 100).all() and (image == 100).all()
    road, lane = drawn[15, 20], drawn[2, 5]
    assert (road != 100).any() and (lane != 100).any() and (road != lane).any()
    one = {"boxes": np.array([[0.1, 0.5, 0.4, 0.9]]), "classes": np.array([0])}
    assert (video.draw(image, labels | {"vehicles": one}, {task.name: task for task in TASKS}) != drawn).any()


def test_masks_have_the_color_of_the_boxes_of_their_class_alone():
    image, everywhere = np.zeros((20, 20, 3), np.uint8), np.ones((20, 20), int)
    color = {}
    for name in ("vehicle", "road"):
        mask = Segmentation("mask", ("background", name))
        nothing = {"boxes": np.zeros((0, 4)), "classes": np.zeros(0, int)}
        drawn = video.draw(image, {"mask": everywhere, "vehicles": nothing}, {"mask": mask, "vehicles": TASKS[0]})
        color[name] = drawn[0, 0].astype(int)
    box = drawing.colors(1)[0] // 2
    assert np.abs(color["vehicle"] - box).max() <= 1 < np.abs(color["road"] - box).max()


@pytest.mark.parametrize("suffix", [".gif", ".mp4"])
def test_film_has_the_frames_and_the_size_that_were_asked_for(workdir, frames, tmp_path, suffix, capsys):
    (frames / "1b.png").write_bytes(b"no picture")
    out = tmp_path / f"seen{suffix}"
    if suffix == ".gif":
        assert video.film(workdir, str(frames), out, 10, 41) == 3
        with Image.open(out) as film:
            assert film.n_frames == 3 and film.size == (40, 22) and film.info["duration"] == 100
    else:
        av = pytest.importorskip("av")
        assert video.film(workdir, str(frames), out, 10, 41) == 3
        with av.open(str(out)) as film:
            shown = list(film.decode(video=0))
            assert len(shown) == 3 and (shown[0].width, shown[0].height) == (40, 22)
    assert "1 of 4 frames left out, the first" in capsys.readouterr().err


def test_frames_of_another_shape_and_empty_folders_are_refused(workdir, frames, tmp_path):
    Image.new("RGB", (64, 64)).save(frames / "9.png")
    with pytest.raises(UserError, match=r"9\.png: is 64 x 64 .*, the first frame 36 x 64"):
        video.film(workdir, str(frames), tmp_path / "seen.gif", 10, 64)
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "a.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match="has no frame that can be read"):
        video.film(workdir, str(tmp_path / "none"), tmp_path / "seen.gif", 10, 64)
    assert not (tmp_path / "seen.gif").exists()


def test_tasks_are_drawn_in_the_order_in_which_they_are_asked_for():
    tasks = {task.name: task for task in TASKS}
    assert [*video._chosen(tasks, ["lanes", "vehicles"])] == ["lanes", "vehicles"]
    assert video._chosen(tasks, None) == tasks
    with pytest.raises(UserError, match=r"--tasks=lane: the student has no such task; did you mean 'lanes'\?"):
        video._chosen(tasks, ["lane"])


def test_a_camera_that_stands_still_makes_the_film_no_shorter(frames, capsys):
    for name in ("1b", "1c"):
        (frames / f"{name}.png").write_bytes((frames / "1.png").read_bytes())
    (shard,) = open_source(str(frames)).shards
    read = [frame.encoded for frame in video._read(shard(), 5, str(frames))]
    assert read == [path.read_bytes() for path in sorted(frames.iterdir())]
    assert "left out" not in capsys.readouterr().err


def test_frames_whose_names_are_not_in_the_order_of_their_numbers_are_refused(frames):
    Image.new("RGB", (64, 36)).save(frames / "10.png")
    (shard,) = open_source(str(frames)).shards
    with pytest.raises(UserError, match=r"2\.png comes after .*10\.png.*; fill the numbers with zeros"):
        list(video._read(shard(), 4, str(frames)))


def test_fewer_colors_make_a_gif_smaller():
    image = Image.fromarray(toy.random_image(np.random.default_rng(0), 36, 64))
    few, many = (video._gif([image], 10, colors) for colors in (4, 256))
    assert len(Image.open(io.BytesIO(few)).convert("RGB").getcolors()) <= 4 and len(few) < len(many)
