"""A web server on 127.0.0.1 that misbehaves as it is told."""

from __future__ import annotations

import hashlib
import json
import threading
from collections import Counter
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit


@dataclass
class Served:
    """A file, and how it is served. Whatever is counted concerns GET requests.

    Attributes:
        content: The file.
        etag: Its strong ETag; empty for none.
        ranges: Whether `Range` is heeded.
        cuts: Bytes of body after which the connection is cut, one a request.
        statuses: Statuses answered before the file is served, one a request.
        retry_after: Seconds that go with these statuses.
        length: The Content-Length told, if it is not the truth; 0 sends none.
        headers: Further headers.
        head: Whether HEAD is answered.
        changes: From the second request on, content and ETag are these.
        compressed: Told as gzip.
        stalls: Whether it waits for `release` after the content.
    """

    content: bytes
    etag: str = '"one"'
    ranges: bool = True
    cuts: list[int] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    retry_after: str = ""
    length: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    head: bool = True
    changes: tuple[bytes, str] | None = None
    compressed: bool = False
    stalls: bool = False


class FileServer:
    """Serves files; `requests`, `ranges` and `tokens` say what was asked for, and with what, and
    `sent` how many bytes of files went out.

    Args:
        files: By path, without the leading slash.
    """

    def __init__(self, files: dict[str, Served] | None = None) -> None:
        self.files = files or {}
        self.trees: dict[str, list[dict[str, object]]] = {}
        self.requests: Counter[str] = Counter()
        self.ranges: list[str | None] = []
        self.tokens: set[str | None] = set()
        self.sent = 0
        self.gate: threading.Event | None = None
        self.release = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_HEAD(self) -> None:
                outer.answer(self, body=False)

            def do_GET(self) -> None:
                outer.answer(self, body=True)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.handle_error = lambda *_: None  # a client that hangs up is meant to
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> FileServer:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def add_tree(self, repo: str, revision: str, folder: str, files: dict[str, bytes]) -> None:
        """A folder of a Hub repository: its listing, and its files."""
        self.trees[f"api/datasets/{repo}/tree/{revision}/{folder}"] = [
            {
                "type": "file",
                "path": f"{folder}/{path}",
                "size": len(content),
                "oid": "0" * 40,
                "lfs": {
                    "oid": hashlib.sha256(content).hexdigest(),
                    "size": len(content),
                    "pointerSize": 130,
                },
            }
            for path, content in files.items()
        ]
        for path, content in files.items():
            self.files[f"datasets/{repo}/resolve/{revision}/{folder}/{path}"] = Served(content)

    def answer(self, handler: BaseHTTPRequestHandler, *, body: bool) -> None:
        path = unquote(urlsplit(handler.path).path.lstrip("/"))
        self.requests[f"{handler.command} {path}"] += 1
        self.tokens.add(handler.headers.get("Authorization"))
        served = self.files.get(path)
        if path in self.trees:
            content = json.dumps(self.trees[path]).encode()
            self._send(handler, 200, {"Content-Type": "application/json"}, content, body)
        elif served is None:
            self._send(handler, 404, {}, b"", body)
        elif body:
            if self.gate is not None:
                self.gate.wait(10)
            self._get(handler, served)
        elif served.head:
            length = len(served.content) if served.length is None else served.length
            self._head(handler, 200, self._headers(served), length)
        else:
            self._send(handler, 405, {}, b"", body)

    def _get(self, handler: BaseHTTPRequestHandler, served: Served) -> None:
        wanted, condition = handler.headers.get("Range"), handler.headers.get("If-Range")
        self.ranges.append(wanted)
        if served.changes and len(self.ranges) > 1:
            served.content, served.etag = served.changes
        size, first, status, headers = len(served.content), 0, 200, self._headers(served)
        last = size - 1
        if wanted and served.ranges and condition in (None, served.etag):
            begin, _, end = wanted.removeprefix("bytes=").partition("-")
            first, status = int(begin), 206
            last = min(int(end), size - 1) if end else size - 1
            headers["Content-Range"] = f"bytes {first}-{last}/{size}"
            if first >= size:
                status, headers["Content-Range"] = 416, f"bytes */{size}"
        if served.statuses:
            status = served.statuses.pop(0)
            headers = {"Retry-After": served.retry_after} if served.retry_after else {}
        if status >= 400:
            self._send(handler, status, headers, b"", True)
            return
        rest = served.content[first : last + 1]
        self.sent += len(rest)
        length = len(rest) if served.length is None else served.length
        self._head(handler, status, headers, length)
        if served.cuts:
            rest = rest[: served.cuts.pop(0)]
        if length != len(rest):
            handler.close_connection = True
        handler.wfile.write(rest)
        if served.stalls:
            self.release.wait(30)

    def _headers(self, served: Served) -> dict[str, str]:
        headers = dict(served.headers)
        if served.etag:
            headers["ETag"] = served.etag
        if served.compressed:
            headers["Content-Encoding"] = "gzip"
        return headers

    def _send(
        self,
        handler: BaseHTTPRequestHandler,
        status: int,
        headers: dict[str, str],
        content: bytes,
        body: bool,
    ) -> None:
        self._head(handler, status, headers, len(content))
        if body:
            handler.wfile.write(content)

    @staticmethod
    def _head(
        handler: BaseHTTPRequestHandler, status: int, headers: dict[str, str], length: int
    ) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        if length:
            handler.send_header("Content-Length", str(length))
        elif status == 200 and handler.command == "GET":
            handler.close_connection = True  # the end of the connection is the end of the file
        else:
            handler.send_header("Content-Length", "0")
        handler.end_headers()
