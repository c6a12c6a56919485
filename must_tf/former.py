"""Backward compatibility: renames fields of JSON files that version 0.1.0 wrote to their current names."""

from collections.abc import Mapping
from typing import Any

_LICENSE = {"licence": "license"}


def renamed(value: Any, names: Mapping[str, str]) -> Any:
    """Returns a dict with renamed keys.

    Args:
      value: the dict; a value of another type is returned unchanged.
      names: {former key: current key}; if both are present, the current key wins.
    """
    if not isinstance(value, Mapping):
        return value
    former = {now: value[before] for before, now in names.items() if before in value}
    return former | {key: part for key, part in value.items() if key not in names}


def config(value: Any) -> Any:
    """Updates a run's config.json: `init` is now `init_from`, `augment.colour` is now `augment.color`.

    `combine.samples` is gone.
    """
    value = renamed(value, {"init": "init_from"})
    if isinstance(value, dict) and "augment" in value:
        value["augment"] = renamed(value["augment"], {"colour": "color"})
    if isinstance(value, dict) and isinstance(value.get("combine"), dict):
        value["combine"] = {key: part for key, part in value["combine"].items() if key != "samples"}
    return value


def manifest(value: Any) -> Any:
    """Updates a dataset's manifest.json: `licence` of the source and of teachers is now `license`."""
    if not isinstance(value, dict):
        return value
    value = dict(value)
    if "source" in value:
        value["source"] = renamed(value["source"], _LICENSE)
    if isinstance(value.get("teachers"), dict):
        value["teachers"] = {name: renamed(entry, _LICENSE) for name, entry in value["teachers"].items()}
    return value


def plan(value: Any) -> Any:
    """Updates a dataset's .plan.json: `licence` of the source and of teachers is now `license`."""
    value = renamed(value, _LICENSE)
    return manifest(value)


def card(value: Any) -> Any:
    """Updates an export's card.json: `normalisation` is now `normalization`, `licence` is now `license`."""
    value = renamed(value, {"normalisation": "normalization"})
    for field in ("lineage", "data", "teachers") if isinstance(value, dict) else ():
        if isinstance(value.get(field), list):
            value[field] = [renamed(entry, _LICENSE) for entry in value[field]]
    return value
