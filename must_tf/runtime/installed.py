"""Tells by a SHA-256 whether machines that work together have the same must_tf.

It imports nothing of this package at its top: it also runs, by value, where there is another one or none.
"""

import hashlib
from pathlib import Path


def installed_code() -> str:
    """Returns which must_tf is installed here, by its version and the SHA-256 of its files."""
    try:
        import must_tf
    except ImportError:
        return "no must_tf"
    home, digest = Path(must_tf.__path__[0]), hashlib.sha256()
    for name in sorted(path.relative_to(home) for path in home.rglob("*.py")):
        if name.parts[0] not in ("experiments", "export"):  # of a checkout, they lie elsewhere
            digest.update(b"%s %s" % (name.as_posix().encode(), hashlib.sha256((home / name).read_bytes()).digest()))
    return f"must_tf {must_tf.__version__} with code {digest.hexdigest()[:8]}"
