"""What a run costs, by a file of prices: hours of machines, bytes out of a bucket, requests to it, storage."""

import dataclasses
import math
import os
from collections.abc import Iterator, Mapping

from must_tf.errors import UserError, nearest
from must_tf.parsing import parse, read_yaml
from must_tf.storage import local

GB = 10**9
LABEL = "label"  # the machine that runs one process of `must label`, in `Prices.hour`
_SINGLE, _PART = 100 * 2**20, 50 * 2**20  # bytes that s3fs writes with one request, and of each part of a larger file


@dataclasses.dataclass(frozen=True)
class Prices:
    """Prices of a provider, in one currency. All of them are the user's: none has a default.

    Attributes:
      currency: for what is printed, such as USD.
      hour: of machines: of `label`, the machine of one process of `must label`; and of accelerators, by their names in
        `must train --accelerator`, each with its share of a machine.
      egress_gb: of 10^9 bytes that leave the bucket; 0 where machines and bucket are in one region.
      reads_1000: of 1000 requests that read (GET, HEAD).
      writes_1000: of 1000 requests that write or list (PUT, POST, LIST).
      storage_gb_month: of 10^9 bytes in the bucket for a month.
    """

    currency: str
    hour: Mapping[str, float]
    egress_gb: float
    reads_1000: float
    writes_1000: float
    storage_gb_month: float

    def __post_init__(self) -> None:
        for name, value in [*vars(self).items(), *((f"hour.{kind}", price) for kind, price in self.hour.items())]:
            if isinstance(value, int | float) and not 0 <= value < math.inf:
                raise ValueError(f"{name}: {value:g} received; expected a price of 0 or more")


@dataclasses.dataclass(frozen=True)
class Usage:
    """What a run uses.

    Attributes:
      kind: name of the machine in `Prices.hour`.
      hours: of all machines together.
      read_bytes: that are read from the bucket.
      stored_bytes: that the run leaves there.
      reads: requests that read.
      writes: requests that write or list.
    """

    kind: str
    hours: float
    read_bytes: float
    stored_bytes: float
    reads: int
    writes: int


def read_prices(path: str | os.PathLike) -> Prices:
    """Reads a file of prices, in YAML.

    Raises:
      UserError: no such file, a field that is missing or unknown, or a price that is no number of 0 or more.
    """
    return parse(Prices, read_yaml(local(path, "prices")), path)


def priced(path: str | os.PathLike, kind: str) -> Prices:
    """Reads a file of prices that has one for a kind of machine; see `read_prices`."""
    prices = read_prices(path)
    if kind not in prices.hour:
        raise UserError(f"{path}: hour: no price of {kind!r}; {nearest(kind, prices.hour)}")
    return prices


def bill(usage: Usage, prices: Prices) -> str:
    """Returns what a run costs, one line for each kind of price, and the sum."""
    return "\n".join(_lines(usage, prices))


def total(usage: Usage, prices: Prices) -> float:
    """Returns what a run costs, without the storage of its results, which goes on."""
    return sum(cost for _, cost in _items(usage, prices))


def requests_to_write(size: float) -> int:
    """Returns how many requests write a file of this size, as s3fs does it."""
    return 1 if size < _SINGLE else 2 + math.ceil(size / _PART)


def requests_to_list(names: int) -> int:
    """Returns how many requests list so many files."""
    return math.ceil(max(names, 1) / 1000)


def _items(usage: Usage, prices: Prices) -> Iterator[tuple[str, float]]:
    """Yields what is paid for once, in words, and its price."""
    hour, gigabytes = prices.hour[usage.kind], usage.read_bytes / GB
    yield f"{usage.hours:,.1f} hours of {usage.kind} at {hour:g}", usage.hours * hour
    yield f"{gigabytes:,.1f} GB read, at {prices.egress_gb:g} per GB", gigabytes * prices.egress_gb
    for number, what, price in (
        (usage.reads, "read", prices.reads_1000),
        (usage.writes, "write or list", prices.writes_1000),
    ):
        yield f"{number:,} requests that {what}, at {price:g} per 1,000", number / 1000 * price


def _lines(usage: Usage, prices: Prices) -> Iterator[str]:
    for words, cost in _items(usage, prices):
        yield f"  {words}: {cost:,.2f}"
    month = usage.stored_bytes / GB * prices.storage_gb_month
    yield f"  in all {total(usage, prices):,.2f} {prices.currency}"
    if usage.stored_bytes:
        yield f"  and each month {month:,.2f} for {usage.stored_bytes / GB:,.1f} GB stored"
