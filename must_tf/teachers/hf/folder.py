"""Folders of Hugging Face models: found or downloaded, and checked before anything of them is loaded."""

import hashlib
import re
from pathlib import Path
from typing import Any

from must_tf import storage
from must_tf.errors import UserError, one_line
from must_tf.parsing import load_yaml, read_object, read_text, short
from must_tf.teachers.hf.family import Family
from must_tf.teachers.hf.registry import find_family
from must_tf.teachers.model import optional, require_content

_WEIGHTS = "*.safetensors"
_FILES = ("*.json", _WEIGHTS, "*.txt", "*.model")  # config, processor, weights, vocabulary
_README = "README.md"
_TOKENIZER = ("tokenizer.json", "vocab.*", "*.model")  # one of them has the words; transformers would take none
_PREPARATION = ("preprocessor_config.json", "processor_config.json")


def find_folder(where: str, path: str) -> Path:
    """Returns a model's folder; a name is downloaded from the hub, or found in the hub's cache.

    Only top-level files that are needed are downloaded. Pickled weights are not among them.
    """
    if Path(path).is_dir():
        return Path(path)
    hub = optional("huggingface_hub", "hf")
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(hub.snapshot_download(path, allow_patterns=[*_FILES, _README], ignore_patterns=["*/*"]))
    except Exception as error:  # about the name, the network, the hub, or permissions
        why = one_line(error)
        if isinstance(error, LocalEntryNotFoundError):
            why = (
                f"the hub is out of reach ({error.__cause__ or one_line(error)}); save model and processor where it "
                "is not (save_pretrained), and give hf:FOLDER"
            )
        raise UserError(
            f"{where}: neither a folder nor a name that can be downloaded or is in the cache: {why}"
        ) from None


def check_folder(where: str, folder: Path, kind: str | None = None) -> tuple[str, Family]:
    """Returns the class of a saved model and its family.

    Args:
      where: `FORMAT:PATH`, for messages.
      folder: of the model.
      kind: of the labels that are wanted, of a model that can give several; None for the usual one.

    Raises:
      UserError: there is no config, no safe weights, no image processor, or no tokenizer of a model that reads text; or
        the class has no family.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise UserError(f"{where}: no config.json in it; expected a folder that `save_pretrained` wrote")
    config = read_object(path)
    architectures = config.get("architectures")
    name = architectures[0] if isinstance(architectures, list) and architectures else None
    family = find_family(name, where, kind) if isinstance(name, str) else None
    if not (isinstance(name, str) and family and hasattr(optional("transformers", "hf"), name)):
        if "auto_map" in config:
            raise UserError(
                f"{where}: its config names code in its own folder (auto_map), which must_tf does not run; expected a "
                "model that transformers itself knows, or export it to ONNX"
            )
        if "pretrained_cfg" in config:
            raise UserError(
                f"{where}: a model of timm, which must_tf does not run; export it to ONNX, and give onnx:FILE"
            )
        raise UserError(
            f"{where}: architectures: {short(name)} received; expected a model of transformers that classifies, "
            "detects, segments, estimates depth or gives features; others can be exported to ONNX"
        )
    if not any(folder.glob(_WEIGHTS)):
        raise UserError(
            f"{where}: no {_WEIGHTS} in it; pickled weights can run code as they are read, and are refused. Where you "
            f'trust them, convert them: python -c "import transformers as t; '
            f't.{name}.from_pretrained({str(folder)!r}).save_pretrained({str(folder)!r})"'
        )
    for file in sorted(folder.glob(_WEIGHTS)):
        require_content(where, file)
    if not any((folder / name).is_file() for name in _PREPARATION):
        raise UserError(f"{where}: no {_PREPARATION[0]}, which says how images are prepared; save the processor there")
    if (family.prompted or family.whole) and not any(path for file in _TOKENIZER for path in folder.glob(file)):
        raise UserError(
            f"{where}: no {_TOKENIZER[0]} in it, and {name} reads text; save its whole processor there: that of "
            "AutoProcessor, not of AutoImageProcessor"
        )
    return name, family


def read_license(folder: Path) -> str:
    """Returns the license in the metadata of a folder's README; `unknown` where there is none."""
    path = folder / _README
    if not path.is_file():
        return "unknown"
    metadata = re.match(r"---\n(.*?)\n---", read_text(path), re.DOTALL)
    found: dict[str, Any] = {}
    for name in ("license", "license_name") if metadata else ():
        # One field alone is read: others may hold dates, or values of any size.
        field = re.search(rf"^{name}:.*(?:\n[ ]*- .*)*", metadata[1], re.MULTILINE)  # type: ignore[index]
        found |= load_yaml(field[0], path) if field else {}
    names = found.get("license_name") if found.get("license") == "other" else None
    names = names or found.get("license") or "unknown"
    return "; ".join(map(str, names)) if isinstance(names, list) else str(names)


def sha256(folder: Path) -> str:
    """Returns the SHA-256 of the names and digests of the files that the model is loaded from."""
    files = sorted({path for pattern in _FILES for path in folder.glob(pattern) if path.is_file()})
    return hashlib.sha256("\n".join(f"{path.name} {storage.sha256(path)}" for path in files).encode()).hexdigest()
