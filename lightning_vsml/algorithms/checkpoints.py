"""Learning algorithms on disk: ``<name>.safetensors`` holds the tensors, ``<name>.json`` beside it the card.

The card says how to run the tensors (sizes, protocol, codec, stability), how they were made, what they were
measured at, and the sha256 of the tensor file. Nothing is unpickled; files are replaced atomically. They may also lie
in a repository of the Hugging Face Hub (:mod:`~lightning_vsml.algorithms.hub`).
"""

import hashlib
import json
import os
import platform
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, overload

import safetensors
import torch
from safetensors.torch import load as parse_safetensors
from safetensors.torch import save as render_safetensors

from lightning_vsml.algorithms import hub
from lightning_vsml.algorithms.base import FAMILIES, Algorithm
from lightning_vsml.algorithms.cards import COMMON, KINDS, Fields, check_fields
from lightning_vsml.algorithms.cellular import LearningAlgorithm
from lightning_vsml.algorithms.emergent import Emergent
from lightning_vsml.algorithms.files import CheckpointError, replace_file
from lightning_vsml.algorithms.meta_rnn import MetaRNN
from lightning_vsml.algorithms.mplp import MPLP
from lightning_vsml.algorithms.plugins import find_family
from lightning_vsml.algorithms.rules import RULES

FORMAT = "lightning_vsml"
VERSION = 6  # of the files; a reader takes this and all older versions
# 2: ticks have "own"; 3: "positions"; 4: "fine", "tolerance", a reach of weights; 5: "family"
SHIPPED = (LearningAlgorithm, Emergent, MetaRNN, MPLP, *RULES.values())  # families that come with the package
Kind = TypeVar("Kind", bound=Algorithm)


def shipped_dir() -> Path:
    """Where the algorithms that come with the package lie."""
    package = Path(__file__).parents[1]
    installed = package / "_checkpoints"
    return installed if installed.is_dir() else package.parent / "checkpoints"


def names(family: str | None = None) -> list[str]:
    """Names of the shipped algorithms, of all families or of one.

    >>> names("cellular")
    ['adaptive', 'backprop', 'cloned_backprop', 'meta_cloned']
    """
    found = sorted(path.stem for path in shipped_dir().glob("*.safetensors"))
    return [n for n in found if family is None or _family(_read_card(shipped_dir() / f"{n}.json")) == family]


def _family(card: dict[str, Any]) -> str:
    """Before version 5 there was one."""
    return str(card.get("family", LearningAlgorithm.family))


def card_path(path: Path) -> Path:
    """The card that belongs to a tensor file."""
    return path.with_suffix(".json")


@overload
def load(name_or_path: str | os.PathLike[str], device: torch.device | str = "cpu") -> Algorithm: ...


@overload
def load(name_or_path: str | os.PathLike[str], device: torch.device | str = "cpu", *, kind: type[Kind]) -> Kind: ...


def load(
    name_or_path: str | os.PathLike[str], device: torch.device | str = "cpu", *, kind: type[Algorithm] = Algorithm
) -> Algorithm:
    """Load an algorithm by the name of a shipped one, by the path of its ``.safetensors`` file, or from the Hub.

    Args:
        name_or_path: a string without a folder or ending is a name; ``"hf://user/repo/name"`` is a name in a
            repository of the Hugging Face Hub, and ``"hf://user/repo/name@revision"`` that at a branch, tag or commit;
            anything else is a path.
        device: where its tensors go, whatever device they were made on.
        kind: the family that it has to be of; by default any.

    Raises:
        CheckpointError: unknown name; missing, damaged, foreign or newer file; another family; from the Hub: the
            extra ``hub`` is not installed, no such repository or revision, no network.
        PluginError: the package that has the family among its entry points is broken.

    >>> load("backprop")
    LearningAlgorithm('backprop', units=5, |V_M|=190, lr=0.1)
    """
    path = _find(name_or_path)
    card = _read_card(card_path(path))
    _check_card(card_path(path), card, COMMON)
    content = path.read_bytes()
    if (digest := hashlib.sha256(content).hexdigest()) != card.get("sha256"):
        raise CheckpointError(
            f"{path} is damaged or does not belong to its card: expected sha256 {card.get('sha256')}, got {digest}. "
            "Copy or make both files again."
        )
    family = find_family(_family(card))
    if family is None:
        raise CheckpointError(
            f"{path} is of the family {card['family']!r}; known are {', '.join(FAMILIES)}. Install the package that "
            "defines it, and import it first, unless it is among that package's entry points."
        )
    if not issubclass(family, kind):
        raise CheckpointError(
            f"{path} is of the family {family.family!r}, but expected was one of the family {kind.family!r}. Give "
            "another algorithm."
        )
    _check_card(card_path(path), card, family.card_fields)
    try:
        algorithm = family.assemble(card, parse_safetensors(content))
    except (KeyError, TypeError, ValueError, RuntimeError, safetensors.SafetensorError) as error:
        raise CheckpointError(
            f"{path} and its card do not describe a learning algorithm: {_words(error)} Make both files again."
        ) from error
    return algorithm.to(device)


def save(
    algorithm: Algorithm,
    path: str | os.PathLike[str],
    *,
    made_by: Mapping[str, Any],
) -> None:
    """Write an algorithm and its card.

    Args:
        algorithm: its own ``card`` gives ``kind`` and whatever else belongs to it.
        path: the ``.safetensors`` file; its stem becomes the name.
        made_by: how it was made: command, and where they apply data, seed, steps, device.

    Measurements on an older card at ``path`` are kept where the tensors are the same.

    Raises:
        ValueError: wrong ending, kind, or a setting that no card may hold; nothing is written.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise ValueError(f"a checkpoint's file name should end in .safetensors, got {path.name!r}.")
    kind = algorithm.card.get("kind")
    if kind not in KINDS:
        raise ValueError(f"algorithm.card['kind'] should be one of {KINDS}, got {kind!r}.")
    content = render_safetensors(algorithm.tensors(), metadata={"format": FORMAT})
    card = {"format": FORMAT, "version": VERSION, "name": path.stem} | algorithm.card
    card |= {  # a loaded algorithm brings the card of its old file along
        "version": VERSION,
        "name": path.stem,
        "family": algorithm.family,
        **algorithm.settings(),
        "made_by": {**made_by, "torch": torch.__version__, "python": platform.python_version()},
        "measured": [],
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    if card_path(path).is_file():
        older = _read_card(card_path(path))
        card["measured"] = older["measured"] if older.get("sha256") == card["sha256"] else []
    text = _render_card(card)
    check_fields(json.loads(text), {**COMMON, **algorithm.card_fields}, notes=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, content)
    replace_file(card_path(path), text)


def push(
    algorithm: Algorithm | str | os.PathLike[str],
    address: str,
    *,
    made_by: Mapping[str, Any] | None = None,
    private: bool | None = None,
    message: str | None = None,
) -> str:
    """Upload an algorithm and its card, in one commit, to a repository of the Hugging Face Hub.

    Args:
        algorithm: itself, or what :func:`load` takes: a name, the path of a file, another address.
        address: ``"hf://user/repo/name"``, a repository that is made if it does not exist; with ``@branch`` it and the
            branch have to.
        made_by: of an algorithm that was not yet saved, as :func:`save` asks for it; what was has it on its card.
        private: whether a new repository is; by default what its owner has set.
        message: of the commit.

    Returns:
        The address of just this commit, ``"hf://user/repo/name@<commit>"``.

    Raises:
        CheckpointError: not an address; no file that could be loaded; the extra ``hub`` is not installed; no token, or
            none that may write there; no network.
        ValueError: ``made_by`` is missing, or given for a file.
    """
    goal = hub.parse(address)
    if isinstance(algorithm, Algorithm):
        if made_by is None:
            raise ValueError('say how the algorithm was made, e.g. made_by={"command": "python train.py"}.')
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"{goal.stem}.safetensors"
            save(algorithm, path, made_by=made_by)
            tensors, card = path.read_bytes(), _read_card(card_path(path))
    else:
        if made_by is not None:
            raise ValueError(f"the card of {algorithm} says how it was made; leave made_by out.")
        path = _find(algorithm)
        load(path)  # what could not be loaded from there is not pushed
        tensors, card = path.read_bytes(), _read_card(card_path(path)) | {"name": goal.stem}
    return hub.upload(goal, tensors, _render_card(card), private, message or f"Add {goal.name}")


def record(path: str | os.PathLike[str], measurement: Mapping[str, Any]) -> None:
    """Add to a card what its algorithm was measured at: data set, steps, accuracy, baseline, command.

    Raises:
        CheckpointError: see :func:`load`.
    """
    card = load(Path(path)).card
    others = [older for older in card["measured"] if older != dict(measurement)]
    replace_file(card_path(Path(path)), _render_card({**card, "measured": [*others, dict(measurement)]}))


def _find(name_or_path: str | os.PathLike[str]) -> Path:
    if not isinstance(name_or_path, str | os.PathLike):
        raise CheckpointError(
            f"expected the name of a learning algorithm ({', '.join(names())}), the path of a .safetensors file, "
            f"hf://user/repo/name or a LearningAlgorithm, got {name_or_path!r}."
        )
    if isinstance(name_or_path, str) and name_or_path.startswith(hub.PREFIX):
        return hub.fetch(hub.parse(name_or_path))
    path = Path(name_or_path)
    if isinstance(name_or_path, str) and path.suffix == "" and path.name == name_or_path:
        if name_or_path not in names():
            raise CheckpointError(
                f"unknown learning algorithm {name_or_path!r}; the shipped ones are: {', '.join(names()) or 'none'}. "
                "Give one of these names, the path of a .safetensors file, or hf://user/repo/name."
            )
        path = shipped_dir() / f"{name_or_path}.safetensors"
    elif path.suffix != ".safetensors":
        raise CheckpointError(f"expected the path of a .safetensors file, got {str(path)!r}.")
    for needed, what in ((path, "checkpoint"), (card_path(path), "card of the checkpoint")):
        if not needed.is_file():
            raise CheckpointError(
                f"the {what}, {needed}, does not exist. An algorithm is a .safetensors file with a .json card beside."
            )
    return path


def _read_card(path: Path) -> dict[str, Any]:
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # of UTF-8, of JSON, of its longest numbers; and of its depth
        raise CheckpointError(f"{path} is damaged: it is not JSON ({error}). Copy or make it again.") from error
    if not isinstance(card, dict) or card.get("format") != FORMAT:
        raise CheckpointError(f'{path} is not the card of a {FORMAT} checkpoint: it lacks "format": "{FORMAT}".')
    version = card.get("version")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise CheckpointError(f"{path} is damaged: its version should be a whole number from 1, got {version!r}.")
    if version > VERSION:
        raise CheckpointError(
            f"{path} has format version {version}, this package reads up to {VERSION}. Upgrade lightning-vsml."
        )
    return card


def _words(error: Exception) -> str:
    """What a constructor said; of other errors, which are no sentences, what they are."""
    return str(error) if type(error) is ValueError else f"{error!r}."


def _check_card(path: Path, card: dict[str, Any], fields: Fields) -> None:
    try:
        check_fields(card, fields, notes=True)
    except ValueError as error:
        raise CheckpointError(f"{path} is not a card that can be run: {error} Correct it, or make it again.") from error


def _render_card(card: dict[str, Any]) -> bytes:
    return (json.dumps(card, indent=2, ensure_ascii=False) + "\n").encode()
