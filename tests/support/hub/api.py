"""The Hub's JSON interface, as huggingface_hub 2.4 uses it: accounts, repositories, commits."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import yaml

from tests.support.hub.repos import Blob, Commit, Repo, User, is_large
from tests.support.hub.wire import Request, Response, as_json, refuse

if TYPE_CHECKING:
    from tests.support.hub.server import Hub

_DATE = "2026-01-01T00:00:00.000Z"


def find(hub: Hub, request: Request, name: str) -> Repo | Response:
    """The repository, or the answer that hides whether it exists."""
    repo, user = hub.repos.get(name), hub.users.get(request.token or "")
    if repo is None or (repo.private and not (user and user.belongs_to(repo.namespace))):
        # Over http the client knows a missing repository by the code only.
        return refuse(404 if user else 401, "Repository not found", "RepoNotFound")
    return repo


def found(
    function: Callable[[Hub, Request, Repo, str], Response], *, write: bool = False
) -> Callable[[Hub, Request, re.Match[str]], Response]:
    """A route below a repository: (hub, request, repository, rest of the path)."""

    def route(hub: Hub, request: Request, match: re.Match[str]) -> Response:
        name, *rest = match.groups()
        repo = find(hub, request, name)
        if isinstance(repo, Response):
            return repo
        user = hub.users.get(request.token or "")
        if write and not (user and user.may_write(repo.namespace)):
            return _forbidden()
        return function(hub, request, repo, unquote(rest[0] or "") if rest else "")

    return route


def no_revision(revision: str) -> Response:
    return refuse(404, f"Invalid rev id: {revision}", "RevisionNotFound")


def _forbidden() -> Response:
    return refuse(403, "Forbidden: you don't have the right to write to this repository")


def _whoami(hub: Hub, request: Request, _: re.Match[str]) -> Response:
    user = hub.users.get(request.token or "")
    if user is None:
        return refuse(401, "Invalid username or password.")
    orgs = [{"name": name, "roleInOrg": role} for name, role in user.orgs.items()]
    access = {"displayName": "test", "role": user.role}
    return as_json(
        {"type": "user", "name": user.name, "orgs": orgs, "auth": {"accessToken": access}}
    )


def _create(hub: Hub, request: Request, _: re.Match[str]) -> Response:
    user = hub.users.get(request.token or "")
    if user is None:
        return refuse(401, "Invalid username or password.")
    wanted = request.json()
    namespace = wanted.get("organization") or user.name
    name = f"{namespace}/{wanted['name']}"
    url = {"url": f"{hub.url}/{name}"}
    if not user.may_write(namespace):
        return refuse(403, f"You don't have the rights to create a model under {namespace!r}")
    if name in hub.repos:
        return as_json({"error": "You already created this model repo", **url}, 409)
    private = wanted.get("visibility") == "private" or wanted.get("private") is True
    hub.repos[name] = Repo(name, private)
    hub.writes.append(f"create {name} {'private' if private else 'public'}")
    return as_json(url)


def _validate_yaml(hub: Hub, request: Request, _: re.Match[str]) -> Response:
    del hub
    front = re.match(r"---\n(.*?)\n---(\n|$)", request.json()["content"], re.S)
    if not front:
        return as_json({"errors": [], "warnings": [{"message": "empty or missing yaml metadata"}]})
    try:
        data = yaml.safe_load(front[1])
    except yaml.YAMLError as error:
        return as_json({"errors": [{"message": f"YAML: {error}"}], "warnings": []}, 400)
    if not isinstance(data, dict):
        return as_json({"errors": [{"message": "metadata must be a mapping"}], "warnings": []}, 400)
    return as_json({"errors": [], "warnings": []})


def _info(hub: Hub, request: Request, repo: Repo, revision: str) -> Response:
    del hub
    commit = repo.at(revision or "main")
    if commit is None:
        return no_revision(revision)
    siblings: list[dict[str, Any]] = [{"rfilename": path} for path in sorted(commit.files)]
    if "blobs" in request.query:
        for entry in siblings:
            blob = commit.files[entry["rfilename"]]
            entry |= {"size": len(blob.content), "blobId": blob.blob_id}
            entry |= {"lfs": blob.lfs} if blob.lfs else {}
    return as_json(
        {
            "_id": repo.name, "id": repo.name, "modelId": repo.name, "sha": commit.oid,
            "private": repo.private, "gated": False, "disabled": False, "siblings": siblings,
            "tags": [], "downloads": 0, "likes": 0, "createdAt": _DATE, "lastModified": _DATE,
        }
    )  # fmt: skip


def _tree(hub: Hub, request: Request, repo: Repo, revision: str) -> Response:
    del hub, request
    commit = repo.at(revision)
    if commit is None:
        return no_revision(revision)
    entries = []
    for path, blob in sorted(commit.files.items()):
        entry = {"type": "file", "path": path, "oid": blob.blob_id, "size": len(blob.content)}
        lfs = {"oid": blob.sha256, "size": len(blob.content), "pointerSize": 134}
        entries.append({**entry, **({"lfs": lfs} if blob.large else {})})
    return as_json(entries)


def _refs(hub: Hub, request: Request, repo: Repo, _: str) -> Response:
    del hub, request
    refs = {
        kind: [
            {"name": name, "ref": f"refs/{short}/{name}", "targetCommit": oid}
            for name, oid in entries.items()
        ]
        for kind, short, entries in (
            ("branches", "heads", repo.branches),
            ("tags", "tags", repo.tags),
        )
    }
    return as_json({**refs, "converts": []})


def _commits(hub: Hub, request: Request, repo: Repo, revision: str) -> Response:
    del hub, request
    if repo.at(revision) is None:
        return no_revision(revision)
    return as_json(
        [
            {"id": commit.oid, "title": commit.title, "message": "", "date": _DATE, "authors": []}
            for commit in repo.history(revision)
        ]
    )


def _auth_check(hub: Hub, request: Request, repo: Repo, rest: str) -> Response:
    user: User | None = hub.users.get(request.token or "")
    if rest == "/write" and not (user and user.may_write(repo.namespace)):
        return _forbidden()
    return as_json({})


def _settings(hub: Hub, request: Request, repo: Repo, _: str) -> Response:
    wanted = request.json()
    repo.private = wanted.get("visibility", "private" if wanted.get("private") else "") == "private"
    hub.writes.append(f"settings {repo.name} {'private' if repo.private else 'public'}")
    return as_json({"private": repo.private})


def _tag(hub: Hub, request: Request, repo: Repo, revision: str) -> Response:
    tag, commit = request.json()["tag"], repo.at(revision)
    if commit is None:
        return no_revision(revision)
    if tag in repo.tags:
        return refuse(409, f"Tag reference exists already: {tag}")
    repo.tags[tag] = commit.oid
    hub.writes.append(f"tag {repo.name} {tag}")
    return as_json({})


def _branch(hub: Hub, request: Request, repo: Repo, branch: str) -> Response:
    start = request.json().get("startingPoint", "main") if request.body else "main"
    commit = repo.at(start)
    if commit is None:
        return no_revision(start)
    if branch in repo.branches:
        return refuse(409, f"Reference already exists: {branch}")
    repo.branches[branch] = commit.oid
    hub.writes.append(f"branch {repo.name} {branch}")
    return as_json({})


def _preupload(hub: Hub, request: Request, repo: Repo, revision: str) -> Response:
    del hub
    commit = repo.at(revision)
    if commit is None:
        return no_revision(revision)
    answers = []
    for file in request.json()["files"]:
        there = commit.files.get(file["path"])
        mode = "lfs" if is_large(file["path"]) else "regular"
        answer = {"path": file["path"], "uploadMode": mode, "shouldIgnore": False}
        answers.append({**answer, **({"oid": there.etag} if there else {})})
    return as_json({"files": answers})


def _commit(hub: Hub, request: Request, repo: Repo, branch: str) -> Response:
    if branch not in repo.branches:
        return no_revision(branch)
    head = repo.commits[repo.branches[branch]]
    header, *operations = [json.loads(line) for line in request.body.splitlines()]
    if header["value"].get("parentCommit") not in (None, head.oid):
        return refuse(412, "A commit has happened since. Please refresh and try again.")
    files = dict(head.files)
    for operation in operations:
        refusal = _apply(hub, files, operation["key"], operation["value"])
        if refusal:
            return refusal
    commit: Commit = repo.commit(branch, header["value"]["summary"], files)
    hub.writes.append(f"commit {repo.name} {branch}")
    return as_json(
        {"success": True, "commitOid": commit.oid, "commitUrl": f"{hub.url}/{repo.name}/commit/x"}
    )


def _apply(hub: Hub, files: dict[str, Blob], key: str, value: dict[str, Any]) -> Response | None:
    path = value["path"]
    if key == "file":
        files[path] = Blob(base64.b64decode(value["content"]), large=False)
    elif key == "lfsFile":
        if value["oid"] not in hub.objects:
            return refuse(400, f"The file {path} was not uploaded: {value['oid']}")
        files[path] = Blob(hub.objects[value["oid"]], large=True)
    elif key == "deletedFile":
        if path not in files:
            return refuse(404, "A file with this name doesn't exist", "EntryNotFound")
        del files[path]
    else:
        return refuse(400, f"The local Hub knows no {key!r}")
    return None


_MODEL = r"/api/models/([^/]+/[^/]+)"

ROUTES = [
    ("GET", "/api/whoami-v2", _whoami),
    ("POST", "/api/repos/create", _create),
    ("POST", "/api/validate-yaml", _validate_yaml),
    ("GET", _MODEL, found(_info)),
    ("GET", _MODEL + "/revision/([^/]+)", found(_info)),
    ("GET", _MODEL + "/tree/([^/]+)", found(_tree)),
    ("GET", _MODEL + "/refs", found(_refs)),
    ("GET", _MODEL + "/commits/([^/]+)", found(_commits)),
    ("GET", _MODEL + "/auth-check(/write)?", found(_auth_check)),
    ("PUT", _MODEL + "/settings", found(_settings, write=True)),
    ("POST", _MODEL + "/tag/([^/]+)", found(_tag, write=True)),
    ("POST", _MODEL + "/branch/([^/]+)", found(_branch, write=True)),
    ("POST", _MODEL + "/preupload/([^/]+)", found(_preupload, write=True)),
    ("POST", _MODEL + "/commit/([^/]+)", found(_commit, write=True)),
]
