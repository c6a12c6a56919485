"""`must init` as a function: looks at a folder of images, writes a config, and says which commands come next."""

import dataclasses
import importlib
import os
import re
import shlex
from pathlib import Path

from must_tf.errors import UserError
from must_tf.sources.survey import Labels, Survey, survey
from must_tf.storage import local, write_bytes

_TEMPLATE = "start.py"  # of the experiments
_PASSES, _LEAST, _MOST = 20, 500, 5000  # over the images, and bounds on the steps that they make
_BATCH = 8
_SIDES = (96, 128, 160, 192, 224)
_VALIDATION = 10  # share of the images that is held out, in percent
_TEACHERS = {"boxes": "hf:PekingU/rtdetr_r50vd", "depth": "hf:depth-anything/Depth-Anything-V2-Small-hf"}


@dataclasses.dataclass(frozen=True, repr=False)
class Start:
    """What was found in a folder, and how to go on; it prints itself as the command prints it.

    Attributes:
      found: what lies in the folder.
      config: the file that was written.
      commands: those that come next, in order.
    """

    found: Survey
    config: Path
    commands: list[str]

    def __repr__(self) -> str:
        lines = [*described(self.found), f"{self.config}: a config, with notes on what to choose"]
        return "\n".join([*lines, "", "Next:", *(f"  {command}" for command in self.commands)])


def init(images: str | os.PathLike, out: str | os.PathLike = "") -> Start:
    """Looks at a folder of images, and writes a config that is ready to train.

        must_tf.init("photos")

    Args:
      images: the folder; labels in it are found: folders of classes, COCO, YOLO, VOC, CSV, BDD100K, masks
        and maps.
      out: the config to write; by default NAME.py in the current folder, with the name of the folder.

    Raises:
      UserError: the folder has no image that can be read, or a name with a comma or a bracket; or `out` is there
        already.
    """
    for flag, path in (("images", images), ("out", out)):
        local(path, flag)
    if {*",[]"} & {*os.fspath(images)}:
        raise UserError(
            f"--images={images}: has a comma or a bracket, with which the commands to come name several sources and "
            "slices; give the folder another name"
        )
    found = survey(images)
    name = re.sub(r"\W+", "_", Path(images).resolve().name).strip("_") or "images"
    config = Path(out or f"{name}.py")
    if config.exists():
        raise UserError(f"{config}: is there already; edit it, or give another --out")
    commands = _commands(found, config, name)
    write_bytes(config, _config(found, name, commands).encode())
    return Start(found, config, commands)


def described(found: Survey) -> list[str]:
    """Returns what was found, one line each."""
    height, width = found.size
    lines = [f"{found.folder}: {found.count:,} images, of about {height} x {width} pixels (height x width, median)"]
    if found.unread:
        lines.append(f"  {found.unread} of those that were looked at cannot be read; `must label` will name them")
    for one in found.labels:
        classes = getattr(one.task, "class_names", ())
        said = f", {len(classes)} classes: {', '.join(classes[:5])}{', ...' * (len(classes) > 5)}" if classes else ""
        lines.append(f"  labels: {one.train}: {one.task.kind} of {one.count:,} images{said}")
        if one.train.startswith("classes:"):
            lines.append(f"    if its folders are no classes, label it with teachers instead: --images={found.folder}")
    if len({one.train for one in found.labels}) > 1:
        lines.append("  the first of them is used; label the others with another --out, and list both in `train`")
    lines += [f"  not read: {line}" for line in found.problems]
    if not found.labels:
        lines.append("  no labels: teachers make them, any models that you have (see `must label --help`)")
    return lines


def _commands(found: Survey, config: Path, name: str) -> list[str]:
    """Returns the commands from the images to an export."""
    data = f"data/{name}"
    train, validation = _sources(found)
    models = ",".join(f"{task}={where}" for task, where in _TEACHERS.items())
    teachers = [] if found.labels else [f"--teachers={models}"]
    first = [["label", f"--images={train}", *teachers, "--preview=16", f"--out={data}/train"]] if teachers else []
    rest = [
        ["label", f"--images={train}", *teachers, f"--out={data}/train"],
        ["label", f"--images={validation}", *teachers, f"--out={data}/validation"],
        ["inspect", f"{data}/train"],
        ["train", f"--config={config}", f"--workdir=runs/{name}"],
        ["evaluate", f"--workdir=runs/{name}"],
        ["export", f"--workdir=runs/{name}", "--formats=savedmodel,keras", f"--out=exports/{name}"],
    ]
    return [" ".join(["must", *map(_quoted, words)]) for words in first + rest]


def _quoted(word: str) -> str:
    """Returns a word for a shell, with the quotes around the value of a flag."""
    name, equals, value = word.partition("=")
    return f"{name}={shlex.quote(value)}" if equals else shlex.quote(word)


def _sources(found: Survey) -> tuple[str, str]:
    """Returns the names of the sources to train and to validate on: a split that is there, or a slice held out."""
    whole = found.labels[0].train if found.labels else found.folder
    if found.labels and found.labels[0].validation:
        return whole, found.labels[0].validation
    share = 100 - _VALIDATION
    return f"{whole}[:{share}%]", f"{whole}[{share}%:]"


def _config(found: Survey, name: str, commands: list[str]) -> str:
    """Returns the template with a docstring and values for this folder."""
    path = Path(importlib.import_module("must_tf.experiments").__path__[0], _TEMPLATE)
    _, _, code = path.read_text(encoding="utf-8").split('"""', 2)
    labels: list[Labels] = found.labels
    trained = labels[0].count if labels else found.count
    steps = min(max(_PASSES * trained // _BATCH, _LEAST), _MOST) // 100 * 100
    side = next((side for side in reversed(_SIDES) if side <= min(found.size)), _SIDES[0])
    for constant, value in (("DATA", f'"data/{name}"'), ("STEPS", steps), ("INPUT_SIZE", (side, side))):
        code = re.sub(rf"^{constant} = .*$", f"{constant} = {value}", code, count=1, flags=re.MULTILINE)
    shown = "\n".join(f"    {command}" for command in commands)
    about = "\n".join(line.strip() for line in described(found))
    text = f"Config of a student of {found.folder}, written by `must init`.\n\n{about}\n\n{shown}\n"
    quoted = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"""{quoted}"""{code}'
