"""Algorithms on disk."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import with_own_messages

from lightning_vsml import CheckpointError, checkpoints, programs
from lightning_vsml.algorithms.__main__ import main
from lightning_vsml.algorithms.cellular import TOLERANCE


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "mine.safetensors"
    checkpoints.save(programs.backprop(lr=0.3), path, made_by={"command": "test"})
    return path


def edit_card(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    card = json.loads(checkpoints.card_path(path).read_text())
    change(card)
    checkpoints.card_path(path).write_text(json.dumps(card))


def test_round_trip(saved: Path) -> None:
    for given in (saved, str(saved)):
        loaded = checkpoints.load(given)
        assert loaded.name == "mine"
        assert loaded.fingerprint == programs.backprop(lr=0.3).fingerprint
    assert sorted(file.name for file in saved.parent.iterdir()) == ["mine.json", "mine.safetensors"]


def test_own_messages_survive(tmp_path: Path) -> None:
    algorithm = with_own_messages()
    algorithm.card["kind"] = "constructed"
    checkpoints.save(algorithm, tmp_path / "own.safetensors", made_by={"command": "test"})
    loaded = checkpoints.load(tmp_path / "own.safetensors")
    assert loaded.protocol == algorithm.protocol and loaded.fingerprint == algorithm.fingerprint
    assert (loaded.card["version"], loaded.card["protocol"]["learn"][1]["own"]) == (checkpoints.VERSION, [1, 2])


def test_the_exponent_of_positions_survives(saved: Path) -> None:
    sums = checkpoints.load(saved)
    checkpoints.save(replace(sums, positions=0.5), saved, made_by={"command": "test"})
    loaded = checkpoints.load(saved)
    assert loaded.positions == 0.5 and loaded.fingerprint != sums.fingerprint


def test_how_ticks_are_run_and_the_reach_survive(saved: Path) -> None:
    loaded = checkpoints.load(saved)
    assert loaded.fine and loaded.tolerance == TOLERANCE and loaded.reach == programs.backprop().reach
    checkpoints.save(replace(loaded, fine=False, tolerance=1e-4), saved, made_by={"command": "test"})
    other = checkpoints.load(saved)
    assert (other.fine, other.tolerance) == (False, 1e-4) and other.fingerprint == loaded.fingerprint


def test_version_3_ran_in_the_cells_own_type(saved: Path) -> None:
    now = checkpoints.load(saved)
    edit_card(
        saved, lambda card: (card.update(version=3), *map(card.pop, ("fine", "tolerance")), card["reach"].pop("w"))
    )
    then = checkpoints.load(saved)
    assert then.fingerprint == now.fingerprint
    assert (then.fine, then.tolerance, then.reach.w) == (False, TOLERANCE, math.inf)


def test_version_2_summed_over_positions(saved: Path) -> None:
    now = checkpoints.load(saved)
    edit_card(saved, lambda card: (card.update(version=2), card.pop("positions")))
    assert checkpoints.load(saved).fingerprint == now.fingerprint and checkpoints.load(saved).positions == 0


def test_version_1_had_no_own_messages(saved: Path) -> None:
    def downgrade(card: dict[str, Any]) -> None:
        card["version"] = 1
        for step in (*card["protocol"]["forward"], *card["protocol"]["learn"]):
            del step["own"]

    now = checkpoints.load(saved)
    edit_card(saved, downgrade)
    assert checkpoints.load(saved).protocol == now.protocol and checkpoints.load(saved).fingerprint == now.fingerprint


@pytest.mark.parametrize(
    ("name", "sha256", "fingerprint"),
    [("backprop", "c300c7a5aef9", "c7a3d2d3cd6e"), ("cloned_backprop", "9490412d81fc", "e4b933caf7a1")],
)
def test_shipped_files_stay_as_they_are(name: str, sha256: str, fingerprint: str) -> None:
    """Runs that resume compare fingerprints."""
    shipped = checkpoints.load(name)
    assert shipped.card["sha256"].startswith(sha256) and shipped.fingerprint.startswith(fingerprint)


def test_float64_keeps_its_dtype(tmp_path: Path) -> None:
    algorithm = programs.backprop(dtype=torch.float64)
    checkpoints.save(algorithm, tmp_path / "double.safetensors", made_by={"command": "test"})
    assert checkpoints.load(tmp_path / "double.safetensors").fingerprint == algorithm.fingerprint


@pytest.mark.gpu
def test_loads_onto_a_gpu(saved: Path) -> None:
    assert checkpoints.load(saved, device="cuda").cell.W.is_cuda


@pytest.mark.parametrize("name", checkpoints.names())
def test_shipped_cards_are_complete(name: str) -> None:
    shipped = checkpoints.load(name)
    card = shipped.card
    assert card["name"] == name
    assert card["kind"] in checkpoints.KINDS
    assert card["made_by"]["command"].startswith("python -m lightning_vsml.")
    assert shipped.size > 0 and shipped.lr > 0
    assert card["measured"], "a shipped algorithm says what it was measured at"


def test_the_shipped_backprop_is_what_its_card_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = checkpoints.load("backprop")
    monkeypatch.chdir(tmp_path)
    main(shipped.card["made_by"]["command"].split()[3:])
    assert (tmp_path / "backprop.safetensors").read_bytes() == (
        checkpoints.shipped_dir() / "backprop.safetensors"
    ).read_bytes()
    assert checkpoints.load(tmp_path / "backprop.safetensors").fingerprint == shipped.fingerprint


def test_a_loaded_algorithm_is_saved_under_its_new_name(tmp_path: Path) -> None:
    shipped = checkpoints.load("backprop")
    checkpoints.save(shipped, tmp_path / "other.safetensors", made_by={"command": "copy"})
    other = checkpoints.load(tmp_path / "other.safetensors")
    assert (other.name, other.fingerprint) == ("other", shipped.fingerprint)
    assert other.card["made_by"]["command"] == "copy" and other.card["measured"] == []


def test_a_shipped_algorithm_without_its_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lonely.safetensors").write_bytes(b"")
    monkeypatch.setattr(checkpoints, "shipped_dir", lambda: tmp_path)
    with pytest.raises(CheckpointError, match=r"the card of the checkpoint, .*lonely.json, does not exist"):
        checkpoints.load("lonely")


def test_measurements_stay_with_their_tensors(saved: Path) -> None:
    checkpoints.record(saved, {"dataset": "digits", "accuracy": 0.95})
    assert checkpoints.load(saved).card["measured"] == [{"dataset": "digits", "accuracy": 0.95}]
    checkpoints.save(programs.backprop(lr=0.3), saved, made_by={"command": "again"})
    assert len(checkpoints.load(saved).card["measured"]) == 1
    checkpoints.save(programs.backprop(lr=0.1), saved, made_by={"command": "other"})
    assert checkpoints.load(saved).card["measured"] == []


def test_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(CheckpointError, match=r"unknown learning algorithm 'adam'.*backprop"):
        checkpoints.load("adam")


@pytest.mark.parametrize(
    ("path", "message"),
    [("nowhere/x.safetensors", "does not exist"), ("model.ckpt", "expected the path of a .safetensors file")],
)
def test_wrong_paths(path: str, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        checkpoints.load(path)


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (flip_a_byte, "damaged or does not belong to its card: expected sha256"),
        (lambda path: path.write_bytes(path.read_bytes()[:100]), "damaged or does not belong"),
        (lambda path: path.write_bytes(b""), "damaged or does not belong"),
        (lambda path: path.unlink(), "the checkpoint, .* does not exist"),
        (lambda path: checkpoints.card_path(path).unlink(), "the card of the checkpoint, .* does not exist"),
        (lambda path: checkpoints.card_path(path).write_text("{"), "damaged: it is not JSON"),
        (lambda path: checkpoints.card_path(path).write_text("[]"), "not the card of a lightning_vsml checkpoint"),
        (lambda path: edit_card(path, lambda c: c.update(format="gguf")), "not the card of a lightning_vsml"),
        (lambda path: edit_card(path, lambda c: c.update(version=99)), "format version 99, .* reads up to 6. Upgrade"),
        (lambda path: edit_card(path, lambda c: c.update(version="1")), "version should be a whole number"),
        (lambda path: edit_card(path, lambda c: c.pop("protocol")), "not a card that can be run: protocol is missing"),
        (lambda path: edit_card(path, lambda c: c.update(memory=[True])), "do not describe a learning algorithm"),
        (lambda path: edit_card(path, lambda c: c["protocol"]["learn"][0].update(x=[9])), "feeds channels"),
    ],
)
def test_damaged_foreign_or_newer(saved: Path, damage: Callable[[Path], Any], message: str) -> None:
    damage(saved)
    with pytest.raises(CheckpointError, match=message):
        checkpoints.load(saved)


def test_foreign_safetensors_with_a_fitting_hash(saved: Path) -> None:
    import hashlib

    from safetensors.torch import save_file

    save_file({"weight": torch.ones(3)}, saved)
    edit_card(saved, lambda card: card.update(sha256=hashlib.sha256(saved.read_bytes()).hexdigest()))
    with pytest.raises(CheckpointError, match="do not describe a learning algorithm"):
        checkpoints.load(saved)


def test_saving_what_cannot_be_saved_writes_nothing(tmp_path: Path) -> None:
    algorithm = programs.backprop()
    with pytest.raises(ValueError, match=r"should end in .safetensors"):
        checkpoints.save(algorithm, tmp_path / "x.pt", made_by={})
    algorithm.card.pop("kind")
    with pytest.raises(ValueError, match="kind"):
        checkpoints.save(algorithm, tmp_path / "x.safetensors", made_by={})
    assert not list(tmp_path.iterdir())
