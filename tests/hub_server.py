"""As much of the Hugging Face Hub as reading a model takes, on 127.0.0.1."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Collection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REVISIONS = {"main", "v1", COMMIT}


class Hub:
    """Serves folders as model repositories.

    Args:
        repositories: Folder by repository name. Only files in it are served.
        damaged: Repositories whose weights lose a bit the first time they are sent.
    """

    def __init__(self, repositories: dict[str, Path], damaged: Collection[str] = ()) -> None:
        self.repositories = repositories
        self.damaged = set(damaged)
        self.requests: list[tuple[str, str]] = []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                self._answer(body=False)

            def do_GET(self) -> None:
                self._answer(body=True)

            def log_message(self, *_: object) -> None:
                pass

            def _answer(self, *, body: bool) -> None:
                hub.requests.append((self.command, self.path))
                status, headers, content = hub.respond(self.path, body=body)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                if body:
                    self.wfile.write(content)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Hub:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def respond(self, path: str, *, body: bool) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and content for /org/name/resolve/revision/file."""
        org, name, action, revision, *rest = [*path.strip("/").split("/"), "", "", "", ""]
        folder = self.repositories.get(f"{org}/{name}")
        if folder is None or action != "resolve":
            return 404, {"X-Error-Code": "RepoNotFound"}, b""
        if revision not in REVISIONS:
            return 404, {"X-Error-Code": "RevisionNotFound"}, b""
        file = folder / rest[0]
        if not file.is_file():
            headers = {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT}
            return 404, headers, b""
        content = file.read_bytes()
        # The Hub names a large file by its SHA-256 and a small one by git's SHA-1.
        large = file.suffix == ".safetensors"
        git = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False)
        etag = hashlib.sha256(content).hexdigest() if large else git.hexdigest()
        if body and large and f"{org}/{name}" in self.damaged:
            self.damaged.remove(f"{org}/{name}")
            content = content[:-1] + bytes([content[-1] ^ 1])
        return 200, {"X-Repo-Commit": COMMIT, "ETag": f'"{etag}"'}, content
