"""Algorithms in repositories of the Hub: the real client, against a small server that answers as the Hub does."""

import base64
import hashlib
import json
import os
import re
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from lightning_vsml import CheckpointError, VSMLLearner, attach, checkpoints, programs
from lightning_vsml.algorithms import hub

NOBODY = "http://127.0.0.1:9"  # where no server is
TOKEN = "hf_" + "a" * 34


class FakeHub(BaseHTTPRequestHandler):
    """Repositories of commits of files; those who write, and those who read what is private, need the token."""

    repos: dict[str, dict[str, Any]]  # by name: "private", "branches" to commits, "commits" to files

    def log_message(self, *_: Any) -> None:
        """Quiet."""

    def do_HEAD(self) -> None:
        self._file(body=False)

    def do_GET(self) -> None:
        self._file(body=True)

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._answer(401, b"{}")
        if self.path == "/api/repos/create":
            wish = json.loads(content)
            name = f"{wish['organization']}/{wish['name']}"
            there = name in self.repos
            private = wish.get("private") or wish.get("visibility") == "private"
            empty = {"private": private, "branches": {"main": "0" * 40}, "commits": {"0" * 40: {}}}
            self.repos.setdefault(name, empty)
            return self._answer(409 if there else 200, json.dumps({"url": self._url(name)}).encode())
        name, what, branch = re.fullmatch(r"/api/models/(\w+/\w+)/(preupload|commit)/(\w+)", self.path).groups()
        if (repo := self.repos.get(name)) is None:
            return self._answer(404, b"{}", {"X-Error-Code": "RepoNotFound"})
        if branch not in repo["branches"]:
            return self._answer(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
        if what == "preupload":
            asked = [file["path"] for file in json.loads(content)["files"]]
            files = [{"path": path, "uploadMode": "regular", "shouldIgnore": False} for path in asked]
            return self._answer(200, json.dumps({"files": files}).encode())
        lines = [json.loads(line) for line in content.splitlines()]
        added = {f["value"]["path"]: base64.b64decode(f["value"]["content"]) for f in lines if f["key"] == "file"}
        commit = hashlib.sha1(content).hexdigest()
        repo["commits"][commit] = repo["commits"][repo["branches"][branch]] | added
        repo["branches"][branch] = commit
        url = f"{self._url(name)}/commit/{commit}"
        self._answer(200, json.dumps({"commitUrl": url, "commitOid": commit, "success": True}).encode())
        return None

    def _file(self, body: bool) -> None:
        asked = re.fullmatch(r"/(?:api/models/)?(\w+/\w+)(?:/resolve/(\w+)/(.*))?", self.path)
        name, revision, path = asked.groups()
        repo = self.repos.get(name)
        if repo is None or (repo["private"] and self.headers.get("Authorization") != f"Bearer {TOKEN}"):
            return self._answer(401, b"", {"X-Error-Code": "RepoNotFound"})
        if revision is None:  # asked about the repository
            return self._answer(200, json.dumps({"id": name, "modelId": name, "tags": []}).encode())
        commit = repo["branches"].get(revision, revision)
        if commit not in repo["commits"]:
            return self._answer(404, b"", {"X-Error-Code": "RevisionNotFound"})
        if (content := repo["commits"][commit].get(path)) is None:
            return self._answer(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit})
        headers = {"X-Repo-Commit": commit, "ETag": f'"{hashlib.sha1(content).hexdigest()}"'}
        return self._answer(200, content, headers, body)

    def _url(self, name: str) -> str:
        return f"http://{self.headers['Host']}/{name}"

    def _answer(self, code: int, content: bytes, headers: dict[str, str] | None = None, body: bool = True) -> None:
        self.send_response(code)
        for key, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        if body:
            self.wfile.write(content)


def client(patch: pytest.MonkeyPatch, **environment: str) -> None:
    """Have the client imported anew, as it reads its environment then."""
    pytest.importorskip("huggingface_hub")
    for name in [n for n in sys.modules if n.split(".")[0] == "huggingface_hub"]:
        patch.delitem(sys.modules, name)
    for variable in [v for v in os.environ if v.startswith(("HF_", "HUGGING"))]:
        patch.delenv(variable)
    quiet = {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    for variable, value in {**quiet, **environment}.items():
        patch.setenv(variable, value)


@pytest.fixture
def repos(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[dict[str, dict[str, Any]]]:
    """What the server holds, and a client that asks it and nobody else, with a token."""
    repos: dict[str, dict[str, Any]] = {}
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Hub", (FakeHub,), {"repos": repos}))
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    endpoint = f"http://127.0.0.1:{server.server_port}"
    client(monkeypatch, HF_ENDPOINT=endpoint, HF_HOME=str(tmp_path / "hf"), HF_TOKEN=TOKEN)
    yield repos
    server.shutdown()
    server.server_close()


def files(repos: dict[str, dict[str, Any]], name: str = "me/rules", branch: str = "main") -> dict[str, bytes]:
    return repos[name]["commits"][repos[name]["branches"][branch]]


def test_what_is_pushed_is_loaded(repos: dict[str, dict[str, Any]]) -> None:
    algorithm = programs.backprop(lr=0.3)
    first = checkpoints.push(algorithm, "hf://me/rules/folder/mine", made_by={"command": "test"})
    assert set(files(repos)) == {"folder/mine.safetensors", "folder/mine.json"}
    assert re.fullmatch(r"hf://me/rules/folder/mine@[0-9a-f]{40}", first)
    loaded = checkpoints.load("hf://me/rules/folder/mine")
    assert (loaded.name, loaded.fingerprint) == ("mine", algorithm.fingerprint)
    assert loaded.card["made_by"]["command"] == "test"

    checkpoints.push(programs.backprop(lr=0.2), "hf://me/rules/folder/mine", made_by={"command": "test"})
    assert checkpoints.load("hf://me/rules/folder/mine").lr == 0.2
    for old in (first, "hf://me/rules@" + first.partition("@")[2] + "/folder/mine.safetensors"):
        assert checkpoints.load(old).fingerprint == algorithm.fingerprint


def test_files_travel_with_what_their_card_says(repos: dict[str, dict[str, Any]]) -> None:
    checkpoints.push("backprop", "hf://me/rules/other")
    shipped, loaded = checkpoints.load("backprop"), checkpoints.load("hf://me/rules/other")
    assert loaded.card == shipped.card | {"name": "other"} and loaded.fingerprint == shipped.fingerprint


def test_learners_take_addresses(repos: dict[str, dict[str, Any]]) -> None:
    checkpoints.push("backprop", "hf://me/rules/mine")
    assert VSMLLearner("hf://me/rules/mine").algorithm.name == "mine"
    model = nn.Linear(3, 1)
    before = model.weight.detach().clone()
    with attach(model, "hf://me/rules/mine", lr=0.1) as synapses:
        model(torch.ones(2, 3)).mean().backward()
        synapses.step()
    torch.testing.assert_close(model.weight.detach(), before - 0.1)


def test_what_was_downloaded_needs_no_network(
    repos: dict[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    checkpoints.push("backprop", "hf://me/rules/mine")
    checkpoints.load("hf://me/rules/mine")
    client(monkeypatch, HF_ENDPOINT=NOBODY, HF_HOME=str(tmp_path / "hf"), HF_HUB_OFFLINE="1")
    assert checkpoints.load("hf://me/rules/mine").name == "mine"
    with pytest.raises(CheckpointError, match=r"not among what was downloaded before, .* Check the network"):
        checkpoints.load("hf://me/rules/theirs")


def test_what_is_not_there(repos: dict[str, dict[str, Any]]) -> None:
    checkpoints.push("backprop", "hf://me/rules/mine")
    del files(repos)["mine.json"]
    for address, message in (
        ("hf://me/nothing/mine", "repository that does not exist, .* `hf auth login`"),
        ("hf://me/rules/yours", "name.safetensors with its card name.json beside"),
        ("hf://me/rules/mine", "name.safetensors with its card name.json beside"),
        ("hf://me/rules/mine@v9", "branch, tag or commit that the repository lacks"),
    ):
        with pytest.raises(CheckpointError, match=message):
            checkpoints.load(address)
    with pytest.raises(CheckpointError, match="branch, tag or commit that the repository lacks"):
        checkpoints.push("backprop", "hf://me/rules/mine@v9")
    with pytest.raises(CheckpointError, match="repository that does not exist"):
        checkpoints.push("backprop", "hf://me/nothing/mine@v9")
    assert list(repos) == ["me/rules"]


def test_what_is_damaged(repos: dict[str, dict[str, Any]]) -> None:
    checkpoints.push("backprop", "hf://me/rules/mine")
    files(repos)["mine.safetensors"] += b"0"
    with pytest.raises(CheckpointError, match="damaged or does not belong to its card: expected sha256"):
        checkpoints.load("hf://me/rules/mine")


def test_private_repositories_and_tokens(
    repos: dict[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    checkpoints.push("backprop", "hf://me/rules/mine", private=True)
    assert checkpoints.load("hf://me/rules/mine").name == "mine"
    there, endpoint = files(repos), os.environ["HF_ENDPOINT"]
    client(monkeypatch, HF_ENDPOINT=endpoint, HF_HOME=str(tmp_path / "another"))
    with pytest.raises(CheckpointError, match="if it is private or yours, run `hf auth login`, or set HF_TOKEN"):
        checkpoints.load("hf://me/rules/mine")
    with pytest.raises(CheckpointError, match="needs a token, and there is none: run `hf auth login`, or set HF_TOKEN"):
        checkpoints.push("backprop", "hf://me/rules/more")
    client(monkeypatch, HF_ENDPOINT=endpoint, HF_HOME=str(tmp_path / "another"), HF_TOKEN="hf_wrong")
    with pytest.raises(CheckpointError, match="hf auth login"):
        checkpoints.push("backprop", "hf://me/rules/more")
    assert files(repos) == there


def test_no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    client(monkeypatch, HF_ENDPOINT=NOBODY, HF_HOME=str(tmp_path), HF_TOKEN=TOKEN)
    monkeypatch.setattr(time, "sleep", lambda _: None)  # the client tries some more times
    with pytest.raises(CheckpointError, match=r"the Hub was not reached. Check the network"):
        checkpoints.load("hf://me/rules/mine")
    with pytest.raises(CheckpointError, match=r"was not reached. Check the network and HF_ENDPOINT"):
        checkpoints.push("backprop", "hf://me/rules/mine")


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    for use in (lambda: checkpoints.load("hf://me/rules/mine"), lambda: checkpoints.push("oja", "hf://me/rules/mine")):
        with pytest.raises(CheckpointError, match=r"pip install 'lightning-vsml\[hub\]'"):
            use()


@pytest.mark.parametrize(
    "address",
    ["hf://rules/mine", "hf://me/rules/", "hf://me/rules/../mine", "hf://me/rules@1/mine@2", "https://me/r/n"],
)
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(CheckpointError, match=r"expected hf://user/repo/name.*got"):
        hub.parse(address)


def test_how_it_was_made_is_said_once() -> None:
    with pytest.raises(ValueError, match="say how the algorithm was made"):
        checkpoints.push(programs.backprop(), "hf://me/rules/mine")
    with pytest.raises(ValueError, match="leave made_by out"):
        checkpoints.push("backprop", "hf://me/rules/mine", made_by={"command": "test"})
