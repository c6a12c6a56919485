"""What a dataset holds, in numbers."""

from collections.abc import Iterable, Mapping
from typing import Any

from must_tf.records import Dataset, Findings
from must_tf.report.markup import Html, element, join
from must_tf.report.page import number, table, tiles
from must_tf.tasks import Task

_MOST = 40  # bars or rows of a list; the rest is summed up
_HASH = 12  # digits that tell files apart


def overview(dataset: Dataset, findings: Findings | None) -> Html:
    """Returns the key figures: records, image sizes, tasks, shards, inputs left out."""
    manifest = dataset.manifest
    figures: list[tuple[str, Any]] = [("records", f"{findings.records if findings else manifest.count:,}")]
    if findings and findings.sizes:
        figures.append(("image size" + "s" * (len(findings.sizes) > 1), _sizes(findings.sizes)))
    size = sum(shard.bytes for shard in manifest.shards)
    figures += [
        ("tasks", len(manifest.tasks)),
        ("shards", f"{len(manifest.shards):,}"),
        ("megabytes", f"{size / 1e6:,.1f}"),
        ("re-encoded", f"{sum(shard.reencoded for shard in manifest.shards):,}"),
        ("quarantined", f"{len(manifest.quarantined):,}"),
    ]
    return tiles(figures)


def origins(dataset: Dataset, counts: Mapping[str, Mapping[str, int]]) -> Html:
    """Returns the table of labels by task and origin."""
    rows = []
    for task in dataset.manifest.tasks:
        total = sum(counts.get(task.name, {}).values())
        by = ", ".join(f"{origin} {count:,}" for origin, count in counts.get(task.name, {}).items())
        kind = getattr(task, "convention", "")
        classes = len(getattr(task, "class_names", ())) or "–"
        cells = [f"{task.kind} ({kind})" if kind else task.kind, number(classes), number(f"{total:,}"), by or "–"]
        rows.append([task.name, *cells])
    return table(["task", "kind", "classes", "labels", "by origin"], rows, "Labels by task and origin.")


def histograms(dataset: Dataset, findings: Findings) -> Html:
    """Returns, for each task, bars of its classes and means of what else its labels count."""
    parts = []
    for task in dataset.manifest.tasks:
        labels = sum(findings.labels.get(task.name, {}).values())
        if labels:
            parts.append(_histogram(task, findings.statistics.get(task.name, {}), labels))
    return element("div", parts, class_="histograms")


def teachers(dataset: Dataset) -> Html | None:
    """Returns the table of the teachers, if there are any."""
    rows = []
    for name, told in sorted(dataset.manifest.teachers.items()):
        task = told.get("task", {})
        size = " × ".join(str(n) for n in told.get("input_size", ())) or "–"
        digest = told.get("sha256", "")
        short = element("code", digest[:_HASH] or "–", title=digest or None)
        thresholds = ", ".join(f"{key} {value:g}" for key, value in task.items() if key == "min_score") or "–"
        what = f"{task.get('name', '–')} ({task.get('kind', '–')})"
        path = element("code", told.get("path", "–"))
        cells = [what, told.get("format", "–"), path, short, size, thresholds, told.get("licence", "unknown")]
        rows.append([name, *cells])
    header = ["teacher", "task", "format", "file", "SHA-256", "input size", "thresholds", "licence"]
    return table(header, rows, "Teachers of the pseudo labels.") if rows else None


def quarantine(dataset: Dataset) -> Html | None:
    """Returns the table of the inputs that became no record, if there are any."""
    left_out = dataset.manifest.quarantined
    if not left_out:
        return None
    rows = [[element("code", entry["name"]), entry["reason"]] for entry in left_out[:_MOST]]
    more = f" The first {_MOST:,} of {len(left_out):,}." if len(left_out) > _MOST else ""
    return table(["input", "reason"], rows, f"Quarantined: inputs that became no record.{more}")


def problems(findings: Findings) -> Html:
    """Returns what the verification says, loud where something is wrong."""
    if not findings.problems:
        line = f"Verified: no problem in {findings.records:,} records (hashes, counts, every image and label)."
        return element("p", line, class_="sound")
    count = len(findings.problems)
    heading = element("h2", f"{count:,} problem{'s' * (count > 1)} found")
    items = [element("li", problem) for problem in findings.problems[:_MOST]]
    more = element("p", f"... and {count - _MOST:,} more") if count > _MOST else None
    return element("div", heading, element("ul", items), more, class_="problems", role="alert")


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
    """Sums over classes become bars; what is not a class is told as a mean."""
    names = [name for name in getattr(task, "class_names", ()) if sums.get(name)]
    names.sort(key=lambda name: -sums[name])
    means = [f"{name} {sums[name] / labels:.3g}" for name in sums if name not in names]
    whole = all(float(sums[name]).is_integer() for name in names)
    shown = [
        (name, sums[name], f"{sums[name]:,.0f}" if whole else f"{100 * sums[name] / labels:.1f}%")
        for name in names[:_MOST]
    ]
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


def _sizes(sizes: Mapping[str, int]) -> str:
    """Returns the only size, or the number of them with the commonest."""
    common = max(sizes, key=lambda size: (sizes[size], size)).replace("x", " × ")
    return common if len(sizes) == 1 else f"{len(sizes):,}, mostly {common}"
