"""Trains a task of your own, starting from the trunk of an export or of a finished run.

The trunk's architecture comes from --init_from. Any other field of the config can be changed, as in `must train`. The
same command continues a killed run. --init_from=random:DIR starts from random weights of the same architecture, for
comparison.

    must finetune --config=rooms/downstream.py:normals --init_from=demo/export --workdir=runs/normals
"""

from absl import flags

from must_tf.cli import app

FLAGS = flags.FlagValues()
_CONFIG = flags.DEFINE_string(
    "config", None, "Config of the experiment: FILE.py, or FILE.py:ARGUMENT.", flag_values=FLAGS
)
_INIT_FROM = flags.DEFINE_string(
    "init_from",
    None,
    "Weights to start from: an export, or the folder of a finished run. random:DIR is the architecture of DIR with "
    "random weights; random is the config's own trunk with random weights.",
    flag_values=FLAGS,
)
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Folder for the files of the run, here or in a bucket.", flag_values=FLAGS
)
_KEEP_HEADS = flags.DEFINE_bool(
    "keep_heads", False, "Also start from the heads of the run --init_from, as in `must train`.", flag_values=FLAGS
)
_SCALE = flags.DEFINE_float(
    "scale", 1.0, "Factor on the number of steps, to try an experiment in seconds.", 1e-4, flag_values=FLAGS
)
_CACHE = flags.DEFINE_float(
    "cache_gb", 20.0, "GB on this disk for copies of the records that lie in buckets.", 0, flag_values=FLAGS
)
flags.mark_flags_as_required(["config", "init_from", "workdir"], flag_values=FLAGS)


def run(argv: list[str]) -> None:
    """Runs `must finetune`."""
    rest, overrides = app.split_fields(argv)
    urls = ["config", "workdir", "init_from"]
    app.run("must finetune", __doc__, FLAGS, lambda: main(overrides), rest, urls)


def main(overrides: dict[str, str]) -> None:
    """Fine-tunes."""
    from must_tf.verbs import finetune

    finetune(
        _CONFIG.value,
        _INIT_FROM.value,
        _WORKDIR.value,
        keep_heads=_KEEP_HEADS.value,
        scale=_SCALE.value,
        overrides=overrides,
        cache_gb=_CACHE.value,
    )
    print(f"{_WORKDIR.value}/student: the fine-tuned model")
