"""`must transfer` as a function: compares initializations on downstream tasks."""

import os
from collections.abc import Mapping, Sequence

from must_tf import evaluation
from must_tf.copies import fetched, mirrored
from must_tf.errors import UserError
from must_tf.evaluation import Budget, Sweep, TransferTable
from must_tf.evaluation.table import MEAN
from must_tf.parsing import as_items
from must_tf.records.shard_cache import DEFAULT_GB, limit
from must_tf.training import Experiment
from must_tf.verbs.training import as_experiment


def transfer(
    config: Experiment | str | os.PathLike | Sequence[Experiment | str | os.PathLike],
    init_from: Mapping[str, str | os.PathLike],
    workdir: str | os.PathLike,
    seeds: int | Sequence[int] = (0,),
    *,
    pretraining_seeds: int | Sequence[int] = (),
    learning_rates: float | Sequence[float] = (),
    steps: int | Sequence[int] = (),
    reference: str = "",
    primary: str = MEAN,
    extend_sweep: bool = False,
    budgets: Mapping[str, Budget] | None = None,
    scale: float = 1.0,
    settings_of: str | os.PathLike | None = None,
    out: str | os.PathLike = "",
    overrides: Mapping[str, str] | None = None,
    cache_gb: float = DEFAULT_GB,
    command: str = "",
) -> TransferTable:
    """Fine-tunes downstream tasks from several initializations with the same sweep, and compares their scores.

        must_tf.transfer("downstream.py", {"random": "", "mine": "exports/photos"}, "transfer", seeds=(0, 1, 2))

    Args:
      config: one experiment per task: each an `Experiment`, or `FILE.py:ARGUMENT`.
      init_from: {name: an export, a finished workdir, or a checkpoint of Model Garden}; empty is a random start.
      workdir: gets a JSON file per fine-tuning, and `transfer.json`.
      seeds: of the fine-tunings.
      pretraining_seeds: what `{seed}` in a path stands for.
      learning_rates: to try; by default the config's.
      steps: numbers of steps to try; by default the config's.
      reference: the initialization that the others are compared with; by default the first.
      primary: the primary endpoint: `mean`, or a task.
      extend_sweep: whether the sweep goes on beyond an edge that a chosen setting lies on.
      budgets: what it took to make the initializations.
      scale: factor on the number of steps of the configs.
      settings_of: workdir of an earlier transfer, whose chosen settings are used.
      out: JSON file for the table; by default `transfer.json` in the workdir.
      overrides: fields of all configs, {"optimizer.learning_rate": "0.3"}.
      cache_gb: GB on this disk for copies of the shards that lie in buckets.
      command: written into the table.

    Raises:
      UserError: what is asked for cannot be run; see `must_tf.evaluation.transfer`.
    """
    if settings_of and (learning_rates or steps or extend_sweep):
        sweeps = "--learning_rates, --steps or --extend_sweep"
        raise UserError(f"--settings_of: received with {sweeps}, which it replaces; give one of them")
    limit(cache_gb)
    with mirrored(workdir) as folder:
        return evaluation.transfer(
            [as_experiment(one, overrides, scale) for one in as_items(config)],
            {name: str(path) for name, path in init_from.items()},
            folder,
            as_items(seeds),
            Sweep(as_items(learning_rates), as_items(steps)),
            reference,
            command,
            fetched(settings_of) if settings_of else None,
            as_items(pretraining_seeds),
            primary,
            extend_sweep,
            budgets,
            out,
        )
