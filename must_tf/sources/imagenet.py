"""ImageNet (ILSVRC 2012) as it is unpacked for training: a folder a class, named by its WordNet id."""

from must_tf.errors import UserError
from must_tf.records import Record
from must_tf.sources.layout import existing, names_in, open_layout, split_spec
from must_tf.sources.source import Source
from must_tf.tasks import Classification

_GET = (
    "get ILSVRC2012_img_train.tar from image-net.org, unpack each of the archives in it into a folder of its name (of "
    "ILSVRC2012_img_val.tar, sort the images into such folders), and name the place: imagenet:ImageNet/train, with "
    "n01440764/*.JPEG in it"
)


def open_imagenet(spec: str, images_per_shard: int, max_pixels: int) -> Source:
    """Opens `FOLDER/SPLIT`: the class of an image is its folder's; classes are in the order of the folders' names.

    Raises:
      UserError: no such folders, with where to get them.
    """
    folder, (split,) = split_spec("imagenet", spec, 1, _GET)
    root = existing(folder / split, f"imagenet:{spec}", _GET)
    classes = tuple(sorted(place.name for place in root.iterdir() if place.is_dir()))
    items = [
        (str(root / name / file), number)
        for number, name in enumerate(classes)
        for file in names_in(root / name, [".jpeg", ".jpg", ".png"])
    ]
    if not items:
        raise UserError(f"imagenet:{spec}: no image in a folder of a class in {root}; {_GET}")
    return open_layout(items, Classification("imagenet", classes), read_class, images_per_shard, max_pixels)


def read_class(record: Record, source: int) -> int:
    """Returns the class, which the image's folder tells."""
    return source
