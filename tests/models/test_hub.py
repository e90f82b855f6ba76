"""The local Hub itself, where other tests take its word."""

import hashlib
from pathlib import Path

import pytest
from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError
from huggingface_hub.utils import get_session

from tests.support.hub import Hub
from tests.support.hub.xet import chunk_ranges


def test_the_raw_client_round_trip(any_hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    content = {"model.safetensors": bytes(range(256)) * 2000, "README.md": b"---\n{}\n---\nhi"}
    for name, data in content.items():
        (tmp_path / "files" / name).write_bytes(data)
    api = HfApi()
    api.create_repo("org/model", private=True)
    first = api.upload_folder(repo_id="org/model", folder_path=tmp_path / "files")
    api.create_tag("org/model", tag="v1", revision=first.oid)
    assert api.list_repo_commits("org/model")[0].commit_id == first.oid
    info = api.model_info("org/model", revision="v1", files_metadata=True)
    sizes = {entry.rfilename: entry.size for entry in info.siblings if entry.rfilename in content}
    assert sizes == {name: len(data) for name, data in content.items()}
    for name, data in content.items():
        path = api.hf_hub_download("org/model", name, revision="v1", cache_dir=tmp_path / "cache")
        assert Path(path).read_bytes() == data
    with pytest.raises(RepositoryNotFoundError):
        HfApi(token=False).model_info("org/model")
    assert not any_hub.leaks


def test_commits_on_another_parent_are_refused(hub: Hub) -> None:
    api = HfApi()
    old = hub.add("org/model").head.oid
    new = hub.commit("org/model", {"a.txt": b"theirs"})
    mine = [CommitOperationAdd("b.txt", b"mine")]
    with pytest.raises(HfHubHTTPError, match="A commit has happened since") as refused:
        api.create_commit("org/model", mine, commit_message="x", parent_commit=old)
    assert refused.value.response.status_code == 412 and hub.writes == []
    api.create_commit("org/model", mine, commit_message="x", parent_commit=new)
    assert hub.writes == ["commit org/model main"]


def test_storage_notices_tokens_damage_and_ranges(hub: Hub) -> None:
    client, content = get_session(), b"0123456789"
    name = hashlib.sha256(content).hexdigest()
    url = f"{hub.storage_url}/org/model/objects/{name}"
    assert client.put(url, content=b"other").status_code == 400 and hub.objects == {}
    assert client.put(url, content=content).status_code == 200
    assert client.get(url, headers={"Range": "bytes=4-5"}).content == b"45"
    assert client.get(url, headers={"Range": "bytes=10-"}).status_code == 416
    assert hub.leaks == []
    client.get(url, headers={"Authorization": "Bearer hf_alice_writes"})
    assert len(hub.leaks) == 1
    hub.fail("GET", "/objects/", "damage")
    assert client.get(url).content != content == client.get(url).content


def test_chunks_of_a_xorb() -> None:
    chunk = bytes([0, 3, 0, 0, 0, 3, 0, 0]) + b"abc"
    assert chunk_ranges(chunk + chunk + b"XETBLOB footer") == [(0, 11), (11, 22)]
