"""Puts the images of records beside their labels: copies of the stored bytes, links to the files, or nothing."""

from pathlib import Path

from must_tf.convert.format import put
from must_tf.errors import UserError
from must_tf.records import Manifest, Record
from must_tf.records.schema import is_inside

COPY, LINK, NONE = MODES = ("copy", "link", "none")


class Images:
    """The image files of a folder that is written.

    Attributes:
      stored: how many images could not be linked, because the record holds other bytes than the file: those of a TIFF
        or of a turned JPEG. Their stored bytes are copied, which the labels fit.

    Args:
      mode: `copy` writes the stored bytes, `link` links to the files under `root`, `none` leaves images where they are.
      root: the folder that the file names are relative to; only for `link`.
    """

    def __init__(self, mode: str, root: Path | None):
        self._mode, self._root = mode, root
        self.stored = 0

    def put(self, record: Record, path: Path) -> None:
        """Puts an image at a path.

        Raises:
          UserError: the file that is to be linked is not there.
        """
        if self._mode == COPY:
            put(path, record.encoded)
        elif self._mode == LINK:
            self._link(record, path)

    def _link(self, record: Record, path: Path) -> None:
        assert self._root is not None
        if not is_inside(record.filename):
            raise UserError(
                f"record {record.id}: has no file name to link to; --images=copy writes its image, or label again "
                "without --nofilenames"
            )
        file = self._root / record.filename
        if not file.is_file():
            raise UserError(f"{file}: no such file; --root=FOLDER names the folder that the images are in now")
        if file.read_bytes() != record.encoded:
            self.stored += 1
            put(path, record.encoded)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(file.resolve())


def root_of(manifest: Manifest, given: str | None, mode: str) -> Path | None:
    """Returns the folder that file names are relative to, where images are to be linked.

    Args:
      manifest: of the dataset; it says what its images were.
      given: the folder, if it is another one.
      mode: what becomes of the images.

    Raises:
      UserError: no folder is known.
    """
    if mode != LINK:
        if given:
            raise UserError(f"--root={given}: received with --images={mode}; expected with --images=link alone")
        return None
    folder = given or str(manifest.source.get("images", ""))
    if not Path(folder).is_dir() or not folder:
        raise UserError(
            f"--root: {folder!r} is no folder; --images=link needs the folder that the file names are relative to"
        )
    return Path(folder)
