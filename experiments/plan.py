"""Stages that arms of a comparison have in common: a run of pre-training, and the protocol on one downstream task."""

from collections.abc import Mapping, Sequence

from must_tf.cli.stages import Stage
from must_tf.experiments.arms import SIMCLR


def pretraining_stage(config: str, name: str, seed: int, needs: Sequence[str], options: Sequence[str] = ()) -> Stage:
    """Returns the stage that trains a run; it leaves `runs/NAME-SEED/student`.

    Args:
      config: file of the configs, such as rooms/pretraining.py.
      name: of the run.
      seed: of the run.
      needs: stages that make what it reads.
      options: more of them.
    """
    options = (f"--config={config}:{name},{seed}", f"--workdir=runs/{name}-{seed}", *options)
    stage, product = f"{name}-{seed}", f"runs/{name}-{seed}/student"
    if name == SIMCLR:
        return Stage(stage, options, product, tuple(needs), "must_tf.experiments.simclr")
    return Stage(stage, ("train", *options), product, tuple(needs))


def transfer_stage(
    name: str,
    config: str,
    inits: Mapping[str, str],
    seeds: Sequence[int],
    rates: Sequence[float],
    steps: Sequence[int],
    needs: Sequence[str],
    workdir: str = "",
    options: Sequence[str] = (),
) -> Stage:
    """Returns the stage that fine-tunes one task from several initializations with the same sweep.

    Args:
      name: of the stage.
      config: of the task, such as rooms/finetuning.py:normals.
      inits: {name: path}, see `must transfer --init_from`.
      seeds: of the fine-tuning.
      rates: learning rates of the sweep.
      steps: numbers of steps of the sweep.
      needs: stages that make what it reads.
      workdir: folder of the cells, which several stages may share one after another; its own where empty.
      options: more of them.
    """
    table = f"tables/{name}.json" if workdir else f"{name}/transfer.json"
    command = (
        "transfer",
        f"--config={config}",
        f"--init_from={','.join(f'{init}={path}' for init, path in inits.items())}",
        f"--seeds={','.join(map(str, seeds))}",
        f"--learning_rates={','.join(f'{rate:g}' for rate in rates)}",
        f"--steps={','.join(map(str, steps))}",
        f"--workdir={workdir or name}",
        *((f"--out={table}",) if workdir else ()),
        *options,
    )
    return Stage(name.replace("/", "_"), command, table, tuple(needs))
