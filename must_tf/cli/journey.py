"""Says where somebody is on the way from images to an export: what the current folder holds, and what comes next."""

import dataclasses
import os
import re
import shlex
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from must_tf.errors import UserError
from must_tf.parsing import read_object

_DEPTH = 3  # folders below the current one that are looked into
_SHOWN = 8  # of each kind
_SKIPPED = ("logs", "checkpoints", "tensorboard", "node_modules", "venv")


@dataclasses.dataclass(frozen=True)
class Found:
    """One thing that a command wrote.

    Attributes:
      kind: `config`, `records`, `run` or `export`.
      place: its folder, or of a config its file.
      words: what is known of it.
      done: whether it is finished.
      commands: of a config, those that its docstring lists.
    """

    kind: str
    place: str
    words: str
    done: bool = True
    commands: tuple[str, ...] = ()


def lines(folder: Path) -> list[str]:
    """Returns what there is and which command comes next, one line each."""
    found = sorted([*_look(folder), *_configs(folder)], key=lambda one: (one.kind, one.place))
    shown = [f"{one.place}: {one.words}" for one in found if one.kind == "config"]
    for kind, heading in (("records", "Records"), ("run", "Runs"), ("export", "Exports")):
        own = [one for one in found if one.kind == kind]
        shown += [f"{heading}:"] * bool(own) + [f"  {one.place}: {one.words}" for one in own[:_SHOWN]]
        shown += [f"  and {len(own) - _SHOWN} more"] * (len(own) > _SHOWN)
    return [*(shown or ["Nothing is here yet: no records, no run, no export."]), "", f"Next: {_next(found, folder)}"]


def _next(found: list[Found], folder: Path) -> str:
    by_kind = {kind: [one for one in found if one.kind == kind] for kind in ("config", "records", "run", "export")}
    for run in by_kind["run"]:
        if not run.done:
            return f"must train --workdir={shlex.quote(run.place)}    # goes on with it"
    if by_kind["run"] and not by_kind["export"]:
        run = by_kind["run"][0]
        return f"must export --workdir={shlex.quote(run.place)} --out=exports/{shlex.quote(Path(run.place).name)}"
    if by_kind["export"]:
        last = by_kind["export"][-1].place
        command = shlex.join(["must", "finetune", "--config=mine.py", f"--init_from={last}", "--workdir=runs/mine"])
        return f"{command}    # or load it in Keras"
    labeled = {one.place for one in by_kind["records"]}
    for one in by_kind["config"]:
        if to_label := _to_label(one.commands, folder, labeled):
            return to_label
    if by_kind["records"]:
        place = Path(by_kind["records"][0].place)
        data = place.parent if place.name in ("train", "validation") else place
        name = data.name
        config = f"{name}.py" if (folder / f"{name}.py").is_file() else f"start.py:{data}"
        return shlex.join(["must", "train", f"--config={config}", f"--workdir=runs/{name}"])
    return "must init FOLDER    # a folder of images; or `must demo`, which needs none"


def _to_label(commands: Sequence[str], folder: Path, labeled: Collection[str]) -> str | None:
    """Returns the first of a config's commands that has yet to label; None if all have, or if others labeled instead.

    Args:
      commands: of the config.
      folder: where they run.
      labeled: folders of records in it.
    """
    outs = {command: _out(command) for command in commands if command.startswith("must label ")}
    if labeled and not {*outs.values()} & {*labeled}:
        return None
    for command, out in outs.items():
        is_seen = " --preview=" in command and (folder / f"{out}.html").is_file()
        if not (is_seen or out in labeled):
            return command
    return None


def _out(command: str) -> str:
    """Returns the value of a command's `--out`, which may stand in quotes; nothing where it has none."""
    flag = re.search(r" --out=('[^']*'|\S+)", command)
    return flag[1].strip("'") if flag else ""


def _configs(folder: Path) -> Iterator[Found]:
    """Yields the configs that `must init` wrote into a folder; their docstring has the commands."""
    for path in folder.glob("*.py"):
        if path.is_file() and os.access(path, os.R_OK):
            first, *rest = path.read_text(errors="replace").splitlines() or [""]
            lines = [line.strip() for line in rest if line.startswith("    must ")]
            commands = tuple(line.replace('\\"', '"').replace("\\\\", "\\") for line in lines)
            if "written by `must init`" in first and commands:
                words = "a config of `must init`; it lists all commands"
                yield Found("config", path.name, words, commands=commands)


def _look(folder: Path) -> Iterator[Found]:
    """Yields what is in a folder, down to a few levels; what is inside of a thing that was found is not looked at."""
    pending = [(folder, 0)]
    while pending:
        place, depth = pending.pop()
        found = _found(place, str(place.relative_to(folder)))
        if found:
            yield found
            continue
        if depth < _DEPTH:
            pending += [(one, depth + 1) for one in _folders(place)]


def _folders(place: Path) -> list[Path]:
    try:
        with os.scandir(place) as entries:
            inside = [Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:  # no permission, or removed meanwhile
        return []
    return [path for path in inside if not path.name.startswith(".") and path.name not in _SKIPPED]


def _found(place: Path, name: str) -> Found | None:
    """Returns what a folder is, by its files; those that cannot be read are said to be damaged."""
    readers = {"manifest.json": _records, "card.json": _export, "config.json": _run}
    for file, read in readers.items():
        if os.access(place / file, os.F_OK):  # no error where there is no permission to look
            try:
                return read(place, name, read_object(place / file))
            except (UserError, TypeError, ValueError, AttributeError, LookupError):
                return Found("records", name, f"{file} cannot be read")
    return None


def _records(place: Path, name: str, manifest: dict[str, Any]) -> Found | None:
    if not {"schema", "shards"} <= set(manifest):
        return None
    counts = {task: sum(origins.values()) for task, origins in manifest.get("counts", {}).items()}
    labels = ", ".join(f"{task} {count:,}" for task, count in counts.items())
    return Found("records", name, f"{manifest.get('count', 0):,} images; labels: {labels or 'none'}")


def _export(place: Path, name: str, card: dict[str, Any]) -> Found | None:
    return Found("export", name, ", ".join(card["formats"])) if "formats" in card else None


def _run(place: Path, name: str, config: dict[str, Any]) -> Found | None:
    if not {"steps", "tasks"} <= set(config):
        return None
    if not all(isinstance(task, dict) and "name" in task for task in config["tasks"]):
        return None  # another program's
    tasks = ", ".join(task["name"] for task in config["tasks"])
    if (place / "student").is_dir():
        return Found("run", name, f"finished at step {config['steps']:,}: {tasks}")
    steps = [int(one.name.removeprefix("step-")) for one in place.glob("checkpoints/step-*")]
    return Found("run", name, f"step {max(steps, default=0):,} of {config['steps']:,}: {tasks}", done=False)
