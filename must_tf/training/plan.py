"""Forecasts what a run takes before it starts: parameters, operations, memory and time; writes nothing."""

import dataclasses
import math
import time
from collections.abc import Iterator, Mapping, Sequence

import psutil
import tensorflow as tf
import tf_keras

from must_tf import garden
from must_tf.errors import UserError, nearest
from must_tf.pricing import GB, Usage, requests_to_list
from must_tf.records import read_manifest
from must_tf.records.manifest import FILE
from must_tf.storage import location
from must_tf.training.checks import check_devices, check_values
from must_tf.training.config import Experiment
from must_tf.training.cost import cost_of, make_step
from must_tf.training.step import Step

UTILIZATION = 0.3  # share of the peak that convolutions of ResNets commonly reach: an assumption

_USABLE = 0.9  # of an accelerator's memory; the rest is left to workspaces and fragments
_FLOAT32 = 4  # bytes


@dataclasses.dataclass(frozen=True)
class Accelerator:
    """A device.

    Attributes:
      teraflops: peak of dense matrix products in 10^12 operations/s, by policy; a policy that is not there is one that
        the device has no such unit for.
      memory: GiB.
    """

    teraflops: Mapping[str, float]
    memory: float


_V100 = {"float32": 15.7, "mixed_float16": 125.0}  # NVIDIA's data sheet of the V100, SXM2
_A100 = {"float32": 156.0, "mixed_bfloat16": 312.0, "mixed_float16": 312.0}  # of the A100, SXM; TensorFlow takes TF32
_H100 = {"float32": 494.7, "mixed_bfloat16": 989.4, "mixed_float16": 989.4}  # of the H100, SXM; as above; no sparsity

# One device of TensorFlow each; of a TPU v3, that is one core.
ACCELERATORS: dict[str, Accelerator] = {
    # cloud.google.com/tpu/docs/v3: 123 TFLOP/s and 32 GiB a chip of two cores. By default XLA rounds the factors of
    # float32 products to bfloat16.
    "tpu-v3": Accelerator({"float32": 61.5, "mixed_bfloat16": 61.5}, 16),
    "v100": Accelerator(_V100, 16),
    "v100-32gb": Accelerator(_V100, 32),
    "a100": Accelerator(_A100, 40),
    "a100-80gb": Accelerator(_A100, 80),
    "h100": Accelerator(_H100, 80),
}
CPU = "cpu"  # this machine, measured by a short probe


@dataclasses.dataclass(frozen=True)
class Row:
    """What the run takes on a number of accelerators.

    Attributes:
      accelerators: how many.
      images: of a batch on each; a fraction where there are fewer than accelerators.
      seconds: per step.
      hours: for the run.
      images_per_second: that all accelerators together read.
      memory: GiB on each of them.
      problem: why the run is impossible so, and the remedy; else empty. Where the batch cannot be divided, the figures
        are NaN.
    """

    accelerators: int
    images: float
    seconds: float = math.nan
    hours: float = math.nan
    images_per_second: float = math.nan
    memory: float = math.nan
    problem: str = ""


@dataclasses.dataclass(frozen=True)
class Forecast:
    """What a run will take; computed, not measured.

    Attributes:
      experiment: the run.
      accelerator: name of the device.
      device: the device.
      utilization: share of its peak that is assumed.
      parameters: trainable ones, of `trunk` and of each task's head.
      forward: operations of the forward pass of one image, two per multiply-add; the mean of several sizes.
      step: operations of one image in a step.
      activations: bytes of one image that the backward pass reads.
      weights: bytes of weights, their copies in another type, and what optimizer and combiner keep.
      gradients: bytes.
      data: shards, bytes and images of all folders together; None where one is not there.
      rows: one for each number of accelerators.
    """

    experiment: Experiment
    accelerator: str
    device: Accelerator
    utilization: float
    parameters: dict[str, int]
    forward: float
    step: float
    activations: int
    weights: int
    gradients: int
    data: tuple[int, int, int] | None
    rows: tuple[Row, ...]

    @property
    def epochs(self) -> float | None:
        """How often the run sees each image, where the records are there."""
        return self.experiment.steps * self.experiment.batch_size / self.data[2] if self.data else None

    def usage(self, row: Row, cache_gb: float) -> Usage:
        """Returns what a run takes whose records lie in a bucket.

        Each shard is read with two requests: once where all fit into the cache, else in each epoch. Checkpoints and
        logs are left out.

        Args:
          row: of these rows, one that is possible.
          cache_gb: for copies of the shards.

        Raises:
          UserError: the records are not there, so that nothing is known of them.
        """
        if self.data is None or self.epochs is None:
            raise UserError("train: records that are not there; their shards and bytes decide what reading them costs")
        shards, size, _ = self.data
        times = min(1.0, self.epochs) if size <= cache_gb * GB else self.epochs
        reads, lists = 2 * math.ceil(shards * times), requests_to_list(shards)
        return Usage(self.accelerator, row.accelerators * row.hours, size * times, 0, reads, lists)

    def __str__(self) -> str:
        """Returns a page of text."""
        return "\n".join(_lines(self))


def plan(
    experiment: Experiment,
    accelerators: Sequence[int] = (1,),
    accelerator: str = "tpu-v3",
    utilization: float = UTILIZATION,
) -> Forecast:
    """Computes what a run will take. Its records need not exist.

    Operations are those of convolutions and matrix products in the traced step, forward and backward; time is
    operations / (peak · utilization). Memory is weights, gradients, what the optimizer keeps, and each tensor of the
    forward pass that an operation of the backward pass reads, once, in its type: as TensorFlow keeps them, so that
    XLA, which computes some of them again, needs less. Reading, communication, evaluation and workspaces are left out.

    Args:
      experiment: all that decides the run; its `init_from` and `strategy` are not looked at.
      accelerators: numbers of devices, one row each.
      accelerator: one of `ACCELERATORS`, or `cpu`: this machine, measured for less than a second.
      utilization: share of the peak, in (0, 1].

    Raises:
      UserError: a bad config or argument, or a device that cannot compute in the config's policy.
    """
    check_values(experiment)
    if not accelerators or min(accelerators) < 1:
        raise UserError(f"accelerators: {list(accelerators)} received, expected numbers of 1 or more")
    if not 0 < utilization <= 1:
        raise UserError(f"utilization: {utilization} received, expected more than 0 and 1 at most")
    device = _device(accelerator, experiment.policy)
    step = make_step(experiment)
    costs = [cost_of(step, experiment.tasks, size) for size in experiment.view_sizes]
    forward = sum(cost.forward for cost in costs) / len(costs)
    operations = sum(cost.step for cost in costs) / len(costs)
    if experiment.conflicts_every and experiment.combine.rule == "sum":  # one backward pass per task, at most
        operations += (len(experiment.tasks) - 1) * (operations - forward) / experiment.conflicts_every
    forecast = Forecast(
        experiment,
        accelerator,
        device,
        utilization,
        {"trunk": _count(step.trunk)} | {name: _count(variables) for name, variables in step.heads.items()},
        forward,
        operations,
        max(cost.activations for cost in costs),
        _weights(step) + costs[0].copies,
        _gradients(step, experiment),
        _data(experiment),
        (),
    )
    return dataclasses.replace(forecast, rows=tuple(_row(forecast, count) for count in accelerators))


# The device


def _device(name: str, policy: str) -> Accelerator:
    if name == CPU:
        with garden.precision(policy):
            dtype = tf_keras.mixed_precision.global_policy().compute_dtype
        return Accelerator({policy: probe(dtype) / 1e12}, psutil.virtual_memory().total / 2**30)
    if name not in ACCELERATORS:
        raise UserError(f"accelerator: {name!r} is unknown; {nearest(name, [*ACCELERATORS, CPU])}")
    device = ACCELERATORS[name]
    if policy not in device.teraflops:
        raise UserError(
            f"accelerator: {name} does not compute in {policy}; take --config.policy={' or '.join(device.teraflops)}"
        )
    return device


def probe(dtype: str, device: str = "CPU", side: int = 1024, seconds: float = 0.3) -> float:
    """Returns the operations per second of products of square matrices on a device of this machine."""
    with tf.device(device):
        factor = tf.ones([side, side], dtype)

        def multiply() -> None:
            tf.linalg.matmul(factor, factor)[0, 0].numpy()  # waits for the device, and copies one number

        multiply()  # the first one is slow
        count, start = 0, time.perf_counter()
        while time.perf_counter() < start + seconds:
            multiply()
            count += 1
    return count * 2 * side**3 / (time.perf_counter() - start)


# The run


def _count(variables: Sequence[tf.Variable]) -> int:
    return sum(variable.shape.num_elements() for variable in variables)


def _weights(step: Step) -> int:
    """Returns the bytes of weights, and of what optimizer, average and combiner keep."""
    return _FLOAT32 * _count(
        [*step.student.variables, *step.optimizer.variables, *step.average.averages, *step.combiner.basis]
    )


def _gradients(step: Step, experiment: Experiment) -> int:
    """Returns the bytes of gradients; those of the trunk come once per task where rule or measurement compares them."""
    by_task = experiment.combine.rule != "sum" or experiment.conflicts_every > 0
    again = (len(experiment.tasks) - 1) * _count(step.trunk) if by_task else 0
    return _FLOAT32 * (_count(step.variables_in_order) + again)


def _data(experiment: Experiment) -> tuple[int, int, int] | None:
    if not all((location(folder) / FILE).exists() for folder in experiment.train):
        return None
    shards = [read_manifest(folder, whole=False).shards for folder in experiment.train]
    sums = [(len(own), int(own.bytes.sum()), int(own.counts.sum())) for own in shards]
    count, size, images = map(sum, zip(*sums, strict=True))
    if not images:
        raise UserError(f"{', '.join(map(str, experiment.train))}: no records to train on")
    return count, size, images


def _memory(forecast: Forecast, images: float, accumulate: int) -> float:
    """Returns GiB on an accelerator that has so many images of a batch, in so many parts.

    The gradients of a part are held beside the sums; `attittud` holds as many of the trunk as its basis has directions.
    """
    combine = forecast.experiment.combine
    gradients = forecast.gradients * (2 if accumulate > 1 else 1)
    passing = forecast.activations * images / accumulate
    if combine.rule == "attittud":
        passing += _FLOAT32 * forecast.parameters["trunk"] * combine.rank * (2 if accumulate > 1 else 1)
    return (forecast.weights + gradients + passing) / 2**30


def _row(forecast: Forecast, count: int) -> Row:
    experiment = forecast.experiment
    images = experiment.batch_size / count
    try:  # the devices of this machine do not matter here
        check_devices(dataclasses.replace(experiment, strategy="tpu"), count, workers=1)
    except UserError as error:
        return Row(count, images, problem=str(error))
    speed = 1e12 * forecast.device.teraflops[experiment.policy] * forecast.utilization
    seconds = _operations(forecast, count) * images / speed
    return Row(
        count,
        images,
        seconds,
        experiment.steps * seconds / 3600,
        experiment.batch_size / seconds,
        _memory(forecast, images, experiment.optimizer.accumulate),
        _problem(forecast, round(images)),
    )


def _operations(forecast: Forecast, count: int) -> float:
    """Returns the operations of one image in a step on so many accelerators.

    Where a head sees the target, a batch in several parts has another forward pass, see `passes`.
    """
    experiment = forecast.experiment
    divided = count * experiment.optimizer.accumulate > 1
    again = divided and any(task.head_sees_target for task in experiment.tasks)
    return forecast.step + (forecast.forward if again else 0)


def _problem(forecast: Forecast, images: int) -> str:
    """Returns what to do where memory is too small; nothing where it is not."""
    limit = _USABLE * forecast.device.memory
    accumulate = forecast.experiment.optimizer.accumulate
    if _memory(forecast, images, accumulate) <= limit:
        return ""
    for parts in range(accumulate + 1, images + 1):
        needed = _memory(forecast, images, parts)
        if images % parts == 0 and needed <= limit:
            return f"does not fit; optimizer.accumulate={parts} would, in {needed:.1f} GiB"
    return "does not fit, not even one image at a time; take a smaller input_size or trunk, or more memory"


# The page


def _lines(forecast: Forecast) -> Iterator[str]:
    experiment, device = forecast.experiment, forecast.device
    heads = ", ".join(f"{name} {n / 1e6:.2f}" for name, n in forecast.parameters.items() if name != "trunk")
    sizes = ", ".join(f"{height}x{width}" for height, width in experiment.view_sizes)
    images = experiment.steps * experiment.batch_size
    epochs = "" if forecast.epochs is None else f", {forecast.epochs:.1f} epochs"
    yield f"student     {experiment.trunk.backbone}: {sum(forecast.parameters.values()) / 1e6:.2f} million parameters"
    yield f"            trunk {forecast.parameters['trunk'] / 1e6:.2f}; heads: {heads}"
    yield f"image       {sizes}: {forecast.forward / 1e9:.2f} GFLOP forward, two per multiply-add"
    yield f"            a step takes {forecast.step / forecast.forward:.2f} times that{_origin(experiment)}"
    yield f"run         {experiment.steps:,} steps of {experiment.batch_size} = {images:,} images{epochs}"
    yield f"            {images * forecast.step:.3g} operations"
    yield (
        f"memory      {forecast.weights / 2**30:.2f} GiB of weights and optimizer on each accelerator, "
        f"{forecast.gradients / 2**30:.2f} of gradients"
    )
    yield f"            {forecast.activations / 2**30:.3g} GiB per image of activations that the backward pass reads"
    yield ""
    yield (
        f"Computed, not measured: {forecast.accelerator} at {forecast.utilization:.0%} (assumed) of its peak of "
        f"{device.teraflops[experiment.policy]:.3g} TFLOP/s."
    )
    yield "Reading, communication, evaluation and workspaces are left out; few images each are slower than this."
    yield f"A run fits where {1 - _USABLE:.0%} of the memory stays free."
    yield ""
    total = f"GiB of {device.memory:.0f}"
    yield f"accelerators  images each  s per step       hours  images/s  {total:>11}"
    for row in forecast.rows:
        line = f"{row.accelerators:12}  {row.images:11g}  "
        if not math.isnan(row.seconds):
            line += f"{row.seconds:10.3g}  {row.hours:10,.2f}  {row.images_per_second:8,.0f}  {row.memory:11.1f}  "
        yield (line + row.problem).rstrip()


def _origin(experiment: Experiment) -> str:
    if experiment.combine.rule == "sum":
        return ""
    return f": {len(experiment.tasks)} backward passes of the trunk, by combine.rule={experiment.combine.rule}"
