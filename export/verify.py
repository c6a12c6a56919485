"""Verifies an export: its files have the SHA-256 that its card lists, and its architecture can be read."""

import os
from typing import Any

from must_tf.integrity import check_export
from must_tf.saving import read_architecture


def verify(where: str | os.PathLike, under: str = "") -> dict[str, Any]:
    """Checks an export against its card before anything of it is loaded.

    Args:
      where: the export.
      under: a folder or file of it, as `keras`; by default all of it is checked.

    Returns:
      What card.json holds.

    Raises:
      UserError: no export; a card or an architecture that is damaged; a name that points out of the folder; a file
        that is missing, cut short or of another SHA-256.
    """
    card = check_export(where, under)
    read_architecture(where)
    return card
