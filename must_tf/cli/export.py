"""Exports the student of a finished run, and checks every file against it in its own runtime.

savedmodel: OUT/savedmodel/{backbone,student}; onnx: OUT/onnx/{backbone,student}.onnx; and a model card.
"""

from absl import flags

from must_tf.cli import app

FLAGS = flags.FlagValues()
_WORKDIR = flags.DEFINE_string("workdir", None, "Of a finished run.", flag_values=FLAGS)
_FORMATS = flags.DEFINE_list("formats", ["savedmodel", "onnx"], "Which formats.", flag_values=FLAGS)
_OUT = flags.DEFINE_string("out", None, "Folder for the export.", flag_values=FLAGS)
flags.mark_flags_as_required(["workdir", "out"], flag_values=FLAGS)


def run(argv: list[str]) -> None:
    """Runs `must export`."""
    app.run("export", __doc__, FLAGS, main, argv)


def main() -> None:
    """Exports, and prints how far each file is from the student."""
    from must_tf.export import export, table

    print(table(export(_WORKDIR.value, _OUT.value, tuple(_FORMATS.value))))
