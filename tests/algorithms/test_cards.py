"""Cards are checked by type and range: what loads means what the card says, everything else is a clear error."""

import copy
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lightning_vsml import CheckpointError, checkpoints
from lightning_vsml.algorithms.base import FAMILIES
from lightning_vsml.algorithms.cards import COMMON

ONE_OF_EACH = ("adaptive", "backprop", "hebb", "plasticity", "vsml_scratch", "fixed_weight_boolean", "mplp_mnist")
Path_ = tuple[str | int, ...]

NUMBERS = st.sampled_from([0, -1, 1, 2, 3, 2**63, 10**400, 0.0, -0.5, 0.5, 1e39, float("inf"), float("nan")])
SIMPLE = st.none() | st.booleans() | NUMBERS | st.sampled_from(["", "false", "0.1", "tensor", "relu", "a" * 64])
ANYTHING = SIMPLE | st.lists(SIMPLE, max_size=3) | st.dictionaries(st.sampled_from(["x", "lr"]), SIMPLE, max_size=2)


@pytest.fixture(scope="module", params=ONE_OF_EACH)
def copied(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shipped algorithm, to be spoiled."""
    folder = tmp_path_factory.mktemp("card")
    for ending in ("safetensors", "json"):
        shutil.copy(checkpoints.shipped_dir() / f"{request.param}.{ending}", folder)
    return folder / f"{request.param}.safetensors"


def places(value: Any, at: Path_ = ()) -> Iterator[Path_]:
    """Of everything in an object of JSON."""
    if at:
        yield at
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, inner in items:
        yield from places(inner, (*at, name))


def checked(card: dict[str, Any]) -> list[Path_]:
    """What is no note: a card's own fields."""
    known = {*COMMON, *FAMILIES[card.get("family", "cellular")].card_fields}
    return [at for at in places(card) if at[0] in known and (len(at) == 1 or at[0] not in ("made_by", "measured"))]


def said_by(algorithm: Any) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(json.dumps(algorithm.settings()))
    return said


def means(card: Any, said: Any) -> bool:
    """Whether an algorithm's settings are what a card says, as far as it does; true is not 1."""
    if isinstance(card, dict) and isinstance(said, dict):
        return all(means(card[name], said[name]) for name in card if name in said)
    if isinstance(card, list) and isinstance(said, list):
        return len(card) == len(said) and all(map(means, card, said))
    return isinstance(card, bool) == isinstance(said, bool) and card == said


@given(data=st.data())
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_loads_is_what_the_card_says(copied: Path, data: st.DataObject) -> None:
    """Any one field, taken out or replaced by anything."""
    whole = checkpoints.card_path(copied).read_text()
    card = json.loads(whole)
    *outer, last = data.draw(st.sampled_from(checked(card)))
    inner = card
    for name in outer:
        inner = inner[name]
    if data.draw(st.booleans()):
        inner[last] = data.draw(ANYTHING)
    else:
        del inner[last]
    try:
        checkpoints.card_path(copied).write_text(json.dumps(card))
        algorithm = checkpoints.load(copied)
    except CheckpointError as error:
        assert str(copied.parent) in str(error)
    else:
        assert means(card, said_by(algorithm)) and algorithm.name == card["name"]
    finally:
        checkpoints.card_path(copied).write_text(whole)


def put(*at: Any) -> Callable[[dict[str, Any]], None]:
    """A function that sets what stands at a place of a card."""
    *outer, last, value = at

    def change(card: dict[str, Any]) -> None:
        inner: Any = card
        for name in outer:
            inner = inner[name]
        inner[last] = value

    return change


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("backprop", put("memory", "tfff"), r"memory should be a list of 1 or more, got 'tfff'"),
        ("backprop", put("memory", 4, "false"), r"memory\[4\] should be true or false, got 'false'"),
        ("backprop", put("fine", "false"), "fine should be true or false, got 'false'"),
        ("backprop", put("lr", float("inf")), "lr should be a finite number above 0, got inf"),
        ("backprop", put("lr", "0.1"), "lr should be a finite number above 0, got '0.1'"),
        ("backprop", put("lr", True), "lr should be a finite number above 0, got True"),
        ("backprop", put("positions", 2), "positions should be a finite number of at least 0 and of at most 1, got 2"),
        ("backprop", put("tolerance", 1), "tolerance should be a finite number above 0 and below 1, got 1"),
        ("backprop", put("reach", "x", None), r"reach.x should be a finite number above 0, got None"),
        ("backprop", put("reach", "y", 3.0), "reach should hold x, e, w, got 'y' as well"),
        ("backprop", put("stability", "state_clip", -4), "stability.state_clip should be a finite number above 0"),
        ("backprop", put("protocol", "learn", []), "protocol.learn should be a list of 1 or more, got"),
        ("backprop", put("protocol", "learn", 0, "x", "1"), r"protocol.learn\[0\].x should be a list, got '1'"),
        (
            "backprop",
            put("protocol", "learn", 1, "e", [0.5]),
            r"learn\[1\].e\[0\] should be a whole number of",
        ),
        ("backprop", put("protocol", "test", []), "protocol should hold forward, learn, commit, got 'test' as well"),
        ("backprop", put("cell", "units", 6), "cell.units is 6 in the card, but 5 in the tensors"),
        ("backprop", put("cell", "dtype", "float128"), "cell.dtype should be one of 'float64', 'float32'"),
        (
            "backprop",
            put("kind", "found"),
            "kind should be one of .constructed., .*, got .found.",
        ),
        ("backprop", put("measured", ["well"]), r"measured\[0\] should be an object, got 'well'"),
        ("backprop", put("sha256", 1), "sha256 should be a sha256, 64 hexadecimal digits, got 1"),
        ("backprop", put("family", ["a"]), "family should be a string that is not empty"),
        ("adaptive", put("protocol", "commit", 0, "inputs", [[1]]), r"inputs\[0\] should be a list of 2, got \[1\]"),
        ("hebb", put("constants", "lr", 0.002), "constants.lr is 0.002 in the card, but 0.001 in the tensors"),
        ("hebb", put("numbers", ["w", "H"]), r"numbers is \['w', 'H'\] in the card, but \['w'\] in the tensors"),
        ("vsml_scratch", put("std", -1), "std should be a finite number of at least 0, got -1"),
        ("mplp_mnist", put("sizes", "messages", 5), r"there should be a .* got \("),
        ("mplp_mnist", put("sizes", "hidden", [2**40, 2]), r"there should be a .* got \("),
        ("mplp_mnist", put("kinds", ["tanh", "cross_entropy"]), r"there should be a tanh.* got none"),
        ("mplp_mnist", put("sharing", "statistics"), r"there should be a weight.* got none"),
        ("mplp_mnist", put("places", 10**12), r"places is 1000000000000, but there are \d+ tensors"),
    ],
)
def test_the_error_says_where_and_what(
    name: str, change: Callable[[dict[str, Any]], None], message: str, tmp_path: Path
) -> None:
    path = tmp_path / f"{name}.safetensors"
    shutil.copy(checkpoints.shipped_dir() / path.name, path)
    card = json.loads((checkpoints.shipped_dir() / f"{name}.json").read_text())
    change(card)
    checkpoints.card_path(path).write_text(json.dumps(card))
    with pytest.raises(CheckpointError, match=message):
        checkpoints.load(path)


@pytest.mark.parametrize("text", ["[" * 10**5, '{"format": ' + "9" * 5000 + "}", "\udcff"])
def test_json_that_python_can_not_read(text: str, tmp_path: Path) -> None:
    shutil.copy(checkpoints.shipped_dir() / "hebb.safetensors", tmp_path)
    (tmp_path / "hebb.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(CheckpointError, match="it is not JSON"):
        checkpoints.load(tmp_path / "hebb.safetensors")


def test_nothing_is_saved_that_would_not_load(tmp_path: Path) -> None:
    algorithm = checkpoints.load("backprop")
    card = copy.deepcopy(algorithm.card)
    algorithm.card["family"], algorithm.card["constants"] = "other", {1, 2}
    with pytest.raises(TypeError, match="not JSON serializable"):
        checkpoints.save(algorithm, tmp_path / "mine.safetensors", made_by={})
    assert not list(tmp_path.iterdir())
    algorithm.card.update(card)
    checkpoints.save(algorithm, tmp_path / "mine.safetensors", made_by={})
    assert checkpoints.load(tmp_path / "mine.safetensors").card["family"] == "cellular"
