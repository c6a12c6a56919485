"""Tables and bars that count what a dataset holds: images, labels, classes, teachers, problems."""

from collections.abc import Iterable, Mapping
from typing import Any

from must_tf.records import Dataset, Findings
from must_tf.report.markup import Html, element, join
from must_tf.report.page import number, table, tiles
from must_tf.tasks import Task, threshold_words, thresholds

_MOST = 40  # bars or rows of a list; the rest is summed up
_HASH = 12  # digits that tell files apart
_LONG = 32  # letters of a text that is cut


def overview(dataset: Dataset, findings: Findings | None) -> Html:
    """Returns the key figures: records, image sizes, tasks, shards, inputs left out."""
    manifest = dataset.manifest
    figures: list[tuple[str, Any]] = [("records", f"{findings.records if findings else manifest.count:,}")]
    if findings and findings.sizes:
        figures.append(("image size" + "s" * (len(findings.sizes) > 1), _sizes(findings.sizes)))
    size = int(manifest.shards.bytes.sum())
    if findings and findings.records and findings.image_bytes:
        figures.append(("bytes per image, without labels", f"{findings.image_bytes / findings.records:,.0f}"))
    figures += [
        ("tasks", len(manifest.tasks)),
        ("shard" + "s" * (len(manifest.shards) != 1), f"{len(manifest.shards):,}"),
        ("megabytes", f"{size / 1e6:,.1f}"),
        ("re-encoded", f"{manifest.reencoded:,}"),
        ("quarantined", f"{len(manifest.quarantined):,}"),
    ]
    if manifest.left_out:
        figures.append(("left out", f"{sum(manifest.left_out.values()):,}"))
    return tiles(figures)


def origins(dataset: Dataset, findings: Findings | None) -> Html:
    """Returns the table of labels by task and origin: coverage, and bytes, where the records were read."""
    counts = findings.labels if findings else dataset.manifest.counts
    records = findings.records if findings else dataset.manifest.count
    rows = []
    for task in dataset.manifest.tasks:
        total = sum(counts.get(task.name, {}).values())
        by = ", ".join(f"{origin} {count:,}" for origin, count in counts.get(task.name, {}).items())
        kind = ", ".join(_mode(task))
        classes = len(getattr(task, "class_names", ())) or "–"
        numbers = [classes, f"{total:,}", f"{total / records:.1%}" if records else "–"]
        if findings:
            size = findings.label_bytes.get(task.name, 0)
            numbers.append(f"{size / total:,.0f}" if total else "–")
        rows.append([task.name, f"{task.kind} ({kind})" if kind else task.kind, *map(number, numbers), by or "–"])
    header = ["task", "kind", "classes", "labels", "coverage", *(["bytes per label"] if findings else []), "by origin"]
    caption = "Labels by task and origin; coverage is the share of records with such a label."
    return table(header, rows, caption, tasks=[task.name for task in dataset.manifest.tasks])


def histograms(dataset: Dataset, findings: Findings) -> Html:
    """Returns, for each task, bars of its classes with means of what else its labels count, and its histograms."""
    groups: list[Html] = []
    for task in dataset.manifest.tasks:
        labels = sum(findings.labels.get(task.name, {}).values())
        if labels:
            classes = _histogram(task, findings.statistics.get(task.name, {}), labels)
            histograms = findings.histograms.get(task.name, {})
            ranges = [_ranges(task, quantity, counts) for quantity, counts in histograms.items()]
            groups.append(element("div", classes, ranges, class_="histograms", data_task=task.name))
    return join(groups)


def teachers(dataset: Dataset) -> Html | None:
    """Returns the table of the teachers, if there are any."""
    rows = []
    for name, entry in sorted(dataset.manifest.teachers.items()):
        task = entry.get("task", {})
        size = " × ".join(str(n) for n in entry.get("input_size", ())) or "–"
        digest = entry.get("sha256", "")
        short = element("code", digest[:_HASH] or "–", title=digest or None)
        scores = ", ".join(f"{key} {threshold_words(value)}" for key, value in thresholds(task).items()) or "–"
        what = f"{task.get('name', '–')} ({task.get('kind', '–')})"
        path = element("code", entry.get("path", "–"))
        cells = [what, entry.get("format", "–"), path, short, size, scores, entry.get("license", "unknown")]
        rows.append([name, *cells])
    header = ["teacher", "task", "format", "file", "SHA-256", "input size", "thresholds", "license"]
    return table(header, rows, "Teachers of the pseudo labels.") if rows else None


def quarantine(dataset: Dataset) -> Html | None:
    """Returns the table of the inputs that became no record, if there are any."""
    entries = dataset.manifest.quarantined
    if not entries:
        return None
    rows = [[element("code", entry["name"]), entry["reason"]] for entry in entries[:_MOST]]
    more = f" The first {_MOST:,} of {len(entries):,}." if len(entries) > _MOST else ""
    return table(["input", "reason"], rows, f"Quarantined: inputs that became no record.{more}")


def left_out(dataset: Dataset) -> Html | None:
    """Returns the table of why inputs were not asked for, if there are any."""
    rows = [[reason, number(f"{count:,}")] for reason, count in dataset.manifest.left_out.items()]
    return table(["reason", "images"], rows, "Left out: inputs that were not asked for.") if rows else None


def problems(findings: Findings) -> Html:
    """Returns what the verification found; problems stand out, and so do warnings."""
    return join(_problems(findings), _warnings(findings))


def _warnings(findings: Findings) -> Html | None:
    if not findings.warnings:
        return None
    items = [element("li", line) for line in findings.warnings]
    heading = element("h2", "What to know of these labels")
    return element("div", heading, element("ul", items), class_="warnings", role="note")


def _problems(findings: Findings) -> Html:
    if not findings.problems:
        line = f"Verified: no problem in {findings.records:,} records (hashes, counts, every image and label)."
        return element("p", line, class_="sound")
    count = len(findings.problems)
    heading = element("h2", f"{count:,} problem{'s' * (count > 1)} found")
    items = [element("li", problem) for problem in findings.problems[:_MOST]]
    more = element("p", f"... and {count - _MOST:,} more") if count > _MOST else None
    return element("div", heading, element("ul", items), more, class_="problems", role="alert")


def _mode(task: Task) -> list[str]:
    """Returns the texts of a task's identity, such as its convention, and the names of its fields that are True.

    Long ones, such as a SHA-256, are cut.
    """
    fields = [(field, value) for field, value in task.identity.items() if field != "kind"]
    texts = [field if value is True else value for field, value in fields if value is True or isinstance(value, str)]
    return [f"{text[:_HASH]}…" if len(text) > _LONG else text for text in texts]


def bars(rows: Iterable[tuple[str, float, str]], caption: Any) -> Html:
    """Returns horizontal bars as a table of (name, length, the value in words)."""
    rows = list(rows)
    longest = max((length for _, length, _ in rows), default=0) or 1
    body = [
        element(
            "tr",
            element("th", name, scope="row"),
            element("td", element("span", style=f"width:{100 * length / longest:.1f}%"), class_="bar"),
            number(value),
        )
        for name, length, value in rows
    ]
    return element("table", element("caption", caption), element("tbody", body), class_="bars")


def _histogram(task: Task, sums: Mapping[str, float], labels: int) -> Html:
    """Sums over classes become bars; what is no class is given as a mean."""
    names, words = class_sums(task, sums, labels)
    means = [f"{name} {sums[name] / labels:.3g}" for name in sums if name not in names]
    shown = [(name, sums[name], value) for name, value in zip(names[:_MOST], words, strict=False)]
    notes = [f"{labels:,} labels"]
    if means:
        notes.append(f"on average: {', '.join(means)}")
    if len(names) > _MOST:
        notes.append(f"the {_MOST} commonest of {len(names):,} classes")
    unseen = len(getattr(task, "class_names", ())) - len(names)
    if unseen:
        notes.append(f"{unseen:,} class{'es' * (unseen > 1)} never seen")
    caption = join(element("b", task.name), f" {task.kind}", element("small", "; ".join(notes)))
    return bars(shown, caption)


def class_sums(task: Task, sums: Mapping[str, float], labels: int) -> tuple[list[str], list[str]]:
    """Returns the classes that occur, the commonest first, and the sum of each in words: a count, or a mean share."""
    names = [name for name in getattr(task, "class_names", ()) if sums.get(name)]
    names.sort(key=lambda name: -sums[name])
    whole = all(float(sums[name]).is_integer() for name in names)
    return names, [f"{sums[name]:,.0f}" if whole else f"{100 * sums[name] / labels:.1f}%" for name in names]


def _ranges(task: Task, quantity: str, counts: Mapping[str, float]) -> Html:
    """One histogram, in shares; empty ranges at its ends are left out."""
    total = sum(counts.values()) or 1
    rows = [(name, count, _share(count / total)) for name, count in trimmed(counts).items()]
    return bars(rows, join(element("b", task.name), " ", quantity))


def _share(share: float) -> str:
    return "< 0.1%" if 0 < share < 0.0005 else f"{share:.1%}"


def trimmed(counts: Mapping[str, float]) -> dict[str, float]:
    """Returns a histogram without the empty ranges at its ends."""
    filled = [number for number, count in enumerate(counts.values()) if count]
    return dict(list(counts.items())[filled[0] : filled[-1] + 1]) if filled else {}


def _sizes(sizes: Mapping[str, int]) -> str:
    """Returns the only size, or the number of them with the commonest."""
    common = max(sizes, key=lambda size: (sizes[size], size)).replace("x", " × ")
    return common if len(sizes) == 1 else f"{len(sizes):,}, mostly {common}"
