"""Runs teachers over images and writes records with their labels, shard by shard.

A killed run is taken up by the same command. Images that cannot be read are quarantined, and listed with their
reasons in the manifest.
"""

from absl import flags

from must_tf.cli import app

FLAGS = flags.FlagValues()
_IMAGES = flags.DEFINE_string(
    "images", None, "Folder (recursive), glob, list file (.txt), or folder of records.", flag_values=FLAGS
)
_TEACHERS = flags.DEFINE_list("teachers", None, "TASK=FORMAT:PATH, with commas between.", flag_values=FLAGS)
_OUT = flags.DEFINE_string("out", None, "Folder for the dataset.", flag_values=FLAGS)
_BATCH = flags.DEFINE_integer("batch_size", 32, "Images that a teacher sees at once.", 1, flag_values=FLAGS)
_SHARD = flags.DEFINE_integer("images_per_shard", 1000, "About how many records a file holds.", 1, flag_values=FLAGS)
flags.mark_flags_as_required(["images", "teachers", "out"], flag_values=FLAGS)


def run(argv: list[str]) -> None:
    """Runs `must label`."""
    app.run("label", __doc__, FLAGS, main, argv)


def main() -> None:
    """Labels, and prints what came of it."""
    from must_tf.labeling import label
    from must_tf.teachers import load_teachers

    manifest = label(_IMAGES.value, load_teachers(_TEACHERS.value), _OUT.value, _BATCH.value, _SHARD.value)
    print(f"{_OUT.value}: {manifest.count} records in {len(manifest.shards)} shards")
    for task, origins in manifest.counts.items():
        print(f"  {task}: " + ", ".join(f"{count} by {origin}" for origin, count in origins.items()))
    if manifest.quarantined:
        print(f"  quarantined: {len(manifest.quarantined)}")
        for entry in manifest.quarantined[:10]:
            print(f"    {entry['name']}: {entry['reason']}")
