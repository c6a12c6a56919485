"""A proxy before a server of the loopback, which answers some requests wrongly: for tests of what a network may do."""

import contextlib
import http.client
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

DENIED = ("AccessDenied", 403, "Access Denied")
UNKNOWN = ("Unauthorized", 401, "Request had no valid credentials")
EXPIRED = ("ExpiredToken", 400, "The provided token has expired.")
INTERNAL = ("InternalError", 500, "We encountered an internal error. Please try again.")
REGION = ("AuthorizationHeaderMalformed", 400, "The authorization header is malformed; the region 'x' is wrong")
SKEWED = ("RequestTimeTooSkewed", 403, "The difference between the request time and the current time is too large.")
FULL = ("XMinioStorageFull", 507, "Storage backend has reached its minimum free drive threshold.")
MOVED = ("PermanentRedirect", 301, "The bucket must be addressed using the specified endpoint")
INVALID = ("invalid", 400, "invalid argument")  # gcsfs raises a ValueError where it finds that word
UNMET = ("PreconditionFailed", 412, "At least one of the pre-conditions you specified did not hold")  # MinIO's words
CUT, SLOW = "cut", "slow"


class Proxy(ThreadingHTTPServer):
    """Passes requests on to a port.

    Attributes:
      faults: answers to the next requests, one each, in the place of what the server says; None passes one on.
      always: the answer to all others; None passes them on.
      methods: of the requests that are answered so; without any, all.
      page: most keys of an answer to a listing; 0 leaves it to the server.
      seen: methods and paths of the requests so far.
    """

    daemon_threads = True
    request_queue_size = 100

    def __init__(self, port: int):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.port, self.faults, self.always, self.seen = port, [], None, []
        self.page, self.lock, self.methods = 0, threading.Lock(), set()

    def handle_error(self, request, client_address):
        """Says nothing of connections that were cut."""

    @contextlib.contextmanager
    def answering(self, *faults, always=None) -> Iterator[None]:
        self.faults, self.always, self.seen = list(faults), always, []
        try:
            yield
        finally:
            self.faults, self.always = [], None


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        with self.server.lock:
            self.server.seen.append(f"{self.command} {self.path}")
            fault = None
            if not self.server.methods or self.command in self.server.methods:
                fault = self.server.faults.pop(0) if self.server.faults else self.server.always
        if isinstance(fault, tuple):
            code, status, words = fault
            text = f"<Error><Code>{code}</Code><Message>{words}</Message></Error>".encode()
            self._answer(status, {"Content-Type": "application/xml"}, text)
            return
        if fault == SLOW:
            time.sleep(0.3)
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port)
        paged = self.server.page and "list-type=2" in self.path and "max-keys" not in self.path
        path = f"{self.path}&max-keys={self.server.page}" if paged else self.path
        connection.request(self.command, path, body, dict(self.headers))
        answer = connection.getresponse()
        self._answer(answer.status, dict(answer.getheaders()), answer.read(), cut=fault == CUT)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _handle

    def _answer(self, status: int, headers: dict[str, str], body: bytes, cut: bool = False) -> None:
        self.send_response(status)
        headers.setdefault("Content-Length", str(len(body)))
        for name, value in headers.items():
            if name.lower() not in ("connection", "transfer-encoding", "server", "date"):
                self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[: len(body) // 2] if cut else body)
        if cut:
            self.wfile.flush()
            self.close_connection = True

    def log_message(self, *_) -> None:
        """Prints nothing."""


@contextlib.contextmanager
def proxy(port: int) -> Iterator[Proxy]:
    """Runs a proxy before a port."""
    server = Proxy(port)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
