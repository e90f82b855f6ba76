"""Data set repositories of the Hugging Face Hub, or of the mirror that `HF_ENDPOINT` names."""

from __future__ import annotations

from huggingface_hub import HfApi, constants, hf_hub_url
from huggingface_hub.hf_api import RepoFile

from georank_zoo.data.datasets.base import HUB, Checksum, HubTree, RemoteFile
from georank_zoo.data.download.unpack import require_safe
from georank_zoo.utils.errors import DownloadError
from georank_zoo.utils.hub_client import guard_client
from georank_zoo.utils.hub_errors import NETWORK_FAILURES, explain, without_credentials


def on_mirror(url: str) -> str:
    """The URL on the mirror, if it is one of the Hub."""
    return constants.ENDPOINT + url.removeprefix(HUB) if url.startswith(f"{HUB}/") else url


def tree_files(tree: HubTree) -> list[RemoteFile]:
    """Asks the Hub for the files of a folder at a commit, with their sizes and SHA-256.

    Raises:
        DownloadError: If the Hub does not tell them, or names one that leads out of the folder.
    """
    where = f"{tree.folder} of {tree.repo} on {without_credentials(constants.ENDPOINT)}"
    guard_client()
    try:
        entries = list(
            HfApi(endpoint=constants.ENDPOINT).list_repo_tree(
                tree.repo, tree.folder, recursive=True, revision=tree.revision, repo_type="dataset"
            )
        )
    except NETWORK_FAILURES as error:
        said = explain(error, tree.repo, writing=False)
        raise DownloadError(f"Could not list {where}. {said}") from error
    files: list[RemoteFile] = []
    for entry in entries:
        if not isinstance(entry, RepoFile):
            continue
        if path := require_safe(entry.path.removeprefix(f"{tree.folder}/"), where):
            url = hf_hub_url(
                tree.repo, entry.path, repo_type="dataset", revision=tree.revision,
                endpoint=constants.ENDPOINT,
            )  # fmt: skip
            checksum = Checksum("sha256", entry.lfs.sha256) if entry.lfs else None
            files.append(RemoteFile(str(path), url, entry.size, checksum))
    if not files:
        raise DownloadError(
            f"{where} lists no file: it has moved, or HF_ENDPOINT is not the address of a Hub."
        )
    return files
