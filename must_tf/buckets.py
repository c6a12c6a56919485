"""Paths in buckets, such as `s3://bucket/folder`: the part of `pathlib` that is needed, through fsspec.

Every call is retried with a growing pause where a network or a server failed. What is left becomes a `UserError` that
names the URL and the remedy. Credentials are those of the environment, as the libraries of the stores find them.
"""

import contextlib
import errno
import functools
import http
import json
import logging
import os
import re
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from must_tf.errors import UserError, one_line

URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
WAITS = (0.2, 1.0, 4.0, 10.0)  # seconds between the tries of a call

# What stands before the `@` of a URL: `user:password` or, in a bucket's place, `key:secret`, in which a slash may be.
_CREDENTIALS = re.compile(r"([\w+.-]+:/{1,2})(?:[^/]*@|(?!arn:)[^/]*:.*@)")
_PACKAGES = {"s3": "s3fs", "gs": "gcsfs", "az": "adlfs", "memory": "fsspec"}
SCHEMES = tuple(_PACKAGES)
_CONNECTS, _READS = 10, 60  # seconds for which a store may be silent: a host may have been cut off
_OPTIONS: dict[str, dict[str, Any]] = {  # a listing is never an old one
    "s3fs": {
        "use_listings_cache": False,
        "config_kwargs": {
            "retries": {"total_max_attempts": 1},  # calls are tried again here alone
            "max_pool_connections": 64,  # else 10
            "connect_timeout": _CONNECTS,
            "read_timeout": _READS,
        },
    },
    "gcsfs": {"use_listings_cache": False},
    "adlfs": {"use_listings_cache": False},
}
_WHOLE = {"s3": {"max_concurrency": 1}}  # else it asks for the size of each first
_LIBRARIES = (
    "aiobotocore",
    "aiohttp",
    "adlfs",
    "asyncio",
    "azure",
    "botocore",
    "fsspec",
    "gcsfs",
    "google",
    "requests",
    "s3fs",
    "urllib3",
)
_ABSENT = (FileNotFoundError, NotADirectoryError, IsADirectoryError, FileExistsError)
_LASTING = (errno.EINVAL, errno.EPERM, errno.ENOSYS, errno.EREMCHG, errno.ENAMETOOLONG, errno.EMSGSIZE)
_FULL = re.compile(r"storage ?full|quota|insufficient ?storage|no space|minimum free", re.IGNORECASE)
_REGION = re.compile(r"region|endpoint|location constraint|\b301\b", re.IGNORECASE)
_SKEWED = re.compile(r"request time|skew", re.IGNORECASE)
_INVALID = re.compile(r"invalid bucket", re.IGNORECASE)
_DENIED = (http.HTTPStatus.UNAUTHORIZED, http.HTTPStatus.FORBIDDEN)
_VARIABLES = "AWS_..., GOOGLE_APPLICATION_CREDENTIALS, AZURE_STORAGE_..."
_ELSEWHERE = "set the region of the bucket, as AWS_REGION, or its address, as AWS_ENDPOINT_URL"
_NO_CREDENTIALS = re.compile(r"credentials|profile|token|\b40[13]\b", re.IGNORECASE)


def without_credentials(url: str) -> str:
    """Returns a URL for a message: `...` stands for what is before its `@`."""
    return _CREDENTIALS.sub(r"\1...@", url, count=1)


class State(NamedTuple):
    """What a store says of an object.

    Attributes:
      st_size: bytes.
      tag: changes with the content; empty where the store has no such thing.
    """

    st_size: int
    tag: str


class Remote:
    """A file or folder in a bucket, with those methods of `pathlib.Path` that are used here.

    There are no folders in buckets: what has other keys below it is one, and none needs to be made.

    Args:
      url: `SCHEME://BUCKET/KEY`.

    Raises:
      UserError: no such scheme, its package is not installed, no bucket, or the URL holds credentials.
    """

    def __init__(self, url: str):
        found = URL.match(url)
        if found is None:
            raise ValueError(url)
        self.scheme, self.key = found[1].lower(), url[found.end() :].rstrip("/")
        if _CREDENTIALS.match(url):
            raise UserError(f"{without_credentials(url)}: holds credentials; leave them to the environment")
        if self.scheme not in _PACKAGES:
            known = ", ".join(f"{name}://" for name in SCHEMES)
            raise UserError(f"{url}: is not a local path, nor one of {known}")
        if not self.key.partition("/")[0]:
            raise UserError(f"{url}: names no bucket; expected {self.scheme}://BUCKET/PATH")

    def __str__(self) -> str:
        return f"{self.scheme}://{self.key}"

    def __repr__(self) -> str:
        return f"Remote({str(self)!r})"

    def __fspath__(self) -> str:
        raise UserError(f"{self}: is not a local path; copy it to one, or mount the bucket")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Remote) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))

    def __lt__(self, other: "Remote") -> bool:
        return str(self) < str(other)

    def __truediv__(self, name: object) -> "Remote":
        return Remote(f"{self}/{name}")

    @property
    def name(self) -> str:
        """The last part of the key."""
        return self.key.rpartition("/")[2]

    @property
    def suffix(self) -> str:
        """The end of the name, from its last point on."""
        return Path(self.name).suffix

    @property
    def parent(self) -> "Remote":
        """The folder that it is in; that of a bucket is itself."""
        return Remote(f"{self.scheme}://{self.key.rpartition('/')[0] or self.key}")

    @property
    def parents(self) -> list["Remote"]:
        """The folders that it is in, the innermost first and the bucket last."""
        return [self.parent, *self.parent.parents] if self.parent != self else []

    def with_name(self, name: str) -> "Remote":
        """Returns what is beside it under another name."""
        return self.parent / name

    # What is there

    def stat(self) -> State:
        """Returns size and tag of an object; raises a `FileNotFoundError` where there is none."""
        told = self._call("info", self.key)
        if told["type"] != "file":
            raise IsADirectoryError(errno.EISDIR, "is a folder", str(self))
        return State(told["size"], _tag(told))

    def is_file(self) -> bool:
        """Whether there is an object of this key."""
        return self._type() == "file"

    def is_dir(self) -> bool:
        """Whether there are objects below this key."""
        return self._type() == "directory"

    def exists(self) -> bool:
        """Whether it is an object or a folder."""
        return bool(self._type())

    def iterdir(self) -> Iterator["Remote"]:
        """Yields what is in a folder; nothing where there is none."""
        try:
            found = self._call("ls", self.key, detail=False)
        except _ABSENT:
            return
        for key in found:
            if key.strip("/") != self.key:  # stores list a file as its own folder
                yield Remote(f"{self.scheme}://{key.strip('/')}")

    def files(self) -> dict[str, State]:
        """Returns {key relative to this one: state} of all objects below it, in the order of their keys, each once."""
        try:
            found = self._call("find", self.key, detail=True)
        except _ABSENT:
            return {}
        listed = {key.lstrip("/").removeprefix(self.key): told for key, told in found.items()}
        return {
            key.lstrip("/"): State(told["size"], _tag(told))
            for key, told in sorted(listed.items())
            if key.startswith("/") and not key.endswith("/")  # programs that show folders make objects for them
        }

    def _type(self) -> str:
        try:
            return self._call("info", self.key)["type"]
        except _ABSENT:
            return ""

    # Reading and writing

    def read_bytes(self, most: int | None = None) -> bytes:
        """Returns the content of an object, or its first bytes where it has more than `most`."""
        cut = most is not None and self.stat().st_size > most
        return self._call("cat_file", self.key, **({"end": most} if cut else _WHOLE.get(self.scheme, {})))

    def read_text(self) -> str:
        """Returns the content of an object in UTF-8."""
        return self.read_bytes().decode()

    def get(self, path: Path) -> State:
        """Copies an object to a local file, checks that it came whole, and returns its state."""
        state = self.stat()
        for _ in WAITS:
            self._call("get_file", self.key, str(path))
            if path.stat().st_size == state.st_size:
                return state
        size = path.stat().st_size
        raise UserError(f"{self}: comes with {size} bytes of {state.st_size}; run the same command again")

    def put(self, path: Path) -> None:
        """Copies a local file to an object, whole or not at all; one that is there is replaced."""
        self._written("put_file", str(path), self.key)

    def write_bytes(self, data: bytes) -> None:
        """Writes an object, whole or not at all; one that is there is replaced."""
        self._written("pipe_file", self.key, data)

    def create(self, data: bytes) -> None:
        """Writes a new object; raises a `FileExistsError` where there is one, as the store decides."""
        self._written("pipe_file", self.key, data, mode="create")

    def replace(self, data: bytes, tag: str) -> None:
        """Writes an object in the place of the one that has this tag.

        S3, Google's store and Azure see to that themselves. Some that speak as they do know no such condition: who
        calls has looked before.

        Raises:
          FileExistsError: another object is there, or none.
          FileNotFoundError: none is there.
        """
        if tag and self.scheme in _REPLACING:
            operation, arguments, options = _REPLACING[self.scheme](self.key, data, tag)
            with contextlib.suppress(UserError):  # the condition is not known, or the write below says what is wrong
                self._call(operation, *arguments, **options)
                return
        self.write_bytes(data)

    def unlink(self, missing_ok: bool = False) -> None:
        """Deletes an object."""
        try:
            self._call("rm_file", self.key)
        except FileNotFoundError:
            if not missing_ok:
                raise

    def _written(self, operation: str, *arguments: Any, **options: Any) -> None:
        try:
            self._call(operation, *arguments, **options)
        except FileNotFoundError:
            raise UserError(f"{self}: no such bucket; make it, or give the name of one that is there") from None

    def _call(self, operation: str, *arguments: Any, **options: Any) -> Any:
        """Calls a function of the store, and again where it failed for a while."""
        call: Callable = getattr(_store(self.scheme, os.getpid()), operation)
        waits = () if self.scheme in ("gs", "az") else WAITS  # their libraries try again by themselves
        for wait in (*waits, None):
            try:
                return call(*arguments, **options)
            except _ABSENT:
                raise
            except RecursionError:  # botocore's, where a store sends it elsewhere without saying where to
                raise UserError(f"{self}: the bucket is elsewhere; {_ELSEWHERE}") from None
            except Exception as error:  # each store raises those of its own libraries
                status = _status(error)
                if status == http.HTTPStatus.PRECONDITION_FAILED:
                    raise FileExistsError(errno.EEXIST, "another object is there", str(self)) from None
                if status == http.HTTPStatus.NOT_FOUND:  # Azure's, where there is no such container
                    raise FileNotFoundError(errno.ENOENT, "no such object", str(self)) from None
                if isinstance(error, UnicodeEncodeError):
                    raise UserError(f"{str(self)!r}: its name is not UTF-8, as stores need; rename it") from None
                if not _is_of_store(error):
                    raise
                if getattr(error, "filename", None) or getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
                    raise  # of this machine
                remedy = _remedy(error)
                if remedy or wait is None:
                    remedy = remedy or "is the store there? The same command continues the work"
                    raise UserError(f"{self}: {_words(error)}; {remedy}") from None
                time.sleep(wait)
        raise AssertionError


@functools.cache
def _store(scheme: str, process: int) -> Any:
    """Returns the store of a scheme; one per process, for all its threads."""
    package = _PACKAGES[scheme]
    try:
        import fsspec

        logging.getLogger(package).setLevel(logging.CRITICAL)  # it also logs the errors that it raises
        options = dict(_OPTIONS.get(package, {}))
        if package == "gcsfs":  # which would wait for an answer for ever
            import aiohttp

            options["requests_timeout"] = aiohttp.ClientTimeout(sock_connect=_CONNECTS, sock_read=_READS)
        return fsspec.filesystem(scheme, skip_instance_cache=True, **options)
    except ImportError:
        more = f"pip install {package}" if package == "adlfs" else "pip install 'must_tf[cloud]'"
        raise UserError(f"{scheme}://: needs the package {package}, which is not installed; {more}") from None
    except ValueError as error:  # adlfs looks for credentials at once
        raise UserError(f"{scheme}://: {one_line(error)}; set it in the environment ({_VARIABLES})") from None


Call = tuple[str, tuple[Any, ...], dict[str, Any]]  # a function of a store, and its arguments


def _in_s3(key: str, data: bytes, tag: str) -> Call:
    return "pipe_file", (key, data), {"IfMatch": f'"{tag}"'}


def _in_google(key: str, data: bytes, tag: str) -> Call:
    bucket, _, name = key.partition("/")
    where = _store("gs", os.getpid()).base.replace("/storage/", "/upload/storage/", 1)  # gcsfs writes without it
    part, name_as_json = b"--part\nContent-Type: %s\n\n%s\n", json.dumps({"name": name}).encode()
    body = part % (b"application/json", name_as_json) + part % (b"application/octet-stream", data) + b"--part--"
    options = {"uploadType": "multipart", "headers": {"Content-Type": 'multipart/related; boundary="part"'}}
    return "call", ("POST", where + "b/{}/o", bucket), options | {"ifGenerationMatch": tag, "data": body}


def _in_azure(key: str, data: bytes, tag: str) -> Call:
    from azure.core import MatchConditions

    return "pipe_file", (key, data), {"etag": f'"{tag}"', "match_condition": MatchConditions.IfNotModified}


_REPLACING: dict[str, Callable[[str, bytes, str], Call]] = {"s3": _in_s3, "gs": _in_google, "az": _in_azure}


def _status(error: Exception) -> int | None:
    """Returns the status of what S3 or Azure answered.

    s3fs tells an unmet condition only by a field that AWS alone sends.
    """
    answer = getattr(error.__cause__, "response", None)
    if isinstance(answer, dict):
        return answer.get("ResponseMetadata", {}).get("HTTPStatusCode")
    return getattr(error, "status_code", None)


def _is_of_store(error: Exception) -> bool:
    """Whether an error is of a store, a network or a file, and not of the call.

    gcsfs makes a `ValueError` of answers with "invalid" in them, and what is no JSON or no URL makes one, too.
    """
    if isinstance(error, OSError) or type(error).__module__.partition(".")[0] in _LIBRARIES:
        return True
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    raised_in = frame.f_globals.get("__name__", "").partition(".")[0]
    return isinstance(error, ValueError) and raised_in in (*_LIBRARIES, "json", "urllib")


def _tag(told: dict[str, Any]) -> str:
    """Returns what tells that an object is another one: Google's generation, or the tag."""
    return str(told.get("generation") or told.get("ETag") or told.get("etag") or "").strip('"')


def _words(error: Exception) -> str:
    """Returns what a store says of an error, without the numbers of operating systems."""
    return one_line(Exception(error.strerror) if isinstance(error, OSError) and error.strerror else error)


def _remedy(error: Exception) -> str:
    """Returns what a user can do about an error that stays; empty for one that may pass."""
    text = str(error)
    if _FULL.search(text):
        return "make room in the store, and the same command continues the work"
    if _INVALID.search(text):
        return "give the name of a bucket behind ://"
    if _SKEWED.search(text):
        return "set the clock of this machine"
    lasting = isinstance(error, PermissionError) or getattr(error, "errno", None) in _LASTING
    if lasting and _REGION.search(text):
        return _ELSEWHERE
    denied = isinstance(error, PermissionError) or text.startswith("Forbidden") or _status(error) in _DENIED
    if denied or (not isinstance(error, OSError) and _NO_CREDENTIALS.search(text)):
        return f"give credentials that may do this in the environment ({_VARIABLES})"
    return "check the credentials and the region in the environment" if lasting else ""
