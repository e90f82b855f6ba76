"""A Hugging Face Hub on 127.0.0.1, as far as publishing and loading a model takes.

The real clients, huggingface_hub, hf_xet and timm, talk to it over HTTP. It follows what those
clients send and read; nothing of it was compared with the real Hub, and what no test needs it does
not have: data sets, discussions, gated repositories, pages of results, multipart uploads, git.

wire.py     requests, answers, and the faults that can be asked for
repos.py    users, repositories, commits, blobs
api.py      /api/...: accounts, repositories, commits
files.py    downloads by `resolve`, and Git LFS: batch, upload, verify
xet.py      Xet tokens and a content-addressed store (CAS) that rebuilds files from xorbs
client.py   points the clients of this process at it
server.py   `Hub`, which runs it all on two origins: the Hub itself, and its storage
"""

from tests.support.hub.server import Hub

__all__ = ["Hub"]
