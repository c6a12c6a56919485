"""Reads datasets of Hugging Face: parquet files and folders of `save_to_disk`, with the labels that their columns have.

It needs pyarrow. The library `datasets` is not needed, and nothing is downloaded or copied.
"""

import dataclasses
import functools
import glob
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from must_tf.errors import UserError, one_line
from must_tf.parsing import load_object, read_object, short
from must_tf.records import Quarantined, Record
from must_tf.records.schema import is_inside
from must_tf.sources.decoding import Look, decode, in_order, to_record
from must_tf.sources.hf_columns import Column, find_columns
from must_tf.sources.images import printable, read_image
from must_tf.sources.layout import add_labels
from must_tf.sources.source import Entry, Source, fingerprint, without_copies

_EXPECTED = (
    "expected hfdata:FILE.parquet, hfdata:FOLDER/SPLIT with SPLIT-*.parquet in FOLDER or FOLDER/data, or a folder of "
    "save_to_disk (of a split of it, if it has several)"
)
_IMAGES = re.compile(r"(struct<(.*, )?bytes: )?(large_)?binary")  # types of columns of images, as pyarrow writes them
_ARROW, _PARQUET = ".arrow", ".parquet"
_ROWS = 16  # that are read at once


@dataclasses.dataclass(frozen=True)
class Part:
    """Rows of one file: `count` of them, from `start` on."""

    path: str
    start: int
    count: int


def open_hfdata(spec: str, images_per_shard: int, max_pixels: int) -> Source:
    """Opens a dataset, divided into shards.

    The image is the column `image` or `img`, or the only column of images. Labels are read where columns say their
    classes, see `hf_columns.find_columns`; their tasks have the names of the columns.

    Raises:
      UserError: pyarrow is not installed; there is no such dataset; it has no column of images.
    """
    where = f"hfdata:{printable(spec)}"
    try:
        import pyarrow as arrow
    except ImportError:
        raise UserError(f"{where}: needs pyarrow; pip install 'must_tf[hfdata]'") from None
    files = _files(spec, where)
    try:
        counts = {path: sum(rows for rows, _ in _batches(path)) for path in files}
        features = _features(files[0], where)
        if odd := next((path for path in files[1:] if _features(path, where) != features), None):
            raise UserError(f"{where}: {odd} has other columns or classes than {files[0]}; give files of one dataset")
        image, columns, warnings = find_columns(where, features, Path(files[0]).parent, files, values)
    except (arrow.ArrowException, OSError, ValueError) as error:
        raise UserError(f"{where}: cannot be read: {one_line(error)}; write it again with `datasets`") from None
    parts = [
        Part(path, start, min(images_per_shard, count - start))
        for path, count in counts.items()
        for start in range(0, count, images_per_shard)
    ]
    if not parts:
        raise UserError(f"{where}: has no row; {_EXPECTED}")
    read = functools.partial(read_rows, image=image, columns=columns, max_pixels=max_pixels)
    listing = fingerprint(f"{path} {Path(path).stat().st_size}".encode() for path in files)
    shards = tuple(functools.partial(read, part) for part in parts)
    tasks = tuple(column.task for column in columns)
    return Source(sum(counts.values()), listing, tasks, {}, shards, warnings=warnings)


def read_rows(
    part: Part, image: str, columns: Sequence[Column], max_pixels: int, look: Look = decode
) -> Iterator[Entry]:
    """Yields rows as records with human labels; without labels, copies of an image are quarantined.

    Args:
      part: the rows.
      image: name of the column of images.
      columns: of the labels.
      max_pixels: see `to_record`.
      look: see `to_record`.
    """
    wanted = [image, *(name for column in columns for name in column.needed)]

    def entry(found: tuple[int, Mapping[str, Any]]) -> Entry:
        number, row = found
        made = _image(row[image], Path(part.path), number, max_pixels, look)
        return add_labels(made, columns, row) if isinstance(made, Record) else made

    entries = in_order(entry, _rows(part, wanted))
    return entries if columns else without_copies(entries)


def values(path: str, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yields some columns of all rows of a file."""
    whole = Part(path, 0, sum(rows for rows, _ in _batches(path)))
    return (row for _, row in _rows(whole, columns))


def _image(cell: Any, file: Path, number: int, max_pixels: int, look: Look) -> Entry:
    """Returns the record of a cell, `{bytes, path}` or bytes, or why there is none."""
    name = f"{printable(file)}: row {number}"
    cell = cell if isinstance(cell, dict) else {"bytes": cell}
    path = cell.get("path") or ""
    if cell.get("bytes"):
        made = to_record(f"{name} ({path})" if path else name, cell["bytes"], max_pixels, look)
    elif path:
        made = dataclasses.replace(read_image(file.parent / path, max_pixels, look), name=f"{name} ({path})")
    else:
        return Quarantined(name, "has no image")
    if isinstance(made, Record) and is_inside(path):
        made.filename = Path(path).as_posix()
    return made


def _rows(part: Part, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yields number and values of each row; a few rows are held."""
    end, first = part.start + part.count, 0
    for count, read in _batches(part.path):
        if first < end and first + count > part.start:
            number = first
            for row in read(columns):
                if part.start <= number < end:
                    yield number, row
                number += 1
        first += count


def _batches(path: str) -> Iterator[tuple[int, Any]]:
    """Yields, for each batch of a file, how many rows it has, and a function that yields columns of its rows."""
    import pyarrow as arrow
    from pyarrow import parquet

    def rows_of(batch: Any, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
        for start in range(0, batch.num_rows, _ROWS):
            yield from batch.select(list(columns)).slice(start, _ROWS).to_pylist()

    if path.endswith(_ARROW):
        with arrow.memory_map(path) as source:
            for batch in arrow.ipc.open_stream(source):
                yield batch.num_rows, functools.partial(rows_of, batch)
        return
    with parquet.ParquetFile(path) as file:

        def rows_in(group: int, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
            for batch in file.iter_batches(_ROWS, row_groups=[group], columns=list(columns)):
                yield from batch.to_pylist()

        for group in range(file.num_row_groups):
            yield file.metadata.row_group(group).num_rows, functools.partial(rows_in, group)


def _schema(path: str) -> Any:
    import pyarrow as arrow
    from pyarrow import parquet

    if not path.endswith(_ARROW):
        return parquet.read_schema(path)
    with arrow.memory_map(path) as source:
        return arrow.ipc.open_stream(source).schema


def _features(path: str, where: str) -> dict[str, Any]:
    """Returns the features of the columns as `datasets` describes them: in the schema, or in dataset_info.json."""
    schema = _schema(path)
    beside = Path(path).with_name("dataset_info.json")
    told = (schema.metadata or {}).get(b"huggingface")
    if told:
        info = load_object(told.decode("utf-8", "replace"), where).get("info")
    else:
        info = read_object(beside) if beside.is_file() else {}
    features = info.get("features") if isinstance(info, dict) else info
    if not isinstance(features or {}, dict):
        raise UserError(f"{where}: features: {short(features)} received; expected names with values")
    features = features or {}
    return {field.name: features.get(field.name) or _plain(str(field.type)) for field in schema}


def _plain(kind: str) -> dict[str, str]:
    """Returns the feature of a column that nothing describes, by its type."""
    return {"_type": "Image"} if _IMAGES.match(kind) else {"_type": "Value", "dtype": kind}


def _files(spec: str, where: str) -> list[str]:
    """Returns the files of a dataset or of a split, in order."""
    path = Path(spec)
    if path.is_file():
        return [spec]
    if (path / "dataset_dict.json").is_file():
        splits = sorted(one.name for one in path.iterdir() if one.is_dir())
        raise UserError(f"{where}: has the splits {', '.join(splits)}; name one: hfdata:{spec}/{splits[0]}")
    folder, split = path.parent, path.name
    for pattern in (
        str(path / "*.arrow"),
        str(path / "*.parquet"),
        str(path / "data/*.parquet"),
        *(str(place / f"{split}{end}") for place in (folder, folder / "data") for end in ("-*.parquet", ".parquet")),
        spec,
    ):
        found = sorted(name for name in glob.glob(pattern) if name.endswith((_ARROW, _PARQUET)))
        starts = {Path(name).name.partition("-")[0] for name in found}
        if len(starts) > 1 and pattern != spec and not pattern.endswith(_ARROW):
            some = ", ".join(sorted(starts))
            raise UserError(f"{where}: has the splits {some}; name one: hfdata:{spec}/{sorted(starts)[0]}")
        if found:
            return found
    raise UserError(f"{where}: no such dataset; {_EXPECTED}")
