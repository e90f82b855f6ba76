"""A server on 127.0.0.1 that sends the bytes it is told, whatever it is asked."""

from __future__ import annotations

import socketserver
import ssl
import subprocess
import threading
from pathlib import Path
from typing import Any


class BadServer:
    """Sends the same bytes to each request and hangs up; `tokens` says what was sent with them.

    Args:
        answer: Bytes with `{url}` for its own address; empty to hang up; None never to answer.
        certificate: File of key and certificate, to speak TLS.
    """

    def __init__(self, answer: bytes | None, certificate: Path | None = None) -> None:
        self.tokens: list[str] = []
        self.requests = 0
        self.release = threading.Event()
        outer = self
        context = None
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                connection = self.request
                if context is not None:
                    try:
                        connection = context.wrap_socket(connection, server_side=True)
                    except OSError:
                        return
                outer.respond(connection, answer)

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            allow_reuse_address = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                """A client that hangs up is meant to."""

        self._server = Server(("127.0.0.1", 0), Handler)
        scheme = "https" if certificate else "http"
        self.url = f"{scheme}://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> BadServer:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.release.set()
        self._server.shutdown()
        self._server.server_close()

    def respond(self, connection: Any, answer: bytes | None) -> None:
        head = b""
        tls = b"\x16"  # the first byte of a handshake, which a plain server does not understand
        while (
            b"\r\n\r\n" not in head
            and not head.startswith(tls)
            and (part := connection.recv(65536))
        ):
            head += part
        self.requests += 1
        lines = head.decode("latin-1").split("\r\n")
        self.tokens += [line for line in lines if line.lower().startswith("authorization:")]
        if answer is None:
            self.release.wait(20)
        else:
            connection.sendall(answer.replace(b"{url}", self.url.encode()))
        if isinstance(connection, ssl.SSLSocket):
            connection.close()


def http(status: str, body: bytes = b"", *headers: str, length: int | None = None) -> bytes:
    """An answer of HTTP/1.1."""
    size = len(body) if length is None else length
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {size}", "Connection: close", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def make_certificate(path: Path) -> Path:
    """A certificate for 127.0.0.1 that nobody has signed, with its key."""
    key = path.with_suffix(".key")
    subprocess.run(
        [
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
            "-nodes", "-keyout", str(key), "-out", str(path), "-days", "2", "-subj",
            "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1",
        ],
        check=True,
        capture_output=True,
    )  # fmt: skip
    path.write_bytes(key.read_bytes() + path.read_bytes())
    return path
