"""Servers of objects on this machine: moto, which speaks S3, and small ones that are wrong in one way each."""

import http.server
import logging
import os
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import obstore
import pytest
from moto.server import ThreadedMotoServer
from obstore.store import S3Store

from storage.object_store import ENDPOINTS


@contextmanager
def running_moto(bucket: str) -> Iterator[str]:
    """The address of a whole S3 server that has one bucket."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    address = f"http://{host}:{port}"
    try:
        with urllib.request.urlopen(urllib.request.Request(f"{address}/{bucket}", method="PUT")):
            yield address
    finally:
        server.stop()


def emptied(bucket: str, server: str) -> S3Store:
    """A bucket of a server, with nothing in it."""
    store = S3Store(bucket, config={"endpoint": server}, client_options={"allow_http": True})
    for name in names_in(store):
        obstore.delete(store, name)
    return store


def names_in(bucket: S3Store) -> list[str]:
    """The keys of all objects."""
    return [found["path"] for page in obstore.list(bucket) for found in page]


def forget_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the environment says of servers and keys."""
    for name in [name for name in os.environ if name.startswith("AWS_") or name in ENDPOINTS]:
        monkeypatch.delenv(name)


@dataclass
class OddServer:
    """Keeps objects, and does what it likes: `refusal` answers everything, `refuses_conditions` those with a header.

    It never looks at If-None-Match, and says that objects are `short` bytes smaller than they are.
    """

    short: int = 0
    refusal: tuple[int, str] | None = None
    refuses_conditions: bool = False
    objects: dict[str, bytes] = field(default_factory=dict)
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    """Methods, each with its If-None-Match."""

    @contextmanager
    def running(self) -> Iterator[str]:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    def _handler(self) -> type[http.server.BaseHTTPRequestHandler]:
        odd = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                condition = self.headers.get("If-None-Match")
                odd.asked.append((self.command, condition))
                content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                if odd.refusal is not None:
                    return self.send(odd.refusal[0], odd.refusal[1].encode())
                if odd.refuses_conditions and condition:
                    return self.send(501, b"<Error><Code>NotImplemented</Code></Error>")
                if self.command == "PUT":
                    odd.objects[self.path] = content
                elif self.command == "DELETE":
                    odd.objects.pop(self.path, None)
                elif self.path not in odd.objects:
                    return self.send(404, b"<Error><Code>NoSuchKey</Code></Error>")
                return self.send(200, odd.objects.get(self.path, b""))

            do_PUT = do_HEAD = do_DELETE = do_GET = answer  # noqa: N815

            def send(self, status: int, content: bytes) -> None:
                head = self.command == "HEAD"
                self.send_response(status)
                self.send_header("ETag", f'"{hash(content)}"')
                self.send_header("Last-Modified", "Wed, 25 Nov 2026 12:00:00 GMT")
                self.send_header("Content-Length", str(len(content) - odd.short if head else len(content)))
                self.end_headers()
                if not head:
                    self.wfile.write(content)

            def log_message(self, format: str, *args: object) -> None:
                return

        return Handler
