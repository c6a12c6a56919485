"""README.md of an export: the model card for people, in Markdown."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from must_tf.export import lineage
from must_tf.export.parity import Parity, table
from must_tf.records import Estimate
from must_tf.tasks import Score, from_json, threshold_words

_TEACHER = ("teacher", "task", "format", "SHA-256", "thresholds", "license")


def render(card: dict[str, Any], snippets: Mapping[str, str], licenses: Sequence[str], left_out: Sequence[str]) -> str:
    """Returns the README of an export.

    Args:
      card: what card.json holds.
      snippets: by format, how to load it; {height}, {width}, {pixels}, {features} and others are filled in.
      licenses: lines on the licenses that the weights come under.
      left_out: lines on what is not in the files.
    """
    trunk = card["trunk"]
    pyramid = f", pyramid {_names(f'P{level}' for level in card['levels'])} of {trunk['num_filters']} channels"
    height, width = card["input_size"]
    sizes = {name: entry["bytes"] for name, entry in card["files"].items()}
    data = map(_data_row, card["data"])
    return "\n".join(
        [
            f"# {card['name']}\n",
            f"{trunk['backbone']}, width {trunk['width']:g}{pyramid if card['levels'] else ''}; made by must_tf "
            f"{card['must_tf']} from weights {card['weights_sha256'][:16]}. Trained at {height}x{width}.\n",
            "## Input\n",
            f"{card['input']}.\n",
            "## Tasks\n",
            *_table(("task", "kind", "classes", "outputs"), [_task_row(task) for task in card["tasks"]]),
            "## Outputs\n",
            "Sides that do not divide are rounded up.\n",
            *_table(("part", "name", "shape"), _output_rows(card["outputs"])),
            *(["Not in the files:\n", *(f"- {line}" for line in left_out), ""] if left_out else []),
            *(text.strip().format(**_words(card)) + "\n" for text in snippets.values()),
            "## Training data\n",
            "Records: whether the folder held what the student learned from when this was written. Images, labels and "
            "license are those of that time.\n",
            *_table(("folder", "records", "images", "labels by task and origin", "license"), data),
            *audit_section(card["data"]),
            "## Teachers\n",
            *_table(_TEACHER, map(teacher_row, card["teachers"])),
            "## Metrics\n",
            *_table(("metric", "last value", "unit"), _metric_rows(card)),
            "## Parity\n",
            "Each file was loaded by its own runtime in a new process and compared with the student, on "
            f"{card['images']}. Largest: the largest |difference| over the largest |value|. Mean: the sum of "
            "|difference| over the sum of |value|. card.json has every output, size and batch. Rows of ranked lists "
            "(boxes) are compared in pairs, because rows whose scores are nearly equal may change places.\n",
            f"```\n{table([Parity(**entry) for entry in card['parity']], sizes)}\n```\n",
            "## Files\n",
            "`must_tf.export.verify(FOLDER)` compares sizes and SHA-256 with those of card.json.\n",
            *_table(("file", "bytes"), [(name, f"{size:,}") for name, size in sizes.items()]),
            "## Licenses\n",
            *(f"- {line}" for line in licenses),
            "",
        ]
    )


def _words(card: dict[str, Any]) -> dict[str, Any]:
    """Returns the values that fill in the snippets."""
    height, width = card["input_size"]
    words = {"height": height, "width": width, "features": _names(card["outputs"]["backbone"])}
    words["backbone"] = card["trunk"]["backbone"]
    words["resnet"] = words["backbone"].replace("-", "")
    words["pixels"] = "RGB in [0, 255]" if card["normalization"]["inside"] else "normalized RGB, as above"
    if "litert" in card:
        words["litert_height"], words["litert_width"] = card["litert"]["size"]
        count, records = card["litert"]["images"], card["litert"]["records"]
        words["litert_calibration"] = f"{count} images of {records}" if records else f"{count} made images"
    return words


def _task_row(task: dict[str, Any]) -> tuple[str, ...]:
    names = task.get("class_names", ())
    few = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
    said = "; ".join(f"`{output.name}`: {output.meaning}" for output in from_json(task).outputs)
    return task["name"], task["kind"], f"{len(names)}: {few}" if names else "", said


def _metric_rows(card: dict[str, Any]) -> list[tuple[str, ...]]:
    """Returns the name, the value and, of what is a score, the unit and the direction of each metric."""
    tasks = map(from_json, card["tasks"])
    scores = {f"validation/{task.name}/{score.name}": score for task in tasks for score in task.scores}
    return [(name, f"{value:.4g}", _unit(scores.get(name))) for name, value in card["metrics"].items()]


def _unit(score: Score | None) -> str:
    if score is None:
        return ""
    return ", ".join(filter(None, (score.unit, "lower is better" if score.better == "lower" else "")))


def _output_rows(outputs: dict[str, dict[str, list[int | str]]]) -> list[tuple[str, ...]]:
    return [
        (part, f"`{name}`", f"[{', '.join(map(str, shape))}]")
        for part, shapes in outputs.items()
        for name, shape in shapes.items()
    ]


def _data_row(entry: dict[str, Any]) -> tuple[str, ...]:
    counts = [f"{task}: {origin} {n:,}" for task, by in entry["labels"].items() for origin, n in by.items()]
    images = "not found" if entry["images"] is None else f"{entry['images']:,}"
    return entry["folder"], entry["records"], images, ", ".join(counts), entry["license"]


def audit_section(data: Sequence[dict[str, Any]]) -> list[str]:
    """Returns the section on audits of the training labels; nothing if there were none.

    An audit is of the labels that the student learned from. Where these are not known, the section says so.
    """
    found = [(entry["folder"], task, one) for entry in data for task, one in entry.get("audits", {}).items()]
    if not found:
        return []
    rows = [
        (folder, task, row["name"] or "all", str(Estimate(**row["precision"])), str(Estimate(**row["recall"])))
        for folder, task, one in found
        for row in one["classes"]
    ]
    looked = [
        f"{folder}, {task}: people corrected {one['images']:,} of {one['population']:,} images ({one['method']})."
        for folder, task, one in found
    ] + [
        f"{entry['folder']}: the audit is of the labels when this was written; which ones the student learned from is "
        "unknown."
        for entry in data
        if entry.get("audits") and entry["records"] == lineage.UNKNOWN
    ]
    head = ("folder", "task", "class", "precision", "recall")
    return ["## Audits of the training labels\n", " ".join(looked) + "\n", *_table(head, rows)]


def teacher_row(entry: dict[str, Any]) -> tuple[str, ...]:
    """Returns id, task, format, SHA-256, thresholds and license of a teacher."""
    known = ", ".join(f"{name} {threshold_words(value)}" for name, value in entry["thresholds"].items())
    return entry["id"], entry["task"], entry["format"], entry["sha256"][:16], known, entry["license"]


def _names(names: Iterable[str]) -> str:
    return ", ".join(names)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    rows = list(rows)
    if not rows:
        return ["Not known.\n"]
    return [*(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)), ""]
