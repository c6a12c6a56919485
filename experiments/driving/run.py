"""YOLOP's question on CamVid's frames: one student of vehicles, drivable area and lanes, against three single ones.

    python -m must_tf.experiments.driving.run --data=FOLDER --out=driving
    python -m must_tf.experiments.driving.run --data=FOLDER --out=driving --only=label

Three teachers that others trained label CamVid's frames: YOLOX-nano (vehicles), TwinLiteNet (drivable area, lanes) and
DeepLab (the scene in the classes of Cityscapes). Students are trained on its training split and label the test frames.
It writes OUT/results/scores.json. FOLDER is that of `photos`, with CamVid and the models. What is not there is named
and left out. The same command resumes a run that was killed.
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from absl import flags

from must_tf import storage
from must_tf.cli import app
from must_tf.cli.stages import Stage, run_stages
from must_tf.errors import UserError
from must_tf.experiments.settings import keep_settings
from must_tf.sources.bdd100k import VEHICLE_NAMES

FLAGS = flags.FlagValues()
_DATA = flags.DEFINE_string("data", None, "Folder with CamVid and the models.", flag_values=FLAGS)
_OUT = flags.DEFINE_string("out", "driving", "Folder of the run.", flag_values=FLAGS)
_PERCENT = flags.DEFINE_integer("percent", 100, "Share of the frames that is used.", 1, 100, flag_values=FLAGS)
_SCALE = flags.DEFINE_float("scale", 1.0, "Factor on the number of steps.", 1e-3, flag_values=FLAGS)
_SEEDS = flags.DEFINE_integer("seeds", 1, "Number of trainings of each student.", 1, flag_values=FLAGS)
_ONLY = flags.DEFINE_enum("only", None, ["label"], "Stop after this step.", flag_values=FLAGS)
_PROCESSES = flags.DEFINE_integer(
    "processes", None, "Stages to run in parallel; by default the number of cores.", 1, flag_values=FLAGS
)
flags.mark_flag_as_required("data", flag_values=FLAGS)

CAMVID = "camvid"
SCORES = "results/scores.json"
SETTINGS = "driving.json"
_MERGED = f"vehicles={{vehicle: [{', '.join(VEHICLE_NAMES)}]}}"
_ALL_BOXES = "--thresholds=vehicles.min_score=0.001,vehicles.doubtful_score=1"  # AP ranks all that a head gives


def run(argv: list[str]) -> None:
    """Runs the command."""
    app.run("python -m must_tf.experiments.driving.run", __doc__, FLAGS, main, argv)


def main() -> None:
    """Lays out frames and models, runs the stages, and writes and prints the scores."""
    from must_tf.experiments.driving import judging, models
    from must_tf.experiments.photos import datasets

    out = Path(_OUT.value)
    out.mkdir(parents=True, exist_ok=True)
    if not datasets.prepare(_DATA.value, out, (CAMVID,)):
        raise UserError(f"--data={_DATA.value}: has no {CAMVID}; get it from {datasets.DATASETS[CAMVID].where}")
    teachers = models.write_models(_DATA.value, out)
    if not teachers:
        raise UserError(f"--data={_DATA.value}: has the model of no teacher; get one of those named above")
    keep_settings(out / SETTINGS, {"percent": _PERCENT.value, "scale": _SCALE.value, "teachers": sorted(teachers)})
    stages = plan(teachers, _PERCENT.value, _SCALE.value, _SEEDS.value)
    if _ONLY.value == "label":
        stages = [stage for stage in stages if not stage.needs]
    run_stages(stages, out, _PROCESSES.value or os.cpu_count() or 1)
    scores = judging.judge(out)
    storage.write_json(out / SCORES, storage.without_nan(scores))
    print(judging.table(scores))
    print(f"{out / SCORES}: these and more scores as JSON")


def plan(teachers: Mapping[str, str], percent: int = 100, scale: float = 1.0, seeds: int = 1) -> list[Stage]:
    """Returns the stages for the teachers that are there: labels of each split, students, their labels of test frames.

    Args:
      teachers: {task: FORMAT:PATH}.
      percent: share of the frames.
      scale: factor on the numbers of steps.
      seeds: trainings of each student.
    """
    from must_tf.experiments.driving.student import RUNS
    from must_tf.experiments.photos.datasets import SPLITS
    from must_tf.experiments.plan import pretraining_stage

    if not teachers:
        return []
    stages = [_label_split(split, teachers, percent) for split in SPLITS]
    options = () if scale == 1 else (f"--scale={scale:g}",)
    needs = [f"label_{split}" for split in SPLITS]
    for seed in range(seeds):
        for name, one in RUNS.items():
            if all(task in teachers for task in one.tasks):
                stages.append(pretraining_stage("driving/student.py", name, seed, needs, options))
                stages.append(_score(f"{name}-{seed}", one.tasks, percent))
    return stages


def _label_split(split: str, teachers: Mapping[str, str], percent: int) -> Stage:
    from must_tf.experiments.driving.models import card_of

    cards = f"--cards={','.join(f'{task}={card_of(task)}' for task in teachers)}"
    classes = (f"--classes={_MERGED}",) if "vehicles" in teachers else ()
    return _label(f"label_{split}", split, f"data/labeled/{split}", teachers, percent, (cards, *classes))


def _score(run: str, tasks: tuple[str, ...], percent: int) -> Stage:
    """A student labels the test frames; nothing is trained on these labels."""
    options = (_ALL_BOXES,) if "vehicles" in tasks else ()
    students = dict.fromkeys(tasks, f"student:runs/{run}")
    return _label(f"score_{run}", "test", f"data/scored/{run}", students, percent, options, (run,))


def _label(
    name: str,
    split: str,
    out: str,
    teachers: Mapping[str, str],
    percent: int,
    options: tuple[str, ...],
    needs: tuple[str, ...] = (),
) -> Stage:
    images = f"masks:sources/{CAMVID}/{split}" + (f"[:{percent}%]" if percent < 100 else "")
    listed = ",".join(f"{task}={where}" for task, where in teachers.items())
    command = ("label", f"--images={images}", f"--tasks={CAMVID}", f"--teachers={listed}", f"--out={out}")
    return Stage(name, (*command, "--batch_size=8", "--allow_empty", *options), f"{out}/manifest.json", needs)


if __name__ == "__main__":
    run(sys.argv[1:])
