"""Xet on the local Hub: access tokens, and a store of chunks that files are rebuilt from.

As hf_xet 1.8 uses it. A file is cut into chunks; chunks are sent in *xorbs*, named by a hash; a
*shard* then tells for each file which chunks of which xorbs make it up, and its SHA-256. The
client must send chunks uncompressed, HF_XET_XORB_COMPRESSION_POLICY=none. The formats are those of
https://huggingface.co/docs/xet: all numbers little endian, all records 48 bytes.
"""

from __future__ import annotations

import hashlib
import re
import struct
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.support.hub.api import found
from tests.support.hub.files import ranged
from tests.support.hub.repos import Repo
from tests.support.hub.wire import Request, Response, as_json, refuse

if TYPE_CHECKING:
    from tests.support.hub.server import Hub

_CAS_TOKEN = "xet_access"
_RECORD = 48
_END = b"\xff" * 32  # the hash that ends a section
_WITH_VERIFICATION, _WITH_METADATA = 1 << 31, 1 << 30


@dataclass(frozen=True)
class Term:
    """Chunks [start, end) of a xorb, as a part of a file."""

    xorb: str
    start: int
    end: int
    length: int


@dataclass
class Store:
    """Xorbs by hash, files by hash, and the hash of a file by its SHA-256."""

    xorbs: dict[str, bytes] = field(default_factory=dict)
    files: dict[str, list[Term]] = field(default_factory=dict)
    hashes: dict[str, str] = field(default_factory=dict)

    def hash_of(self, sha256: str) -> str | None:
        return self.hashes.get(sha256)

    def rebuild(self, terms: list[Term]) -> bytes:
        """A file's content."""
        parts = []
        for term in terms:
            xorb = self.xorbs[term.xorb]
            for start, end in chunk_ranges(xorb)[term.start : term.end]:
                if xorb[start + 4]:
                    raise ValueError("A chunk is compressed: HF_XET_XORB_COMPRESSION_POLICY=none")
                parts.append(xorb[start + 8 : end])
        return b"".join(parts)


def chunk_ranges(xorb: bytes) -> list[tuple[int, int]]:
    """Where chunks lie in a xorb, each with its header: version, length, compression, length."""
    ranges, at = [], 0
    while at < len(xorb) and not xorb.startswith(b"XETBLOB", at):
        length = int.from_bytes(xorb[at + 1 : at + 4], "little")
        ranges.append((at, at + 8 + length))
        at += 8 + length
    return ranges


def parse_shard(shard: bytes) -> list[tuple[str, str | None, list[Term]]]:
    """Hash, SHA-256 and parts of each file in a shard."""
    found_files = []
    at = _RECORD  # after the header
    while shard[at : at + 32] != _END:
        name = _hex(shard[at : at + 32])
        flags, count = struct.unpack_from("<II", shard, at + 32)
        at += _RECORD
        terms = []
        for _ in range(count):
            _flags, length, start, end = struct.unpack_from("<IIII", shard, at + 32)
            terms.append(Term(_hex(shard[at : at + 32]), start, end, length))
            at += _RECORD
        at += _RECORD * count if flags & _WITH_VERIFICATION else 0
        sha256 = None
        if flags & _WITH_METADATA:
            sha256 = _hex(shard[at : at + 32])
            at += _RECORD
        found_files.append((name, sha256, terms))
    return found_files


def _hex(raw: bytes) -> str:
    """Xet writes a hash as four numbers of 64 bits."""
    return "".join(f"{number:016x}" for number in struct.unpack("<4Q", raw))


def _token(hub: Hub, request: Request, repo: Repo, revision: str) -> Response:
    del request, repo, revision
    expires = int(time.time()) + 3600
    return as_json(
        {"accessToken": _CAS_TOKEN, "exp": expires, "casUrl": hub.storage_url},
        headers={
            "X-Xet-Cas-Url": hub.storage_url,
            "X-Xet-Access-Token": _CAS_TOKEN,
            "X-Xet-Token-Expiration": str(expires),
        },
    )


def _put_xorb(hub: Hub, request: Request, match: re.Match[str]) -> Response:
    if request.token != _CAS_TOKEN:
        return refuse(401, "No access token")
    new = match[1] not in hub.xet.xorbs
    hub.xet.xorbs[match[1]] = request.body
    hub.writes.append(f"xorb {match[1]}")
    return as_json({"was_inserted": new})


def _put_shard(hub: Hub, request: Request, _: re.Match[str]) -> Response:
    if request.token != _CAS_TOKEN:
        return refuse(401, "No access token")
    for name, sha256, terms in parse_shard(request.body):
        content = hub.xet.rebuild(terms)
        found_sha256 = hashlib.sha256(content).hexdigest()
        if sha256 not in (None, found_sha256):
            return refuse(400, f"The SHA-256 of the file {name} is {found_sha256}, not {sha256}")
        hub.xet.files[name] = terms
        hub.xet.hashes[found_sha256] = name
        hub.objects[found_sha256] = content
    hub.writes.append("shard")
    return as_json({"result": 1})


def _reconstruction(hub: Hub, request: Request, match: re.Match[str]) -> Response:
    terms = hub.xet.files.get(match[1])
    if terms is None:
        return refuse(404, "No such file")
    total = sum(term.length for term in terms)
    wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("range", ""))
    start = int(wanted[1]) if wanted else 0
    end = int(wanted[2]) if wanted and wanted[2] else total - 1
    if start >= total:
        return Response(416, {"Content-Range": f"bytes */{total}"})
    at, offset = 0, 0
    chosen = []
    for term in terms:
        if at + term.length > start and at <= end:
            offset = start - at if not chosen else offset
            chosen.append(term)
        at += term.length
    return as_json(
        {
            "offset_into_first_range": offset,
            "terms": [
                {
                    "hash": term.xorb,
                    "unpacked_length": term.length,
                    "range": {"start": term.start, "end": term.end},
                }
                for term in chosen
            ],
            "fetch_info": _fetch_info(hub, chosen),
        }
    )


def _fetch_info(hub: Hub, terms: list[Term]) -> dict[str, list[dict[str, Any]]]:
    """Where to get the chunks: one stretch of each xorb, for the client bears no overlaps."""
    info: dict[str, list[dict[str, Any]]] = {}
    for xorb in {term.xorb for term in terms}:
        start = min(term.start for term in terms if term.xorb == xorb)
        end = max(term.end for term in terms if term.xorb == xorb)
        ranges = chunk_ranges(hub.xet.xorbs[xorb])
        entry = {
            "range": {"start": start, "end": end},
            "url": f"{hub.storage_url}/xorbs/{xorb}",
            # The last byte counts.
            "url_range": {"start": ranges[start][0], "end": ranges[end - 1][1] - 1},
        }
        info[xorb] = [entry]
    return info


def _get_xorb(hub: Hub, request: Request, match: re.Match[str]) -> Response:
    xorb = hub.xet.xorbs.get(match[1])
    return refuse(404, "No such xorb") if xorb is None else ranged(request, xorb)


_MODEL = r"/api/models/([^/]+/[^/]+)"

ROUTES = [
    ("GET", _MODEL + "/xet-read-token/([^/]+)", found(_token)),
    ("GET", _MODEL + "/xet-write-token/([^/]+)", found(_token, write=True)),
]
STORAGE_ROUTES = [
    ("POST", r"/v1/xorbs/default/(\w+)", _put_xorb),
    ("POST", r"/v1/shards", _put_shard),
    ("GET", r"/v1/reconstructions/(\w+)", _reconstruction),
    ("GET", r"/xorbs/(\w+)", _get_xorb),
]
