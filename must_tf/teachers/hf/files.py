"""A Hugging Face model before and while it is loaded: its files, and its config, processor and weights."""

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from must_tf.errors import UserError, one_line
from must_tf.teachers.card import find_card, read_fields
from must_tf.teachers.hf.family import Family
from must_tf.teachers.hf.folder import check_folder, find_folder
from must_tf.teachers.model import optional
from must_tf.teachers.spec import TeacherSpec


@dataclasses.dataclass(frozen=True)
class Files:
    """The files of a model, which have been checked.

    Attributes:
      where: `FORMAT:PATH`, for messages.
      folder: the folder on this machine.
      name: the model's class in transformers, such as `DetrForObjectDetection`.
      family: how the class is run and read.
    """

    where: str
    folder: Path
    name: str
    family: Family

    @classmethod
    def find(cls, spec: TeacherSpec) -> "Files":
        """Finds or downloads the folder, and checks it; see `find_folder` and `check_folder`."""
        for library in ("torch", "transformers"):
            optional(library, "hf")
        folder = find_folder(spec.where, spec.path)
        given = read_fields(spec.card or find_card(spec.where, spec.path, need=False), spec.fields)
        return cls(spec.where, folder, *check_folder(spec.where, folder, given.get("task")))

    def config(self) -> Any:
        """Loads the config."""
        return self._load(getattr(_transformers(), self.name).config_class, "its config cannot be read")

    def processor(self) -> Any:
        """Loads the image processor, or of a model that reads text, the processor of both."""
        both = self.family.prompted or self.family.whole
        loader = getattr(_transformers(), "AutoProcessor" if both else "AutoImageProcessor")
        return self._load(loader, "its processor cannot be loaded", trust_remote_code=False)

    def model(self) -> Any:
        """Loads the model from safetensors, in the precision of its files.

        Raises:
          UserError: a weight is missing, or has another shape than the config says; it would be random.
        """
        options = {"use_safetensors": True, "output_loading_info": True, "ignore_mismatched_sizes": True}
        model, report = self._load(getattr(_transformers(), self.name), "transformers cannot load it", **options)
        if others := sorted(report["mismatched_keys"]):
            name, found, expected = others[0]
            raise UserError(
                f"{self.where}: {len(others)} weights have other shapes than its config says, the first is {name}: "
                f"{list(found)} in the file, {list(expected)} by the config: are its id2label and sizes right?"
            )
        missing = sorted(report["missing_keys"])
        if missing and {name.partition(".")[0] for name in missing} - self.family.spare:
            raise UserError(
                f"{self.where}: no weights for {len(missing)} tensors of {self.name}, the first is {missing[0]}; they "
                "would be random: is this the file of another model?"
            )
        for name in missing:
            setattr(model, name.partition(".")[0], None)
        return model.eval()

    def _load(self, loader: Any, problem: str, **options: Any) -> Any:
        try:
            with _quiet():
                return loader.from_pretrained(self.folder, local_files_only=True, **options)
        except Exception as error:  # of transformers, safetensors, tokenizers, or a library that the model needs
            raise UserError(f"{self.where}: {problem}: {one_line(error)}") from error


def image_processor(processor: Any) -> Any:
    """Returns the image processor of a processor, or itself if it is one."""
    return getattr(processor, "image_processor", processor)


def _transformers() -> Any:
    return optional("transformers", "hf")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silences the reports and progress bars of transformers while something is loaded."""
    logging = _transformers().utils.logging
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
