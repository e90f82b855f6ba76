"""The local Hub: two origins, their state, and what to let fail."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from tests.support.hub import api, files, xet
from tests.support.hub.repos import Blob, Repo, User, is_large
from tests.support.hub.wire import (
    Fault,
    Handler,
    Kind,
    Origin,
    Request,
    Response,
    Server,
    flip_last_bit,
    refuse,
)

if TYPE_CHECKING:
    Route = tuple[str, str, Callable[["Hub", Request, re.Match[str]], Response]]

TOKEN = "hf_alice_writes"
USERS = {
    TOKEN: User("alice", {"org": "admin", "readers": "read"}),
    "hf_alice_reads": User("alice", {"org": "admin"}, role="read"),
    "hf_bob_writes": User("bob"),
}


class Hub:
    """Runs on 127.0.0.1 while the block lasts.

    The Hub itself is at `url`; large files lie on another origin, `storage_url`, where the user's
    token must never be sent.

    Args:
        repositories: Public repositories to begin with, as folders by name.

    Attributes:
        requests: Method and path of every request to the Hub itself.
        downloads: Paths of `GET` to the storage.
        writes: What has changed the Hub's state or storage, in order.
        leaks: Requests to the storage that came with a user's token.
    """

    def __init__(self, repositories: Mapping[str, Path] | None = None) -> None:
        self.users = dict(USERS)
        self.repos: dict[str, Repo] = {}
        self.objects: dict[str, bytes] = {}
        self.xet = xet.Store()
        self.requests: list[tuple[str, str]] = []
        self.downloads: list[str] = []
        self.writes: list[str] = []
        self.leaks: list[str] = []
        self._faults: list[Fault] = []
        self._lock = threading.RLock()
        hub = self._server("hub", api.ROUTES + files.ROUTES + xet.ROUTES)
        storage = self._server("storage", files.STORAGE_ROUTES + xet.STORAGE_ROUTES)
        self._servers = [hub, storage]
        self.url = f"http://127.0.0.1:{hub.server_port}"
        # Another name for the same machine: the client takes it for another origin.
        self.storage_url = f"http://localhost:{storage.server_port}"
        for name, folder in (repositories or {}).items():
            self.add(name, folder)

    def __enter__(self) -> Hub:
        for server in self._servers:
            threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()

    def add(self, name: str, folder: Path | None = None, *, private: bool = False) -> Repo:
        """A repository with the files of a folder."""
        repo = self.repos[name] = Repo(name, private)
        if folder is not None:
            self.commit(name, {path.name: path.read_bytes() for path in folder.iterdir()})
        return repo

    def commit(self, name: str, changes: Mapping[str, bytes], title: str = "a commit") -> str:
        """Adds files to `main`, as somebody else would."""
        repo = self.repos[name]
        blobs = {path: Blob(content, is_large(path)) for path, content in changes.items()}
        self.objects |= {blob.sha256: blob.content for blob in blobs.values() if blob.large}
        return repo.commit("main", title, {**repo.head.files, **blobs}).oid

    def fail(
        self,
        method: str,
        pattern: str,
        kind: Kind | None,
        *,
        times: int | None = 1,
        status: int = 503,
        headers: dict[str, str] | None = None,
        seconds: float = 0.0,
        meanwhile: Callable[[], object] | None = None,
        damage: Callable[[bytes], bytes] = flip_last_bit,
    ) -> None:
        """Lets requests fail whose path the pattern is found in; see `Fault`."""
        self._faults.append(
            Fault(method, pattern, kind, times, status, headers or {}, seconds, meanwhile, damage)
        )

    def files_asked(self) -> set[tuple[str, str, str]]:
        """Method, repository and name of all files asked for, of the Hub or of its storage.

        Raises:
            ValueError: If something else was asked for, too.
        """
        sent = [("GET", path) for path in self.downloads]
        files = set()
        for method, path in self.requests + sent:
            match = re.fullmatch(r"/([^/]+/[^/]+)/(?:resolve|objects)/[^/]+/(.+)", unquote(path))
            if match is None:
                raise ValueError(f"{method} {path} asks for no file")
            files.add((method, match[1], match[2]))
        return files

    def heal(self) -> None:
        """Lets nothing fail any more."""
        self._faults.clear()

    def _take_fault(self, method: str, path: str) -> Fault | None:
        with self._lock:
            for fault in self._faults:
                if fault.hits(method, path):
                    if fault.times is not None:
                        fault.times -= 1
                    return fault
        return None

    def _server(self, origin: Origin, routes: list[Route]) -> Server:
        def respond(request: Request) -> Response:
            with self._lock:
                return self._respond(request, routes)

        members = {
            "origin": origin,
            "take_fault": staticmethod(self._take_fault),
            "respond": staticmethod(respond),
        }
        handler = type(f"{origin.title()}Handler", (Handler,), members)
        return Server(("127.0.0.1", 0), handler)

    def _respond(self, request: Request, routes: list[Route]) -> Response:
        if request.origin == "hub":
            self.requests.append((request.method, request.path))
            if request.token is not None and request.token not in self.users:
                return refuse(401, "Invalid credentials in Authorization header")
        else:
            if request.method == "GET":
                self.downloads.append(request.path)
            if request.token in self.users:
                self.leaks.append(request.path)
        for method, pattern, function in routes:
            match = re.fullmatch(pattern, request.path)
            if match and request.method in method.split("|"):
                return function(self, request, match)
        return refuse(404, f"The local Hub has no {request.method} {request.path}.")
