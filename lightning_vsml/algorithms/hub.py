"""Algorithms in repositories of the Hugging Face Hub: ``hf://user/repo/name``, at a revision ``hf://user/repo/name@v1``.

There, too, an algorithm is two files, ``name.safetensors`` and ``name.json``. ``huggingface_hub`` (the extra ``hub``)
keeps what it has downloaded, is told who asks (``HF_TOKEN``) and where (``HF_ENDPOINT``), and is imported when it is
needed.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from lightning_vsml.algorithms.files import CheckpointError

PREFIX = "hf://"
_ADDRESS = re.compile(
    r"hf://(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<before>[^/@]+))?/(?P<name>[\w.-]+(?:/[\w.-]+)*)(?:@(?P<after>[^@]+))?"
)
_TOKEN = "run `hf auth login`, or set HF_TOKEN to a token from https://huggingface.co/settings/tokens"


class Address(NamedTuple):
    """Where an algorithm lies: repository, name without ending, and branch, tag or commit (None: the main branch)."""

    repo: str
    name: str
    revision: str | None

    def __str__(self) -> str:
        return f"{PREFIX}{self.repo}/{self.name}" + (f"@{self.revision}" if self.revision else "")

    @property
    def stem(self) -> str:
        """The name without folders."""
        return self.name.rpartition("/")[2]


def parse(text: str) -> Address:
    """Read an address; the revision may also stand where the Hub's own tools have it, ``hf://user/repo@v1/name``.

    Raises:
        CheckpointError: it is none.

    >>> parse("hf://user/repo/folder/name@v1")
    Address(repo='user/repo', name='folder/name', revision='v1')
    """
    match = _ADDRESS.fullmatch(text)
    if match is None or (match["before"] and match["after"]) or not all(p.strip(".") for p in match["name"].split("/")):
        raise CheckpointError(
            f"expected hf://user/repo/name, or with a branch, tag or commit hf://user/repo/name@revision, got {text!r}."
        )
    return Address(match["repo"], match["name"].removesuffix(".safetensors"), match["before"] or match["after"])


def fetch(address: Address) -> Path:
    """Download both files of an algorithm, or find them among what was downloaded before.

    Returns:
        The tensor file; the card lies beside it.

    Raises:
        CheckpointError: no ``huggingface_hub``, no such repository, revision or file, no network.
    """
    hub = _client()
    with _explained(hub, address):
        tensors = Path(hub.hf_hub_download(address.repo, f"{address.name}.safetensors", revision=address.revision))
        commit = tensors.parents[address.name.count("/")].name  # a push in between does not part the two
        hub.hf_hub_download(address.repo, f"{address.name}.json", revision=commit)
    return tensors


def upload(address: Address, tensors: bytes, card: bytes, private: bool | None, message: str) -> str:
    """Put both files of an algorithm into a repository, in one commit; without a revision it is made if need be.

    Returns:
        The address at that commit.

    Raises:
        CheckpointError: no ``huggingface_hub``, no token or none that may, no such branch, no network.
    """
    hub = _client()
    if hub.get_token() is None:
        raise CheckpointError(f"pushing to {address} needs a token, and there is none: {_TOKEN}.")
    files = {f"{address.name}.safetensors": tensors, f"{address.name}.json": card}
    with _explained(hub, address):
        if address.revision is None:
            hub.create_repo(address.repo, private=private, exist_ok=True)
        done = hub.create_commit(
            address.repo,
            [hub.CommitOperationAdd(path, content) for path, content in files.items()],
            commit_message=message,
            revision=address.revision,
        )
    return str(address._replace(revision=done.oid))


def _client() -> Any:
    try:
        import huggingface_hub
    except ModuleNotFoundError as error:
        if error.name != "huggingface_hub":
            raise
        raise CheckpointError(
            "hf:// addresses need huggingface_hub, which is not installed: pip install 'lightning-vsml[hub]'."
        ) from error
    return huggingface_hub


@contextmanager
def _explained(hub: ModuleType, address: Address) -> Iterator[None]:
    """What goes wrong, as errors that say what to do."""
    from huggingface_hub import errors

    reasons: Mapping[type[Exception], str] = {
        errors.HFValidationError: "is not an address that the Hub admits. Correct user and repository",
        errors.GatedRepoError: f"asks for consent first. Give it on the repository's page; then {_TOKEN}",
        errors.RepositoryNotFoundError: (
            "is in a repository that does not exist, or that may not be seen with this token, or without one. Check "
            f"user and repository; if it is private or yours, {_TOKEN}"
        ),
        errors.RevisionNotFoundError: "names a branch, tag or commit that the repository lacks. Correct it after the @",
        errors.LocalEntryNotFoundError: (
            "is not among what was downloaded before, and the Hub was not reached. Check the network, HF_ENDPOINT and "
            "HF_HUB_OFFLINE, or give the path of a local file"
        ),
        errors.EntryNotFoundError: (
            "is not whole: an algorithm is name.safetensors with its card name.json beside it, and one is not in the "
            "repository. Check the name, or push both"
        ),
        errors.OfflineModeIsEnabled: "was not reached, as HF_HUB_OFFLINE is set. Unset it",
        errors.HfHubHTTPError: f"was refused by the Hub. If this is a matter of who asks, {_TOKEN}",
        errors.HTTPError: "was not reached. Check the network and HF_ENDPOINT",
        OSError: "was not reached, or its files could not be kept. Check the network, HF_ENDPOINT and HF_HOME",
    }
    try:
        yield
    except tuple(reasons) as error:
        reason = next(reason for kind, reason in reasons.items() if isinstance(error, kind))
        detail = str(error).strip().partition("\n")[0]
        raise CheckpointError(f"{address} {reason}. ({type(error).__name__}: {detail})") from error
