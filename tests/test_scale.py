"""What docs/scale.md says an algorithm keeps, changes and reads of a weight."""

import re
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lightning_vsml import checkpoints

PAGE = Path(__file__).parents[1] / "docs" / "scale.md"
ROW = re.compile(r"^\| `(\w+)` \| (\d+) \| (\d+) \| (\d+) \| (\d+) \|$", re.MULTILINE)
ROWS = ROW.findall(PAGE.read_text(encoding="utf-8"))
A, B, S = 5, 4, 6


@pytest.mark.parametrize(("name", "counts"), [(row[0], tuple(map(int, row[1:]))) for row in ROWS])
def test_numbers_of_a_weight(name: str, counts: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    algorithm = checkpoints.load(name)
    messages = () if algorithm.readable else (algorithm.tensors()["V"].shape[0],)
    x, e = torch.randn(S, 1, A, *messages), torch.randn(S, 1, B, *messages)
    state = algorithm.begin(0.3 * torch.randn(1, A, B))

    def results(state: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        sent = algorithm.send(state, x)
        change, message = algorithm.learn(state.clone(), x, e, S, sent)
        return [sent[0]], [change.whole(A).clone(), message]

    def changed(plane: int) -> list[bool]:
        other = state.clone()
        other[plane] += 0.05 + 0.1 * torch.rand(1, A, B)
        return [
            not all(torch.allclose(*pair, rtol=1e-3, atol=1e-9) for pair in zip(now, then, strict=True))
            for now, then in zip(results(other), before, strict=True)
        ]

    before = results(state)
    read = [changed(plane) for plane in range(len(state))]
    forward, learn = (sum(by[phase] for by in read) for phase in (0, 1))
    assert counts == (len(state), len(before[1][0]), forward, learn)


def test_the_table_is_found() -> None:
    assert {"backprop", "adaptive"} <= {row[0] for row in ROWS}
