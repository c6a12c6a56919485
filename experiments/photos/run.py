"""MuST on real photographs with real teachers.

    python -m must_tf.experiments.photos.run --data=FOLDER --out=photographs
    python -m must_tf.experiments.photos.run --out=photographs

With --data, a folder of public datasets and models (see `datasets` and `models`), it is the paper's comparison.
Teachers label the shared photographs, arms are pre-trained on them, and each is fine-tuned on the downstream tasks that
are there. It writes the tables into OUT/results, and OUT/report.html. See `replication` for its stages.

Without --data, photographs and models come from package registries. Teachers of depth and normals are trained on
rendered rooms, all teachers label the photographs and are evaluated where labels are known, and a student is trained.
It writes OUT/measured.json and OUT/report.html.

The same command resumes a run that was killed.
"""

import os
import sys
from pathlib import Path

from absl import flags

from must_tf import storage
from must_tf.cli import app
from must_tf.cli.stages import Stage, run_stages
from must_tf.errors import UserError, nearest
from must_tf.experiments.photos import packages
from must_tf.experiments.photos.fetch import cache_folder, fetch_all
from must_tf.experiments.settings import keep_settings

FLAGS = flags.FlagValues()
_OUT = flags.DEFINE_string("out", "photographs", "Folder of the run.", flag_values=FLAGS)
_DATA = flags.DEFINE_string(
    "data", "", "Folder of the public datasets and models; without it, photographs of packages.", flag_values=FLAGS
)
_UNTIL = flags.DEFINE_string(
    "until", "", "With --data: the last group of arms, see `replication`; all by default.", flag_values=FLAGS
)
_SCALE = flags.DEFINE_float("scale", 1.0, "Factor on the number of images and steps.", 1e-3, flag_values=FLAGS)
_ONLY = flags.DEFINE_enum(
    "only",
    None,
    ["fetch", "prepare"],
    "Stop after this step: `fetch` downloads the packages into the cache, `prepare` also unpacks them.",
    flag_values=FLAGS,
)
_PACKAGES = flags.DEFINE_list("packages", None, "Packages to use; all by default.", flag_values=FLAGS)
_PROCESSES = flags.DEFINE_integer(
    "processes", None, "Stages to run in parallel; by default the number of cores.", 1, flag_values=FLAGS
)

_LICENSE = "; ".join(f"{p.name}: {p.license}" for p in packages.PACKAGES if p.gives.startswith("photographs"))
_ROOMS = {"depth": 1.0, "normals": 4.0}  # factors on the sizes of the rooms' splits: 1200 and 1000 images
_MIN_TEACHER_SCALE = 0.1  # with fewer steps, the depths of a teacher are not finite
_STUDENT = 4.0  # factor on the steps of photos/student.py


def run(argv: list[str]) -> None:
    """Runs the command."""
    app.run("python -m must_tf.experiments.photos.run", __doc__, FLAGS, main, argv)


def main() -> None:
    """Runs the experiment on the public datasets, or on the photographs of packages."""
    of_packages = _ONLY.value or _PACKAGES.value is not None
    if _DATA.value and of_packages:
        raise UserError("--only, --packages: are for photographs of packages; leave them out, or leave --data out")
    if _UNTIL.value and not _DATA.value:
        raise UserError(f"--until={_UNTIL.value}: needs --data, whose arms are in groups")
    if _DATA.value:
        _on_datasets(Path(_DATA.value), Path(_OUT.value))
    else:
        _on_packages()


def _on_datasets(data: Path, out: Path) -> None:
    """Lays out datasets and models, runs the stages, and prints the scores of the teachers and the tables' files."""
    from must_tf.experiments.photos import datasets, measure, models, replication, tables
    from must_tf.report import report

    out.mkdir(parents=True, exist_ok=True)
    found = datasets.prepare(data, out)
    teachers = models.write_models(data, out)
    shared = datasets.draw_parts(out, _SCALE.value) if "shared" in found else {}
    images = sum(map(len, shared.values()))
    settings = {"data": str(data.absolute()), "scale": _SCALE.value, "teachers": sorted(teachers), "images": images}
    keep_settings(out / replication.SETTINGS, settings)
    if shared:
        datasets.write_parts(out, shared)
        found += datasets.link_classes(out)
    if lacking := replication.not_run(found, teachers):
        print(f"photos: without the arms {', '.join(lacking)}: a dataset or a teacher is missing", flush=True)
    stages = replication.plan(found, teachers, _UNTIL.value, _SCALE.value)
    run_stages(stages, out, _PROCESSES.value or os.cpu_count() or 1)
    tables.collect(out, out / "results")
    if made := tables.make(out / "results"):
        report(out / "report.html", transfer=[path.parent for path in made[:1]], title="MuST on photographs")
        print(f"{out / 'report.html'}: {len(made)} tables")
    if (out / "results" / tables.JUDGED).exists():
        print(measure.table(storage.read_json(out / "results" / tables.JUDGED)))


def _on_packages() -> None:
    """Fetches and unpacks the packages, runs the stages, and prints the results."""
    wanted = _wanted(_PACKAGES.value)
    cache = cache_folder()
    fetched = fetch_all(wanted, cache)
    print(f"photos: {len(fetched)} of {len(wanted)} packages in {cache}", flush=True)
    if _ONLY.value == "fetch":
        return
    out = Path(_OUT.value)
    out.mkdir(parents=True, exist_ok=True)
    tasks = _prepare(fetched, out)
    print(f"photos: models for {', '.join(tasks) or 'no task'}", flush=True)
    if _ONLY.value == "prepare":
        return
    run_stages(plan(out, tasks, _SCALE.value), out, _PROCESSES.value or os.cpu_count() or 1)
    _print_results(out)


def plan(out: Path, tasks: tuple[str, ...], scale: float) -> list[Stage]:
    """Returns the stages of the run.

    Args:
      out: folder of the run, after `prepare`.
      tasks: tasks with a model from a package; for depth and normals, teachers are trained.
      scale: factor on the number of images and steps.
    """
    from must_tf.experiments.photos.prepare import MODELS

    where = {task: MODELS[task] for task in tasks} | {task: f"student:runs/teacher_{task}" for task in _ROOMS}
    stages = []
    for task in _ROOMS:
        stages += _teacher(task, scale)
    for task in where:
        if (out / "truth" / task).is_dir():
            stages.append(_label(f"truth/{task}", f"truth/{task}", {task: where[task]}))
    stages.append(_label("labeled", "photos", where, (f"--license={_LICENSE}",)))
    inspect = ("inspect", "--data=data/labeled")
    stages.append(Stage("inspect", inspect, "data/labeled/report.html", ("label_labeled",)))
    train = ("train", "--config=photos/student.py:data/labeled", "--workdir=runs/student")
    stages.append(
        Stage("student", (*train, f"--scale={_STUDENT * scale:g}"), "runs/student/student", ("label_labeled",))
    )
    workdirs = ",".join(f"runs/{name}" for name in ("teacher_depth", "teacher_normals", "student"))
    report = ("report", "--datasets=data/labeled", f"--workdirs={workdirs}", "--student=runs/student")
    command = (*report, "--title=MuST on photographs", "--out=report.html")
    stages.append(Stage("report", command, "report.html", ("student", "teacher_normals", "teacher_depth")))
    return stages


def _wanted(names: list[str] | None) -> list[packages.Package]:
    known = {package.name: package for package in packages.PACKAGES}
    for name in names or ():
        if name not in known:
            raise UserError(f"--packages: unknown package {name!r}; {nearest(name, known)}")
    return [known[name] for name in names or known]


def _prepare(fetched: dict[str, Path], out: Path) -> tuple[str, ...]:
    """Unpacks the packages; raises a `UserError` for a folder of another run, or if there is no photograph."""
    from must_tf.experiments.photos.prepare import prepare
    from must_tf.experiments.photos.replication import SETTINGS

    keep_settings(out / SETTINGS, {"scale": _SCALE.value, "packages": sorted(fetched)})

    tasks = prepare(fetched, out, _SCALE.value)
    if not (out / "photos").is_dir():
        raise UserError(f"{out}: no package with photographs could be fetched; see the lines above")
    return tasks


def _teacher(task: str, scale: float) -> list[Stage]:
    """Returns stages that render rooms, train a teacher on them, and evaluate it on others."""
    from must_tf.experiments.photos.teacher import ROOMS

    options = ("--size=96", "--out=data/rooms", "--processes=1")
    stages = []
    for part, factor in (("train", _ROOMS[task]), ("test", 0.5)):
        split = f"{ROOMS[task]}/{part}"
        command = ("rooms", f"--splits={split}", f"--scale={factor * scale:g}", *options)
        stages.append(Stage(f"rooms_{task}_{part}", command, f"data/rooms/{split}/manifest.json"))
    workdir = f"runs/teacher_{task}"
    train = (
        "train",
        f"--config=photos/teacher.py:{task}",
        f"--workdir={workdir}",
        f"--scale={max(scale, _MIN_TEACHER_SCALE):g}",
    )
    stages.append(Stage(f"teacher_{task}", train, f"{workdir}/student", (f"rooms_{task}_train",)))
    evaluate = ("evaluate", f"--workdir={workdir}")
    needs = (f"teacher_{task}", f"rooms_{task}_test")
    return [*stages, Stage(f"evaluate_{task}", evaluate, f"{workdir}/evaluation.json", needs)]


def _label(name: str, images: str, teachers: dict[str, str], more: tuple[str, ...] = ()) -> Stage:
    """Returns the stage that labels images with models, whose cards lie beside them, and with trained teachers."""
    listed = ",".join(f"{task}={where}" for task, where in teachers.items())
    command = ("label", f"--images={images}", f"--teachers={listed}", f"--out=data/{name}", "--batch_size=8", *more)
    needs = tuple(f"teacher_{task}" for task, where in teachers.items() if where.startswith("student:"))
    return Stage(f"label_{name.replace('/', '_')}", command, f"data/{name}/manifest.json", needs)


def _print_results(out: Path) -> None:
    """Evaluates the teachers, writes `measured.json`, and prints the results and where they are."""
    from must_tf.experiments.photos.measure import measure, table
    from must_tf.records import read_manifest

    figures = measure(out)
    manifest = read_manifest(out / "data" / "labeled")
    command = f"python -m must_tf.experiments.photos.run --scale={_SCALE.value:g}"
    storage.write_json(out / "measured.json", {"command": command, "photographs": manifest.count, "measured": figures})
    print(f"photos: {manifest.count} photographs labeled, {len(manifest.quarantined)} quarantined")
    print(table(figures))
    print(f"{out / 'measured.json'}: the same as JSON")
    print(f"{out / 'data' / 'labeled' / 'report.html'}, {out / 'report.html'}: the pages")


if __name__ == "__main__":
    run(sys.argv[1:])
