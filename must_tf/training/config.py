"""Experiments: typed configs in Python files, changed by `--config.FIELD=VALUE`, stored as JSON."""

import ast
import dataclasses
import difflib
import importlib
import inspect
import os
import runpy
import traceback
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from must_tf import former
from must_tf.errors import UserError, nearest, one_line
from must_tf.geometry import Size
from must_tf.parsing import FrozenDict, as_items, parse, read_json
from must_tf.pipeline.augment import Augment
from must_tf.pipeline.mixing import Mixing
from must_tf.ranges import check_range, check_ranges
from must_tf.storage import local
from must_tf.tasks import Task, from_json, to_json
from must_tf.trunk import Trunk


@dataclasses.dataclass(frozen=True)
class Optimizer:
    """How weights follow gradients.

    Attributes:
      name: `sgd`, `adamw` or `lars`.
      learning_rate: at its peak; from there it falls along a cosine to 0. With 0, weights stay as they are.
      warmup_steps: of a linear rise from 0.
      momentum: of SGD and LARS.
      nesterov: whether SGD's momentum is Nesterov's; Model Garden's recipes have plain momentum.
      weight_decay: of kernels. For SGD and LARS it is L2: the gradient gets weight_decay · kernel. For AdamW it is
        decoupled: a step takes away learning rate · weight_decay of the kernel.
      clip_norm: bound on the norm of all gradients together; 0 is none.
      ema: decay of the moving average of weights and batch norm statistics, which a finished run keeps (see
        `training.average`); 0 is none.
      accumulate: parts that a batch goes through the student in, one after another, to need less memory.
    """

    name: str = "sgd"
    learning_rate: float = 0.1
    warmup_steps: int = 0
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 1e-4
    clip_norm: float = 0.0
    ema: float = 0.0
    accumulate: int = 1

    ranges: ClassVar[Mapping[str, str]] = {
        "learning_rate": "[0, inf)",
        "warmup_steps": "[0, inf)",
        "momentum": "[0, 1)",
        "weight_decay": "[0, inf)",
        "clip_norm": "[0, inf)",
        "ema": "[0, 1)",
        "accumulate": "[1, inf)",
    }

    def __post_init__(self) -> None:
        check_ranges(self, self.ranges, "optimizer.")


@dataclasses.dataclass(frozen=True)
class Balance:
    """How the losses of several tasks are weighted (see `training.balance`).

    Attributes:
      rule: `fixed` takes `weights`; `paper` computes them from the teachers' recipes; `uncertainty` learns them.
      weights: by task; a task without one has 1 (or what the rule gives).
      recipes: by task, its teacher's (batch size, learning rate), for the rule `paper`.
    """

    rule: str = "fixed"
    weights: Mapping[str, float] = FrozenDict()
    recipes: Mapping[str, tuple[int, float]] = FrozenDict()

    ranges: ClassVar[Mapping[str, str]] = {"weights": "[0, inf)", "recipes": "(0, inf)"}

    def __post_init__(self) -> None:
        check_ranges(self, self.ranges, "balance.")


@dataclasses.dataclass(frozen=True)
class Combine:
    """How the gradients of several tasks meet in the trunk (see `training.combine`); each head gets its own.

    Attributes:
      rule: `sum`, `pcgrad` or `attittud`.
      target: the task that `attittud` helps.
      helping: of `attittud`, the weight of the part of another task's gradient that lowers the target's loss.
      hurting: the weight of the part that raises it.
      orthogonal: the weight of the part that the target's gradients say nothing of.
      rank: dimensions of the basis of the target's gradients; of a batch of n images without anything in common it
        holds about rank / n of the target's gradient (see `energy/TASK` in the log).
      refresh_every: steps between bases; a basis costs about as much as `2 / 3 · rank` steps.
    """

    rule: str = "sum"
    target: str = ""
    helping: float = 1.0
    hurting: float = 0.0
    orthogonal: float = 1.0
    rank: int = 20
    refresh_every: int = 10

    ranges: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(("helping", "hurting", "orthogonal"), "(-inf, inf)"),
        **dict.fromkeys(("rank", "refresh_every"), "[1, inf)"),
    }

    def __post_init__(self) -> None:
        check_ranges(self, self.ranges, "combine.")


@dataclasses.dataclass(frozen=True)
class Guard:
    """What a run does about losses and gradients that are not finite: such a step is never applied.

    Attributes:
      in_a_row: so many bad steps, one after another, take the run back to its last good checkpoint.
      rate_factor: on the learning rate, each time that the run goes back.
      rollbacks: so many times; then the run stops.
    """

    in_a_row: int = 10
    rate_factor: float = 0.5
    rollbacks: int = 3

    ranges: ClassVar[Mapping[str, str]] = {"in_a_row": "[1, inf)", "rate_factor": "(0, 1]", "rollbacks": "[0, inf)"}

    def __post_init__(self) -> None:
        check_ranges(self, self.ranges, "guard.")


@dataclasses.dataclass(frozen=True)
class Experiment:
    """All that decides a run.

    Attributes:
      tasks: the student's tasks.
      train: folders of records, or one folder.
      steps: how many.
      input_size: height and width of the views, multiples of 32.
      sizes: several sizes to train at, one per batch, drawn at random, each height and width or the side of a square;
        where empty, `input_size` alone.
      batch_size: images per step, on all devices together.
      trunk: the architecture.
      optimizer: how weights follow gradients.
      balance: how tasks are weighted.
      combine: how gradients of tasks meet in the trunk.
      mixing: how often each folder is drawn from; uniformly from their union where nothing is said.
      augment: how images are changed, see `pipeline.augment` and its fields `strong` and `mosaic`.
      validation: folder of records that the student is evaluated on in training, and that `must transfer` chooses
        settings on, where there is one.
      test: folder of records that `must transfer` reports on.
      evaluate_every: steps between evaluations, which also draw pictures for TensorBoard; without `validation` they
        draw images of training and measure nothing. 0 is none.
      best: `TASK/METRIC` of the validation by which the best student is kept in the workdir; its task declares which
        direction is better. Empty keeps none.
      init_from: an export, a finished workdir or a checkpoint of Model Garden whose trunk the run starts from; empty is
        a random start.
      keep_heads: whether the run also starts from the heads of the run `init_from`, of those tasks that both have.
      policy: `float32`, `mixed_bfloat16` or `mixed_float16`.
      seed: of weights, order and augmentation.
      strategy: `one` (device), `mirrored` (all of this machine), `multiworker` (see TF_CONFIG) or `tpu`.
      streams: independent streams of images that a batch is put together of; a multiple of the number of workers. The
        data depend on it, and not on the number of workers.
      jit_compile: compile the step with XLA.
      deterministic: make TensorFlow use deterministic operations only; on a CPU they are so without it.
      guard: what is done about losses that are not finite.
      conflicts_every: steps between measurements of how the gradients of tasks agree; 0 is none.
      log_every: steps between entries of metrics.jsonl.
      checkpoint_every: steps between checkpoints.
      keep_checkpoints: how many of them stay; with 0, none stays when the run is finished.
    """

    tasks: tuple[Task, ...]
    train: Sequence[str]
    steps: int
    input_size: tuple[int, int] = (224, 224)
    sizes: tuple[int | tuple[int, int], ...] = ()
    batch_size: int = 256
    trunk: Trunk = Trunk()
    optimizer: Optimizer = Optimizer()
    balance: Balance = Balance()
    combine: Combine = Combine()
    mixing: Mixing = Mixing()
    augment: Augment = Augment()
    validation: str = ""
    test: str = ""
    evaluate_every: int = 0
    best: str = ""
    init_from: str = ""
    keep_heads: bool = False
    policy: str = "float32"
    seed: int = 0
    strategy: str = "one"
    streams: int = 1
    jit_compile: bool = False
    deterministic: bool = False
    guard: Guard = Guard()
    conflicts_every: int = 0
    log_every: int = 50
    checkpoint_every: int = 500
    keep_checkpoints: int = 2

    ranges: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(("steps", "batch_size", "streams", "log_every", "checkpoint_every"), "[1, inf)"),
        **dict.fromkeys(("evaluate_every", "conflicts_every", "keep_checkpoints"), "[0, inf)"),
        "seed": f"[0, {2**32 - 1}]",
    }

    def __post_init__(self) -> None:
        check_ranges(self, self.ranges)
        object.__setattr__(self, "train", tuple(map(str, as_items(self.train))))

    @property
    def view_sizes(self) -> tuple[Size, ...]:
        """Height and width of all views that are trained on."""
        squares = ((size, size) if isinstance(size, int) else size for size in self.sizes)
        return tuple(squares) or (self.input_size,)


def load_config(where: str, overrides: Mapping[str, str] | None = None, scale: float = 1.0) -> Experiment:
    """Runs a config file and returns its experiment.

    Args:
      where: `FILE.py` or `FILE.py:ARGUMENT`; the file defines `get_config() -> Experiment` (or a subclass of it), or
        `get_config(argument)`. `rooms/student.py` is also found among the experiments that are installed.
      overrides: {"optimizer.learning_rate": "0.3", ...}; of these, {"runlocal": "true"} is no field: it is the same as
        `,runlocal` after the argument, which configs with such a trial know.
      scale: factor on the length of the run, before the overrides: `scaled`.
    """
    local(where, "config")  # the argument may be a URL
    path, _, argument = where.partition(":")
    overrides = dict(overrides or {})
    runlocal = overrides.pop("runlocal", "false")
    if runlocal.lower() not in ("true", "false"):
        raise UserError(f"--config.runlocal: {runlocal!r} received, expected true or false")
    if runlocal.lower() == "true":
        argument += ",runlocal"
    file = _find(path)
    module = _of_config(file, lambda: runpy.run_path(str(file)))
    if not callable(module.get("get_config")):
        raise UserError(f"{file}: defines no get_config(); expected a function that returns an Experiment")
    if argument and not inspect.signature(module["get_config"]).parameters:
        raise UserError(f"{file}: its get_config() takes no argument, {argument!r} received")
    experiment = _of_config(file, lambda: module["get_config"](*([argument] if argument else [])))
    if not isinstance(experiment, Experiment):
        raise UserError(f"{file}: get_config() returned {type(experiment).__name__}, expected an Experiment")
    experiment = from_dict(to_dict(experiment), file, type(experiment))  # what begins can be taken up again
    return changed(scaled(experiment, scale), overrides)


def _of_config(file: Path, run: Callable[[], Any]) -> Any:
    """Returns what code of a config returns; an error that it raises becomes a `UserError` with its line."""
    try:
        return run()
    except UserError:
        raise
    except SyntaxError as error:  # of the file itself, or of one that it imports
        raise UserError(f"{error.filename or file}: is no Python: {one_line(error)}") from None
    except Exception as error:
        frames = traceback.walk_tb(error.__traceback__)
        line = [number for frame, number in frames if frame.f_code.co_filename == str(file)][-1:]
        where = f"{file}: line {line[0]}" if line else f"{file}"
        raise UserError(f"{where}: {type(error).__name__}: {one_line(error)}") from error


def changed(experiment: Experiment, overrides: Mapping[str, str]) -> Experiment:
    """Returns an experiment with other values of fields, {"optimizer.learning_rate": "0.3"}."""
    for key, value in overrides.items():
        experiment = _override(experiment, key.split("."), value, f"--config.{key}")
    return experiment


def scaled(experiment: Experiment, scale: float) -> Experiment:
    """Returns an experiment with `scale` times the steps, ten at least, and a warm-up in proportion."""
    check_range("--scale", scale, "(0, inf)")
    return experiment if scale == 1.0 else with_steps(experiment, max(10, round(scale * experiment.steps)))


def with_steps(experiment: Experiment, steps: int) -> Experiment:
    """Returns an experiment with another number of steps, and a warm-up in proportion."""
    warmup = round(steps * experiment.optimizer.warmup_steps / experiment.steps)
    optimizer = dataclasses.replace(experiment.optimizer, warmup_steps=warmup)
    return dataclasses.replace(experiment, steps=steps, optimizer=optimizer)


def to_dict(experiment: Experiment) -> dict[str, Any]:
    """Returns an experiment as JSON values."""
    return dataclasses.asdict(experiment) | {"tasks": [to_json(task) for task in experiment.tasks]}


def from_dict(value: Any, where: str | os.PathLike = "config", kind: type[Experiment] = Experiment) -> Experiment:
    """The inverse of `to_dict`. What is missing, as in the config of an older version, has its default.

    Args:
      value: JSON values.
      where: what they are from, for messages.
      kind: the class of the experiment.

    Raises:
      UserError: an unknown field, or a value of another type; see `parse`.
    """
    value = former.config(value)
    if isinstance(value, Mapping) and "tasks" in value:
        tasks = [from_json(task, where) for task in parse(tuple, value["tasks"], where, "tasks")]
        value = {**value, "tasks": tasks}
    return parse(kind, value, where)


def read_config(path: str | os.PathLike, kind: type[Experiment] = Experiment) -> Experiment:
    """Reads a run's `config.json`; see `from_dict`."""
    return from_dict(read_json(path), path, kind)


def _find(path: str) -> Path:
    installed = importlib.import_module("must_tf.experiments").__path__[0]
    for candidate in (Path(path), Path(installed, path), Path(installed, path.removeprefix("experiments" + os.sep))):
        if candidate.is_file():
            return candidate
    own = [file for file in Path(path).parent.glob("*.py") if file.is_file() and os.access(file, os.R_OK)]
    files = {file.relative_to(installed).as_posix(): file for file in Path(installed).rglob("*.py")}
    files |= {file.as_posix(): file for file in own}
    known = sorted(name for name, file in files.items() if "def get_config(" in file.read_text(errors="replace"))
    closest = difflib.get_close_matches(path, known, len(known), cutoff=0)
    raise UserError(f"{path}: no such config; did you mean {closest[0]!r}? The nearest first: {', '.join(closest)}")


def _override(node: Any, keys: Sequence[str], text: str, flag: str) -> Any:
    """Returns `node` with the field at `keys` replaced by what the text of a flag says."""
    key, *rest = keys
    kinds = typing.get_type_hints(type(node))
    known = {field.name for field in dataclasses.fields(node)}
    if key not in known:
        raise UserError(f"{flag}: no field {key!r}; {nearest(key, known)}")
    value = getattr(node, key)
    if key == "tasks" and isinstance(node, Experiment):
        value = _override_task(value, rest, text, flag)
    elif not rest:
        value = _read(kinds[key], text, flag)
    elif isinstance(value, Mapping):
        value = FrozenDict({**value, ".".join(rest): _read(typing.get_args(kinds[key])[1], text, flag)})
    elif dataclasses.is_dataclass(value):
        value = _override(value, rest, text, flag)
    else:
        raise UserError(f"{flag}: {key!r} has no fields; give --config.{key}=VALUE")
    try:
        return dataclasses.replace(node, **{key: value})
    except UserError as error:  # out of its range, or it does not go with the others
        field, _, problem = str(error).partition(": ")
        raise UserError(f"{flag}: {problem if flag.endswith(f'.{field}') else error}") from None


def _override_task(tasks: tuple[Task, ...], keys: Sequence[str], text: str, flag: str) -> tuple[Task, ...]:
    known = {task.name: task for task in tasks}
    if not keys or keys[0] not in known:
        hint = nearest(keys[0], known) if keys else "give --config.tasks.NAME.FIELD=VALUE"
        raise UserError(f"{flag}: no task {'.'.join(keys)!r}; {hint}")
    if len(keys) == 1:
        raise UserError(f"{flag}: {text!r} received; give --config.tasks.{keys[0]}.FIELD=VALUE")
    changed = _override(known[keys[0]], keys[1:], text, flag)
    return tuple(changed if task is known[keys[0]] else task for task in tasks)


def _read(kind: Any, text: str, flag: str) -> Any:
    """Reads a value as Python writes it; texts need no quotes, and several of them have commas between."""
    if kind is str:
        return text
    if kind in (tuple[str, ...], Sequence[str]):
        return tuple(text.split(","))
    try:
        value = {"true": True, "false": False}[text.lower()] if kind is bool else ast.literal_eval(text)
    except (LookupError, ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        value = text
    return parse(kind, value, flag)
