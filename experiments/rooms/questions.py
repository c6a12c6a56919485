"""Two questions on the demo's rooms, with three seeds each.

    python -m must_tf.experiments.rooms.questions --ask=weights --out=questions
    python -m must_tf.experiments.rooms.questions --ask=rounds --out=questions

`weights`: do the weights of `must weigh` make a better start for the task that they are for than equal ones? For each
seed, a student of a tenth of the steps is weighed for normals, and for masks of parts. Students with these weights are
compared with students of equal weights, by fine-tuning that task.

`rounds`: does a second round of self-training help? For each seed, `must rounds` makes three students, the later two
with stronger augmentation (`noisy.py`). All are fine-tuned on the six downstream tasks; the second round is compared
with the first one. Beside them, a student learns from the labels of the first round just as its teacher has learned
(`alike`); it is compared with that teacher.

Rooms, teachers and their labels are the demo's, made once. Each verdict is a paired t-test over the three seeds, in
OUT/tables. The same command continues a killed one.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from must_tf.cli import app, demo_stages
from must_tf.cli.demo_stages import DOWNSTREAM
from must_tf.cli.stages import Stage, run_stages
from must_tf.errors import UserError
from must_tf.parsing import read_json
from must_tf.storage import write_json

FLAGS = flags.FlagValues()
_ASK = flags.DEFINE_enum("ask", "weights", ("weights", "rounds"), "The question.", flag_values=FLAGS)
_OUT = flags.DEFINE_string("out", "questions", "Folder of all stages.", flag_values=FLAGS)
_SCALE = flags.DEFINE_float("scale", 1.0, "Factor on images and steps.", 1e-3, flag_values=FLAGS)
_PROCESSES = flags.DEFINE_integer("processes", os.cpu_count(), "Stages at once.", 1, flag_values=FLAGS)

SEEDS = (0, 1, 2)
TARGETS = ("normals", "segmentation_b")
ROUNDS = 2
_SETTINGS = "questions.json"
_SHORT = 0.1  # of the steps, of the student that is weighed


def plan(ask: str, scale: float = 1.0) -> list[Stage]:
    """Returns the stages that answer a question: those of the demo's data and teachers first."""
    made = [stage for stage in demo_stages.plan(scale) if stage.name.startswith(("rooms_", "teacher_", "label_"))]
    return made + (_weights(scale) if ask == "weights" else _rounds(scale))


def _weights(scale: float) -> list[Stage]:
    stages = []
    for seed in SEEDS:
        stages += [_train(f"short-{seed}", "", _SHORT * scale, seed), _train(f"equal-{seed}", "", scale, seed)]
        for target in TARGETS:
            product = f"weights/{target}-{seed}.json"
            options = (f"--workdir=runs/short-{seed}", f"--target=data/rooms/downstream_{target}/train")
            command = ("weigh", *options, f"--seed={seed}", "--batches=64", f"--out={product}")
            needs = (f"short-{seed}", "rooms_downstream_train")
            stages.append(Stage(f"weigh_{target}-{seed}", command, product, needs))
            stages.append(_train(f"{target}-{seed}", product, scale, seed, stages[-1].name))
    arms = {target: {"equal": "runs/equal-{seed}", "weighed": f"runs/{target}-{{seed}}"} for target in TARGETS}
    return stages + [_transfer(f"weights_{target}", [target], arms[target], scale, stages) for target in TARGETS]


def _rounds(scale: float) -> list[Stage]:
    held_out = "data/rooms/detection/test"
    options = ("--splits=classification/test,detection/test", f"--scale={scale:g}", f"--size={demo_stages.SIZE}")
    stages = [Stage("rooms_held_out", ("rooms", *options, "--processes=1"), f"{held_out}/manifest.json")]
    for seed in SEEDS:
        command = (
            *("rounds", "--config=rooms/student.py", "--student=rooms/noisy.py", f"--rounds={ROUNDS}"),
            "--images=data/labeled/classification,data/labeled/unlabeled",
            f"--out=rounds-{seed}",
            "--tta=flip",
            *(f"--scale={scale:g}", f"--config.seed={seed}"),
            *(f"--config.validation={held_out}", "--config.test=data/rooms/classification/test"),
            *(["--allow_empty"] if scale < 1 else []),
        )
        needs = ("rooms_held_out", "label_classification", "label_unlabeled")
        stages.append(Stage(f"rounds-{seed}", command, f"rounds-{seed}/rounds.json", needs))
    arms = {f"round{number}": f"rounds-{{seed}}/round-{number}" for number in range(ROUNDS + 1)}
    rounds = _transfer("rounds", DOWNSTREAM, arms, scale, stages, f"--reference=round{ROUNDS - 1}")
    alike = []
    for seed in SEEDS:
        options = (f"--config.train=rounds-{seed}/labels-1", f"--scale={scale:g}", f"--config.seed={seed}")
        command = ("train", "--config=rooms/student.py", f"--workdir=runs/alike-{seed}", *options)
        alike.append(Stage(f"alike-{seed}", command, f"runs/alike-{seed}/student", (f"rounds-{seed}",)))
    arms = {"round0": arms["round0"], "alike": "runs/alike-{seed}"}
    return [*stages, rounds, *alike, _transfer("alike", DOWNSTREAM, arms, scale, [*stages, *alike])]


def _train(name: str, weights: str, scale: float, seed: int, *needs: str) -> Stage:
    """A student with weights from a file, or with equal ones."""
    config = f"rooms/weighed.py:{weights}" if weights else "rooms/weighed.py"
    options = (f"--config={config}", f"--workdir=runs/{name}", f"--scale={scale:g}", f"--config.seed={seed}")
    return Stage(name, ("train", *options), f"runs/{name}/student", ("label_classification", "label_unlabeled", *needs))


def _transfer(
    name: str, tasks: Sequence[str], arms: dict[str, str], scale: float, stages: Sequence[Stage], *options: str
) -> Stage:
    """The protocol on some tasks, after all other stages."""
    command = (
        *("transfer", *(f"--config=rooms/downstream.py:{task}" for task in tasks)),
        f"--init_from={','.join(f'{arm}={path}' for arm, path in arms.items())}",
        *(f"--seeds={','.join(map(str, SEEDS))}", f"--scale={scale:g}", f"--workdir=transfer/{name}"),
        *(f"--out=tables/{name}.json", *options),
    )
    needs = ("rooms_downstream_train", "rooms_downstream_test", *(stage.name for stage in stages))
    return Stage(f"transfer_{name}", command, f"tables/{name}.json", needs)


def run(argv: list[str]) -> None:
    """Runs the command."""
    app.run("python -m must_tf.experiments.rooms.questions", __doc__, FLAGS, main, argv)


def main() -> None:
    """Runs the stages, and prints the tables."""
    from must_tf.evaluation.table import read_table
    from must_tf.report import transfer_table

    out, stages, settings = Path(_OUT.value), plan(_ASK.value, _SCALE.value), {"scale": _SCALE.value}
    before = read_json(out / _SETTINGS) if (out / _SETTINGS).exists() else settings
    if before != settings:
        raise UserError(f"{out}: holds stages of {before}, now {settings}; give another --out")
    write_json(out / _SETTINGS, settings)
    run_stages(stages, out, _PROCESSES.value)
    for stage in stages:
        if stage.command[0] == "transfer":
            print(transfer_table(read_table(out / stage.product)))


if __name__ == "__main__":
    run(sys.argv[1:])
