"""Every way in which a network fails, in every command that uses one: one sentence, no secret."""

from __future__ import annotations

import os
import re
import shutil
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import aiohttp  # noqa: F401 -- it reads the certificates when it is imported
import pytest
from huggingface_hub import constants, file_download
from huggingface_hub.utils import _http

from georank_zoo.data.datasets import DATASETS
from georank_zoo.data.datasets.base import Download, HubTree, RemoteFile
from georank_zoo.data.datasets.eurosat import EUROSAT
from georank_zoo.data.download import transfer
from georank_zoo.publish import repo as hub_repo
from georank_zoo.publish.catalog import Catalog, CatalogEntry, FileFacts
from georank_zoo.publish.checks import CheckedFolder
from georank_zoo.utils import hub_client
from tests.support.bad_server import BadServer, http, make_certificate
from tests.support.command_line import run
from tests.support.fifo import Fifo
from tests.support.pushing import make_model
from tests.support.trees import noise, write_tif

SECRET = "s3cret"
PAGE = b"<html><body>Please log in to the network \x1b[31m</body></html>"


@dataclass(frozen=True)
class Failure:
    """What fails: an answer or an address, settings of the environment, and what is said.

    Attributes:
        says: Pattern of the message.
        answer: Bytes that a server sends; None for no server.
        address: Address that is asked, if it is not the server's.
        environment: Variables; `{url}` is the server.
        tls: Whether the server speaks TLS.
        trusted: Whether its certificate is trusted.
    """

    says: str
    answer: bytes | None = None
    address: str = "{url}"
    environment: tuple[tuple[str, str], ...] = ()
    tls: bool = False
    trusted: bool = False
    silent: bool = False


def _env(**variables: str) -> tuple[tuple[str, str], ...]:
    return tuple(variables.items())


OK = http("200 OK", b"{}")
UP = "http://proxied.invalid"
FAILURES = {
    "refused": Failure("refused", address=f"http://me:{SECRET}@127.0.0.1:9"),
    "no such name": Failure("name", address=f"http://me:{SECRET}@host.invalid"),
    "reset": Failure("disconnected|broke", b""),
    "silent": Failure("timed out|in time", silent=True),
    "not http": Failure("broke", b"SSH-2.0-OpenSSH_9.6\r\n"),
    "self-signed": Failure("SSL_CERT_FILE", http("200 OK"), tls=True),
    "tls to a plain server": Failure("TLS", http("200 OK"), address="https{tail}"),
    "page for JSON": Failure("page|not as the Hub|not a", http("200 OK", PAGE)),
    "other JSON": Failure("not as the Hub|page", http("200 OK", b"[1]")),
    "page of an error": Failure("502", http("502 Bad Gateway", PAGE)),
    "circle": Failure("circle|redirect", http("302 Found", b"", "Location: {url}/again")),
    "to nowhere": Failure("address|Hub", http("302 Found", b"", "Location: http://[::bad/")),
    "step down": Failure(
        "not followed", http("302 Found", b"", "Location: http://127.0.0.1:9/x"), tls=True,
        trusted=True,
    ),
    "expired token": Failure(
        "401|log ?in", http("401 Unauthorized", b"{}", "X-Error-Message: User Access Token expired")
    ),
    "gated": Failure(
        "gated|403|rights", http("403 Forbidden", b"{}", "X-Error-Code: GatedRepo")
    ),
    "forbidden": Failure("403", http("403 Forbidden", PAGE)),
    "too many": Failure("429", http("429 Too Many Requests", b"", "Retry-After: 1")),
    "long wait": Failure("90000|429", http("429 Too Many Requests", b"", "Retry-After: 90000")),
    "failed": Failure("500", http("500 Internal Server Error", b"oh")),
    "unavailable": Failure("503", http("503 Service Unavailable", b"", "Retry-After: 1")),
    "truncated": Failure("", http("200 OK", b"[", length=100)),
    "chunks end early": Failure(
        "", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n[1,2"
    ),
    "wrong length": Failure("", http("200 OK", b"[1, 2, 3]", length=3)),
    "socks": Failure("SOCKS|socks", address=UP, environment=_env(ALL_PROXY=f"socks5://me:{SECRET}@127.0.0.1:9")),
    "odd proxy": Failure("HTTP_PROXY", address=UP, environment=_env(HTTP_PROXY=f"ftp://me:{SECRET}@127.0.0.1:9")),
    "proxy without a port": Failure("HTTP_PROXY", address=UP, environment=_env(HTTP_PROXY="http://127.0.0.1:x")),
    "no proxy there": Failure("proxy", address=UP, environment=_env(HTTP_PROXY=f"http://me:{SECRET}@127.0.0.1:9")),
    "proxy wants a password": Failure(
        "407|proxy", http("407 Proxy Authentication Required"), address=UP,
        environment=_env(HTTP_PROXY="{url}"),
    ),
    "tunnel wants a password": Failure(
        "407|proxy", http("407 Proxy Authentication Required"), address="https://proxied.invalid",
        environment=_env(HTTPS_PROXY="{url}"),
    ),
    "no such file": Failure("404|no longer|No model|has no|no file", http("404 Not Found", PAGE)),
    "another's certificate": Failure(
        "TLS", http("200 OK"), address="https://localhost{port}", tls=True, trusted=True
    ),
    "accented token": Failure("token holds", OK, environment=_env(HF_TOKEN=f"hf_{SECRET}é")),
    "token of two lines": Failure(
        "token holds", OK, environment=_env(HF_TOKEN=f"hf_{SECRET}\x01b")
    ),
    "offline": Failure("HF_HUB_OFFLINE is set", OK),
    "no certificates": Failure(
        "SSL_CERT_FILE|certificate", OK, tls=True, environment=_env(SSL_CERT_FILE="/nowhere.pem")
    ),
}  # fmt: skip
COMMANDS = ("files", "tree", "features", "verify", "pull", "push", "scene", "folder")
HUB_ONLY = {"other JSON", "wrong length", "accented token", "token of two lines", "offline"}


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("openssl") is None:
        pytest.skip("openssl makes the certificate")
    return make_certificate(tmp_path_factory.mktemp("tls") / "server.pem")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> CheckedFolder:
    return make_model(tmp_path_factory.mktemp("network") / "export")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No waits, no cache of the user's, and none of the settings of who runs the tests."""
    no_wait = SimpleNamespace(**{**vars(time), "sleep": lambda _: None})
    for module in (_http, file_download, transfer):
        monkeypatch.setattr(module, "time", no_wait)
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in {
        "HF_TOKEN": f"hf_{SECRET}", "GDAL_HTTP_MAX_RETRY": "0", "GDAL_HTTP_TIMEOUT": "1",
        "GDAL_HTTP_CONNECTTIMEOUT": "2", "CPL_VSIL_CURL_NON_CACHED": "/vsicurl/",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.3)
    monkeypatch.setattr(constants, "HF_HUB_ETAG_TIMEOUT", 0.3)
    monkeypatch.setattr(hub_client, "_ANSWER", 0.3)
    monkeypatch.setattr(hub_client, "_CONNECT", 0.3)
    monkeypatch.setattr("georank_zoo.models.hub._PATIENCE", 0.3)
    monkeypatch.setattr(transfer, "_PATIENCE", 0.3)
    monkeypatch.setattr("georank_zoo.data.files.remote._ANSWER", 0.3)
    monkeypatch.setattr(hub_repo, "PATIENCE", 0.3)
    _http.close_session()
    yield
    _http.close_session()


def arguments(command: str, url: str, folder: Path, export: Path) -> list[object]:
    """The command, as somebody would type it."""
    if command in ("files", "tree"):
        return ["data", "download", "eurosat", "--out", folder / "out"]
    if command == "verify":
        return ["models", "verify", "org/model"]
    if command == "pull":
        facts = FileFacts(sha256="0" * 64, size=9999)
        entry = CatalogEntry(
            recipe="", recipe_hash="", trained_on="", repo="org/model", revision="0" * 40,
            tag=None, license="", architecture="resnet18", num_features=1, bands=(), image_size=1,
            files={"config.json": facts, "model.safetensors": facts},
        )  # fmt: skip
        (folder / "models.json").write_text(Catalog(models={"m": entry}).to_json())
        return ["models", "pull", "m", "--out", folder / "m", "--catalog", folder / "models.json"]
    if command == "push":
        return ["push", export, "org/model", "--dry-run"]
    if command == "features":
        return [
            "features",
            "org/model",
            write_tif(folder / "s.tif", noise((12, 32, 32))),
            "--out",
            folder / "f.tif",
        ]
    if command == "scene":
        address = f"{url.replace('//', f'//me:{SECRET}@', 1) if '@' not in url else url}/a.tif"
        return [
            "features",
            export,
            f"{address}?sig={SECRET}",
            "--remote",
            "--out",
            folder / "f.tif",
        ]
    return [
        "data",
        "prepare",
        "folder",
        f"{url}/d?sig={SECRET}",
        "--remote",
        "--out",
        folder / "store",
    ]


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("name", FAILURES)
def test_a_failure_has_a_sentence(
    name: str,
    command: str,
    quick: None,
    certificate: Path,
    model: CheckedFolder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    failure = FAILURES[name]
    if command in ("files", "scene", "folder") and name in HUB_ONLY:
        pytest.skip("of the Hub alone")
    with ExitStack() as stack:
        url = failure.address
        if failure.answer is not None or failure.silent:
            server = stack.enter_context(
                BadServer(failure.answer, certificate if failure.tls else None)
            )
            _, _, tail = server.url.partition("://")
            port = tail.partition(":")[2]
            url = url.format(url=server.url, tail=f"://{tail}", port=f":{port}")
        for key, value in failure.environment:
            monkeypatch.setenv(key, value.format(url=server.url) if "{url}" in value else value)
        if failure.trusted:
            monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
            trusting = ssl.create_default_context(cafile=certificate)
            monkeypatch.setattr("aiohttp.connector._SSL_CONTEXT_VERIFIED", trusting)
        monkeypatch.setattr(constants, "ENDPOINT", url)
        template = url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        if name == "offline":
            monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        download = Download(
            landing="https://example.org", size="small", by_hand=("put it into {out}",),
            **(
                {"tree": HubTree("org/data", "0" * 40, "train")} if command == "tree"
                else {"files": (RemoteFile("a.tif", f"{url}/a.tif", None, None),)}
            ),
        )  # fmt: skip
        monkeypatch.setitem(DATASETS, "eurosat", replace(EUROSAT, download=download))
        monkeypatch.setattr("georank_zoo.publish.push.check_publishable", lambda *_, **__: model)
        code = run(*arguments(command, url, tmp_path, model.folder))
    out, err = capsys.readouterr()
    said = err[err.rindex("Error: ") :] if "Error: " in err else out
    if name == "offline" and command == "push":
        assert code == 0 and "Not checked: your token" in out
        return
    # A page is a folder without scenes.
    assert code == (2 if (name, command) == ("page for JSON", "folder") else 1), (out, err)
    if command not in ("scene", "folder"):
        assert re.search(failure.says, said), said
    assert SECRET not in out + err and "<html" not in err and "\x1b" not in err
    assert len(said) < 900


@pytest.mark.parametrize("kind", ["fifo", "folder", "bytes"])
def test_a_token_that_cannot_be_read(
    kind: str, quick: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    path = tmp_path / "token"
    path.mkdir() if kind == "folder" else path.write_bytes(SECRET.encode() + b"\xff")
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(path))
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with Fifo(path) if kind == "fifo" else nullcontext() as fifo:
        assert run("models", "verify", "org/model") == 1
    said = capsys.readouterr().err
    assert "cannot be read" in said and "hf auth login" in said and SECRET not in said
    assert not fifo or not fifo.opened


def test_certificates_that_are_no_file(
    quick: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "pem"))
    with Fifo(tmp_path / "pem") as fifo:
        assert run("models", "verify", "org/model") == 1
    assert "no regular file" in capsys.readouterr().err and not fifo.opened


@pytest.mark.parametrize(
    ("name", "value"), [("HF_HUB_DOWNLOAD_TIMEOUT", "soon"), ("HF_ENDPOINT", "http://h:99999")]
)
def test_the_client_cannot_use_the_environment(name: str, value: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "georank_cli", "models", "verify", "org/model"],
        env={**os.environ, name: value}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert name in done.stderr and "Correct or unset it" in done.stderr
