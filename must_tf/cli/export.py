"""Exports the student of a finished run, and compares every file with it in the file's own runtime.

    must export --workdir=runs/student --formats=savedmodel,onnx,keras --out=exports/student

Formats (--formats):
  savedmodel  backbone and student, for TensorFlow, TF Serving and TFSMLayer of Keras 3
  onnx        backbone.onnx, heads.onnx (without boxes) and student.onnx (with boxes)
  keras       the backbone as a .keras file of Keras 3, to fine-tune
  tf_keras    the backbone as a .keras file of tf_keras, to fine-tune
  garden      a checkpoint that Model Garden's trainers start from
  litert      backbone and student in float32, float16 and int8, at one size
  torch       the backbone as .pt2; of ResNets also weights for those of torchvision and timm (extra hf)

A head that a file cannot hold is left out of it. The command and the model card say which, and why. The model card is
OUT/README.md for people, and OUT/card.json for programs.
"""

from absl import flags

from must_tf.cli import app
from must_tf.errors import UserError

FLAGS = flags.FlagValues()
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of a finished run.", flag_values=FLAGS)
_FORMATS = flags.DEFINE_list("formats", ["savedmodel", "onnx"], "Formats, separated by commas.", flag_values=FLAGS)
_OUT = flags.DEFINE_string("out", None, "Folder for the export.", flag_values=FLAGS)
_NORMALIZE = flags.DEFINE_bool(
    "normalize",
    True,
    "Whether files take RGB in [0, 255] and normalize it. With --nonormalize they take normalized images.",
    flag_values=FLAGS,
)
_ALLOW = flags.DEFINE_list(
    "allow_licenses",
    None,
    "Allowed licenses of data and teachers, separated by commas; an export with any other is refused. By default all "
    "are allowed.",
    flag_values=FLAGS,
)
_LITERT_SIZE = flags.DEFINE_string(
    "litert_size", None, "HEIGHTxWIDTH of the litert files; by default the training size.", flag_values=FLAGS
)
_LITERT_RECORDS = flags.DEFINE_string(
    "litert_records",
    "",
    "Folder of records to calibrate int8 on; by default those of the training.",
    flag_values=FLAGS,
)
_LITERT_IMAGES = flags.DEFINE_integer(
    "litert_images", 100, "Number of images to calibrate int8 on.", lower_bound=1, flag_values=FLAGS
)
flags.mark_flags_as_required(["workdir", "out"], flag_values=FLAGS)


def run(argv: list[str]) -> None:
    """Runs `must export`."""
    urls = ["workdir", "out", "litert_records", "allow_licenses"]
    app.run("must export", __doc__, FLAGS, main, argv, urls)


def main() -> None:
    """Exports; prints size and deviation of each file, and a line for each thing that is left out."""
    size = _size(_LITERT_SIZE.value)
    from must_tf.verbs import export

    exported = export(
        _WORKDIR.value,
        _OUT.value,
        tuple(_FORMATS.value),
        normalize=_NORMALIZE.value,
        allow_licenses=_ALLOW.value,
        litert_size=size,
        litert_records=_LITERT_RECORDS.value,
        litert_images=_LITERT_IMAGES.value,
    )
    print(exported)


def _size(text: str | None) -> tuple[int, int] | None:
    """Returns height and width of HxW; None where there is no text."""
    if text is None:
        return None
    height, _, width = text.partition("x")
    if not (height.isdecimal() and width.isdecimal()):
        raise UserError(f"--litert_size={text}: expected HEIGHTxWIDTH, as 224x320")
    return int(height), int(width)
