"""What all runs of an experiment share: devices, data, and a student with its training step."""

import functools
import json
from collections.abc import Iterator

import tensorflow as tf

from must_tf.errors import UserError
from must_tf.pipeline import batch_ids, training_batches
from must_tf.records import Dataset, open_dataset
from must_tf.runtime.installed import installed_code
from must_tf.student import Student
from must_tf.training.assembly import assemble, make_student, seed_process
from must_tf.training.checkpoints import variables_in
from must_tf.training.checks import as_stored, check_devices, check_labels, check_values, fingerprints
from must_tf.training.config import Experiment, from_dict, to_dict
from must_tf.training.initial import read_start
from must_tf.training.step import Batch
from must_tf.training.strategy import check_same, distribute, make_strategy, together, worker_of


class Prepared:
    """A student with its optimizer and its traced step, and the data that it trains on.

    Attributes:
      experiment: the config.
      strategy: the devices.
      worker: number of this worker; worker 0 writes the run's files.
      workers: how many there are.
      datasets: that it trains on.
      validation: the dataset that it is evaluated on, or None.
      student: what is trained; on several devices, with variables on each.
      on_one_device: the student itself, or a copy of it that `single` updates.
      step: the training step.
      rate_factor: float32 [], on the learning rate.
      state: all that a run changes, by key in checkpoints.
    """

    def __init__(self, experiment: Experiment):
        if type(experiment) is not Experiment:
            raise UserError(f"config: returned a {type(experiment).__name__}, which its own command trains")
        experiment = from_dict(to_dict(experiment))  # as it is read back: whole numbers become floats
        check_values(experiment)
        self.experiment = experiment
        self.strategy = make_strategy(experiment.strategy)  # before any operation: workers meet at the start
        self.worker, self.workers = worker_of(self.strategy)
        if self.workers > 1:  # before variables are made, by all of them together
            check_same(self.strategy, "code", f"{installed_code()}, TensorFlow {tf.__version__}")
            for name, value in as_stored(experiment).items():
                check_same(self.strategy, f"config.{name}", json.dumps(value, sort_keys=True))
        replicas = self.strategy.num_replicas_in_sync
        together(self.strategy, lambda: check_devices(experiment, replicas, self.workers))
        self.datasets, self.validation = together(self.strategy, self._opened_data)
        if self.workers > 1:
            check_same(self.strategy, "records", f"{self.data}")
        seed_process(experiment)
        with self.strategy.scope():
            assembly = assemble(experiment)
        self.student, self.step, self.rate_factor = assembly.student, assembly.step, assembly.rate_factor
        self.state = assembly.state
        self._initial = [variable.numpy() for variable in variables_in(self.state)]
        self.on_one_device = self.student if self.strategy.num_replicas_in_sync == 1 else make_student(experiment)

    def _opened_data(self) -> tuple[list[Dataset], Dataset | None]:
        experiment = self.experiment
        datasets = [open_dataset(folder) for folder in experiment.train]
        validation = open_dataset(experiment.validation) if experiment.validation else None
        check_labels(experiment.tasks, datasets, validation, experiment.best)
        return datasets, validation

    def reset(self, init_from: str) -> None:
        """Goes back to the start: weights of the seed, or of `init_from`, and all other state as it was at first."""
        for variable, value in zip(variables_in(self.state), self._initial, strict=True):
            variable.assign(value)
        if not init_from:
            return
        # To load is an operation of all workers, and none begins it before each has read the same.
        start = together(self.strategy, lambda: read_start(self.student, init_from, self.experiment.keep_heads))
        if self.workers > 1:
            check_same(self.strategy, f"weights in {init_from}", f"SHA-256 {start.digest()}")
        start.take()
        self.step.average.reset()

    @functools.cached_property
    def data(self) -> dict[str, str]:
        """What the records are, see `checks.fingerprints`."""
        return fingerprints([*self.datasets, *([self.validation] if self.validation else [])])

    def batches(self, start: int) -> Iterator[Batch]:
        """Yields this worker's batches from a step on, each as the step takes it."""
        experiment = self.experiment
        own = experiment.streams // self.workers
        dataset = training_batches(
            self.datasets,
            experiment.tasks,
            experiment.view_sizes,
            experiment.batch_size,
            experiment.seed,
            experiment.augment,
            start=start,
            mixing=experiment.mixing,
            streams=experiment.streams,
            worker_streams=range(own * self.worker, own * (self.worker + 1)),
        )
        return (distribute(self.strategy, batch) for batch in dataset)

    def ids(self, step: int) -> list[str]:
        """Returns the ids of the images of a step's batch."""
        experiment = self.experiment
        return batch_ids(
            self.datasets,
            experiment.batch_size,
            experiment.seed,
            step - 1,
            experiment.mixing,
            experiment.streams,
            experiment.augment,
        )

    def single(self) -> Student:
        """Returns the student as it is now, on one device."""
        if self.on_one_device is not self.student:
            for own, variable in zip(self.on_one_device.variables, self.student.variables, strict=True):
                own.assign(variable.read_value())
        return self.on_one_device
