"""Names that version 0.1.0 gave to fields of its JSON files: what it wrote is read under the names of now."""

from collections.abc import Mapping
from typing import Any

_LICENSE = {"licence": "license"}


def renamed(value: Any, names: Mapping[str, str]) -> Any:
    """Returns a dict with other keys, {former: now}; a key of now wins, and what is no dict stays as it is."""
    if not isinstance(value, Mapping):
        return value
    former = {now: value[before] for before, now in names.items() if before in value}
    return former | {key: part for key, part in value.items() if key not in names}


def config(value: Any) -> Any:
    """Returns a run's config.json: `init_from` was `init`, `augment.color` was `augment.colour`."""
    value = renamed(value, {"init": "init_from"})
    if isinstance(value, dict) and "augment" in value:
        value["augment"] = renamed(value["augment"], {"colour": "color"})
    return value


def manifest(value: Any) -> Any:
    """Returns a dataset's manifest.json: `license` of the source and of teachers was `licence`."""
    if not isinstance(value, dict):
        return value
    value = dict(value)
    if "source" in value:
        value["source"] = renamed(value["source"], _LICENSE)
    if isinstance(value.get("teachers"), dict):
        value["teachers"] = {name: renamed(entry, _LICENSE) for name, entry in value["teachers"].items()}
    return value


def card(value: Any) -> Any:
    """Returns an export's card.json: `normalization` was `normalisation`, `license` was `licence`."""
    value = renamed(value, {"normalisation": "normalization"})
    for field in ("lineage", "data", "teachers") if isinstance(value, dict) else ():
        if isinstance(value.get(field), list):
            value[field] = [renamed(entry, _LICENSE) for entry in value[field]]
    return value
