"""Files of the local Hub: `resolve` with its redirect to the storage, and Git LFS."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from tests.support.hub.api import find, found, no_revision
from tests.support.hub.repos import Repo
from tests.support.hub.wire import Request, Response, as_json, refuse

if TYPE_CHECKING:
    from tests.support.hub.server import Hub


def _resolve(hub: Hub, request: Request, match: re.Match[str]) -> Response:
    name, revision, path = match[1], unquote(match[2]), unquote(match[3])
    repo = find(hub, request, name)
    if isinstance(repo, Response):
        return repo
    commit = repo.at(revision)
    if commit is None:
        return no_revision(revision)
    headers = {"X-Repo-Commit": commit.oid}
    blob = commit.files.get(path)
    if blob is None:
        refusal = refuse(404, f"{path} does not exist", "EntryNotFound")
        return Response(404, {**refusal.headers, **headers}, refusal.body)
    if not blob.large:
        return Response(200, {**headers, "ETag": f'"{blob.etag}"'}, blob.content)
    linked = {
        "X-Linked-ETag": f'"{blob.sha256}"',
        "X-Linked-Size": str(len(blob.content)),
        "Location": f"{hub.storage_url}/{name}/objects/{blob.sha256}/{quote(path)}",
    }
    # Files that came by Xet are offered by Xet; a client without it follows the redirect.
    xet_hash = hub.xet.hash_of(blob.sha256)
    if xet_hash:
        route = f"{hub.url}/api/models/{name}/xet-read-token/{commit.oid}"
        linked |= {"X-Xet-Hash": xet_hash, "Link": f'<{route}>; rel="xet-auth"'}
    return Response(302, {**headers, **linked})


def _batch(hub: Hub, request: Request, repo: Repo, _: str) -> Response:
    objects = []
    for wanted in request.json()["objects"]:
        entry = {"oid": wanted["oid"], "size": wanted["size"]}
        if wanted["oid"] not in hub.objects:
            entry["actions"] = {
                "upload": {"href": f"{hub.storage_url}/{repo.name}/objects/{wanted['oid']}"},
                "verify": {"href": f"{hub.url}/{repo.name}.git/info/lfs/verify"},
            }
        objects.append(entry)
    return as_json({"transfer": "basic", "objects": objects})


def _verify(hub: Hub, request: Request, repo: Repo, _: str) -> Response:
    del repo
    wanted = request.json()
    if len(hub.objects.get(wanted["oid"], b"")) != wanted["size"]:
        return refuse(404, "The object was not uploaded")
    return as_json({})


def _upload(hub: Hub, request: Request, match: re.Match[str]) -> Response:
    if hashlib.sha256(request.body).hexdigest() != match[1]:
        return refuse(400, "The content does not match its SHA-256")
    hub.objects[match[1]] = request.body
    hub.writes.append(f"object {match[1]}")
    return Response(200, {"ETag": f'"{match[1]}"'})


def _download(hub: Hub, request: Request, match: re.Match[str]) -> Response:
    content = hub.objects.get(match[1])
    return refuse(404, "No such object") if content is None else ranged(request, content)


def ranged(request: Request, content: bytes) -> Response:
    """The content, or the range of it that the request asks for."""
    wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("range", ""))
    if not wanted:
        return Response(200, {}, content)
    start = int(wanted[1])
    if start >= len(content):
        return Response(416, {"Content-Range": f"bytes */{len(content)}"})
    part = content[start : int(wanted[2]) + 1 if wanted[2] else None]
    where = f"bytes {start}-{start + len(part) - 1}/{len(content)}"
    return Response(206, {"Content-Range": where}, part)


ROUTES = [
    ("GET|HEAD", r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", _resolve),
    ("POST", r"/([^/]+/[^/]+)\.git/info/lfs/objects/batch", found(_batch, write=True)),
    ("POST", r"/([^/]+/[^/]+)\.git/info/lfs/verify", found(_verify, write=True)),
]
STORAGE_ROUTES = [
    ("PUT", r"/[^/]+/[^/]+/objects/(\w+)", _upload),
    ("GET", r"/[^/]+/[^/]+/objects/(\w+)(?:/.+)?", _download),
]
