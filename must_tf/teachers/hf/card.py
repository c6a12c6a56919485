"""Cards of Hugging Face models: what their files define, what a user replaces, and the description of both."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from must_tf.errors import UserError
from must_tf.parsing import short
from must_tf.tasks import check_thresholds
from must_tf.tasks.classes import is_hole, names_by_id
from must_tf.teachers.card import Card, find_card, make_card, read_fields, replaced
from must_tf.teachers.hf.files import Files, image_processor
from must_tf.teachers.hf.folder import read_license
from must_tf.teachers.spec import CARD_SUFFIXES, TeacherSpec

_PREPARED = (  # card fields of what the processor does
    "input_size", "resize", "layout", "output_layout", "range", "mean", "std", "channel_order", "dtype", "signature",
)  # fmt: skip
_PROMPTS = '{cup: "a coffee cup", bottle: bottle}'
_MANY = 20  # class names that a description lists


def read_hf_card(spec: TeacherSpec, files: Files) -> Card:
    """Returns the card of a teacher: what the model's files define, replaced by what the user gives.

    Args:
      spec: the model; a card file, fields and thresholds that replace what its files define.
      files: of the model.

    Raises:
      UserError: a field is unknown, invalid or not for this model; or one is missing that the files do not define.
    """
    path = spec.card or find_card(spec.where, spec.path, need=False)
    given, known, family = read_fields(path, spec.fields), _known(spec, files), files.family
    where = path or f"--cards.{spec.task}"
    _check(given, files, where, spec.task)
    prompts = given.get("prompts")
    named = {"class_names": list(prompts)} if isinstance(prompts, Mapping) else {}
    card = make_card({**replaced({**known, **named}, given), **family.reading}, where)
    check_thresholds(card.task, spec.thresholds)
    return dataclasses.replace(card, reader=dataclasses.replace(_complete(card, spec), **spec.thresholds))


def preparation(processor: Any) -> dict[str, Any]:
    """Returns the settings of a processor's image processor as JSON values."""
    return json.loads(image_processor(processor).to_json_string())


def draft(spec: TeacherSpec, files: Files) -> str:
    """Returns what a model's files define, as a card in YAML, with classes and preparation in comments."""
    known = _known(spec, files)
    names = known.pop("class_names", ())
    kept = [name for name in names if not is_hole(name)]
    lines = [f"# {files.where}", f"# {files.name} of transformers; its own preparation of images:"]
    lines += [f"#   {name}: {value}" for name, value in sorted(preparation(files.processor()).items())]
    if names:
        left_out = f", {len(names) - len(kept)} of its ids have none" if len(kept) < len(names) else ""
        lines += [f"# {len(kept)} classes{left_out}: {', '.join(kept[:_MANY])}{', ...' if len(kept) > _MANY else ''}"]
    lines += ["# no card is needed: what follows is what its files say; save what you change as"]
    lines += [f"# {Path(spec.path)}{CARD_SUFFIXES[0]}, or give it as --cards.TASK.FIELD=VALUE"]
    lines += [f"prompts: {_PROMPTS}  # fill in: each class, and the text that finds it"] * files.family.prompted
    return "\n".join(lines) + "\n" + yaml.safe_dump(known, sort_keys=False, allow_unicode=True, width=10_000).rstrip()


def _known(spec: TeacherSpec, files: Files) -> dict[str, Any]:
    """Returns the card fields that a model's files define."""
    config, family = files.config(), files.family
    try:
        fields = family.known(config)
        if family.classified and not family.prompted:
            names = {id_: None if name is None else str(name) for id_, name in config.id2label.items()}
            fields |= {"class_names": names_by_id(names)}
    except ValueError as error:
        raise UserError(f"{files.where}: {error}") from None
    source = "unknown" if Path(spec.path).is_dir() else f"https://huggingface.co/{spec.path}"
    return {"task": family.kind} | fields | {"license": read_license(files.folder), "source": source}


def _check(given: Mapping[str, Any], files: Files, where: str, task: str) -> None:
    """Raises a `UserError` for a field that is not the user's to give, and for prompts where none belong or are."""
    family = files.family
    if given.get("task", family.kind) != family.kind:
        raise UserError(f"{where}: task: {short(given['task'])} received; {files.name} is a model of {family.kind}")
    for field in (*_PREPARED, *family.reading):
        if field in given:
            raise UserError(f"{where}: {field}: hf: models do this themselves; leave the field out")
    if "prompts" in given and not family.prompted:
        raise UserError(f"{where}: prompts: {files.name} reads no text: its classes are its own; leave the field out")
    if family.prompted and not given.get("prompts"):
        raise UserError(
            f"{where}: prompts: not given; {files.name} finds what a text says: expected the text of each class, as "
            f"--cards.{task}.prompts='{_PROMPTS}'"
        )
    for field in ("class_names", "class_names_file"):
        if family.prompted and field in given:
            raise UserError(f"{where}: {field}: the classes are the keys of prompts; leave the field out")
    if family.prompted and isinstance(prompts := given["prompts"], Mapping):
        texts = [str(text).strip().lower() for text in prompts.values()]
        if problem := _problem(texts, getattr(family, "activation", "")):
            raise UserError(f"{where}: prompts: {problem}")


def _problem(texts: Sequence[str], activation: str) -> str | None:
    """Returns why texts cannot tell classes apart; None if they can."""
    if not all(texts):
        return "a class has an empty text; expected what is to be found"
    if len(set(texts)) < len(texts):
        twice = next(text for text in texts if texts.count(text) > 1)
        return f"{twice!r} is the text of two classes; give each a text of its own"
    if activation == "logits" and len(texts) == 1:
        return "one received; a softmax makes it 1 for every image: add others, such as other: something else"
    return None


def _complete(card: Card, spec: TeacherSpec) -> Any:
    """Returns the card's reader; a `UserError` if it lacks a field for which there is no safe default."""
    try:
        needed = card.reader.needed(card.outputs or {})
    except ValueError as error:
        raise card.error(str(error)) from None
    for field in needed:
        if getattr(card.reader, field) is None:
            raise card.error(
                f"{field}: not given, and the config of {spec.where} does not say it; expected "
                f"--cards.{spec.task}.{field}=VALUE"
            )
    return card.reader
