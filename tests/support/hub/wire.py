"""Requests, answers and faults of the local Hub."""

from __future__ import annotations

import json
import re
import socket
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from urllib.parse import parse_qsl, unquote, urlsplit

Origin = Literal["hub", "storage"]
Kind = Literal["status", "cut", "lose", "halve", "damage"]


@dataclass(frozen=True)
class Request:
    """What a client sent.

    Attributes:
        path: Without the query, still quoted: a revision may hold a quoted slash.
        headers: With names in lower case.
    """

    origin: Origin
    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def token(self) -> str | None:
        scheme, _, token = self.headers.get("authorization", "").partition(" ")
        return token if scheme == "Bearer" else None


@dataclass
class Response:
    """What the client gets."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


def as_json(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    content = {"Content-Type": "application/json", **(headers or {})}
    return Response(status, content, json.dumps(value).encode())


def refuse(status: int, message: str, code: str | None = None) -> Response:
    """An error as the Hub words it: for people in one header, for programs in another."""
    headers = {"X-Error-Message": message, **({"X-Error-Code": code} if code else {})}
    return as_json({"error": message}, status, headers)


def flip_last_bit(body: bytes) -> bytes:
    return body[:-1] + bytes([body[-1] ^ 1])


@dataclass
class Fault:
    """What goes wrong with requests of one kind.

    `status`: answered with a status, nothing done. `cut`: the connection ends before anything is
    done. `lose`: it is done, and the connection ends instead of the answer. `halve`: it ends in
    the middle of the answer's body. `damage`: the body is another than the headers say.

    Attributes:
        times: How many requests it hits; None is all.
        meanwhile: Is called first: what somebody else does at that moment.
        damage: What becomes of the body.
    """

    method: str
    pattern: str
    kind: Kind | None
    times: int | None = 1
    status: int = 503
    headers: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    meanwhile: Callable[[], object] | None = None
    damage: Callable[[bytes], bytes] = flip_last_bit

    def hits(self, method: str, path: str) -> bool:
        return (
            self.times != 0
            and method == self.method
            and re.search(self.pattern, unquote(path)) is not None
        )


class Server(ThreadingHTTPServer):
    """Clients that are killed are what some tests are about: no traceback for them."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    """Reads a request, lets the fault happen that was asked for, and answers."""

    # Connections are kept, as the Hub does.
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    origin: Origin
    take_fault: Callable[[str, str], Fault | None]
    respond: Callable[[Request], Response]

    def do_GET(self) -> None:
        self._serve()

    do_HEAD = do_POST = do_PUT = do_DELETE = do_GET

    def log_message(self, *_: object) -> None:
        pass

    def _serve(self) -> None:
        address = urlsplit(self.path)
        fault = self.take_fault(self.command, address.path)
        kind = fault.kind if fault else None
        if fault:
            time.sleep(fault.seconds)
            if fault.meanwhile:
                fault.meanwhile()
        if kind == "cut":
            self.rfile.read(min(1024, int(self.headers.get("Content-Length", 0))))
            return self._hang_up()
        body = self._body()
        if fault and kind == "status":
            refused = refuse(fault.status, "The server was told to fail.")
            return self._answer(Response(fault.status, {**refused.headers, **fault.headers}))
        query = dict(parse_qsl(address.query, keep_blank_values=True))
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.origin, self.command, address.path, query, headers, body)
        response = self.respond(request)
        if kind == "lose":
            return self._hang_up()
        if fault and kind == "damage" and response.body:
            response.body = fault.damage(response.body)
        self._answer(response, halve=kind == "halve")
        return None

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            length = int(self.headers.get("Content-Length", 0))
            body = self.rfile.read(length)
            if len(body) < length:
                raise ConnectionAbortedError("The client ended in the middle of a request.")
            return body
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _answer(self, response: Response, *, halve: bool = False) -> None:
        self.send_response(response.status)
        for name, value in response.headers.items():
            self.send_header(name, value)
        if "Content-Length" not in response.headers:
            self.send_header("Content-Length", str(len(response.body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        self.wfile.write(response.body[: len(response.body) // 2] if halve else response.body)
        if halve:
            self._hang_up()

    def _hang_up(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)
