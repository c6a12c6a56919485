"""The transfer protocol: one task, several initialisations, the same budget for each."""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from must_tf import files
from must_tf.errors import UserError
from must_tf.inference import evaluate
from must_tf.records import open_dataset
from must_tf.training import Experiment, Trainer, read_architecture

FILE = "transfer.json"


def transfer(
    experiment: Experiment, inits: Mapping[str, str], workdir: str | os.PathLike, seeds: Sequence[int] = (0,)
) -> dict[str, Any]:
    """Fine-tunes one task end to end from each initialisation, and scores it on the validation set.

    Args:
      experiment: with one task and a `validation` set; its trunk is replaced by that of the initialisations.
      inits: by name, an export or a finished workdir; an empty string is a random start.
      workdir: gets a run's folder for each initialisation and seed, and `transfer.json`.
      seeds: of weights, order and augmentation.

    Returns:
      {"name", "metric", "train_images", "test_images", "scores": {init: [a score a seed]}}.
    """
    if len(experiment.tasks) != 1 or not experiment.validation:
        raise UserError(f"transfer: one task and a validation set expected, {len(experiment.tasks)} tasks received")
    (task,), workdir = experiment.tasks, Path(workdir)
    trunks = [read_architecture(init).trunk for init in inits.values() if init]
    experiment = dataclasses.replace(experiment, trunk=(trunks or [experiment.trunk])[0])
    validation = open_dataset(experiment.validation)
    scores: dict[str, list[float]] = {name: [] for name in inits}
    trainer = None
    for seed in seeds:
        todo = [name for name in inits if not (_run(workdir, name, seed) / FILE).exists()]
        if todo:
            trainer = Trainer(dataclasses.replace(experiment, seed=seed))
        for name in inits:
            run = _run(workdir, name, seed)
            if name in todo and trainer:
                student = trainer.run(run, inits[name])
                files.write_json(run / FILE, evaluate(student, validation, experiment.input_size)[task.name])
            scores[name].append(files.read_json(run / FILE)[task.main_metric])
    result = {
        "name": task.name,
        "metric": task.main_metric,
        "train_images": sum(open_dataset(folder).manifest.count for folder in experiment.train),
        "test_images": validation.manifest.count,
        "scores": scores,
    }
    files.write_json(workdir / FILE, result)
    return result


def _run(workdir: Path, name: str, seed: int) -> Path:
    return workdir / f"{name}-{seed}"
