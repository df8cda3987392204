"""The rules, against torch's own gradients and optimizers."""

import pytest
import torch
from torch import Tensor

from lightning_vsml.cloning.targets import LR, MOMENTUM, TARGETS, Response

A, B, S = 5, 3, 4


def step(name: str, x: Tensor, e: Tensor, memories: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...], Tensor]:
    """One learning step of a layer: outputs (S, B), new memories, messages (S, A)."""
    response: Response = TARGETS[name].rule(x.unsqueeze(-1), e.unsqueeze(-2), memories)
    new = tuple(m + dm.expand(len(x), A, B).mean(0) for m, dm in zip(memories, response.changes, strict=True))
    return response.forward.sum(-2), new, response.backward.sum(-1)


@pytest.mark.parametrize(("name", "squash"), [("sgd", lambda x: x), ("tanh-sgd", torch.tanh)])
def test_backpropagation_is_autograd_s(name: str, squash) -> None:
    w = torch.randn(A, B, dtype=torch.float64, requires_grad=True)
    x = torch.randn(S, A, dtype=torch.float64, requires_grad=True)
    goal = torch.randn(S, B, dtype=torch.float64)
    y = squash(x) @ w
    loss = (y - goal).square().sum(1).mean() / 2
    loss.backward()
    e = -S * (y - goal) / S  # e = -S dLoss/dy

    got, (new,), message = step(name, x.detach(), e.detach(), (w.detach(),))
    torch.testing.assert_close(got, y.detach())
    torch.testing.assert_close(new, w.detach() - LR * w.grad)
    torch.testing.assert_close(message, -S * x.grad)


def test_momentum_is_torch_s() -> None:
    w = torch.randn(A, B, dtype=torch.float64)
    parameter = torch.nn.Parameter(w.clone())
    optimizer = torch.optim.SGD([parameter], lr=LR / 10, momentum=MOMENTUM)
    memories = (w, torch.zeros_like(w))
    for _ in range(5):
        x, goal = torch.randn(S, A, dtype=torch.float64), torch.randn(S, B, dtype=torch.float64)
        optimizer.zero_grad()
        ((x @ parameter - goal).square().sum(1).mean() / 2).backward()
        optimizer.step()
        _, memories, _ = step("momentum", x, goal - x @ memories[0], memories)
    torch.testing.assert_close(memories[0], parameter.detach())


def test_oja_finds_the_principal_component() -> None:
    directions = torch.linalg.qr(torch.randn(A, A, dtype=torch.float64))[0]
    data = torch.randn(2000, A, dtype=torch.float64) * torch.tensor([2.0, 1.0, 0.7, 0.5, 0.2]) @ directions.T
    w = 0.1 * torch.randn(A, 1, dtype=torch.float64)
    memories = (w.expand(A, B).contiguous(),)
    for x in data.split(S):
        feedback = 0.1 * (x @ memories[0])  # the output, at a tenth of the rate
        _, memories, _ = step("oja", x, feedback, memories)
    w = memories[0][:, 0]
    assert abs(float(w @ directions[:, 0])) / float(w.norm()) > 0.98


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_a_rule_has_the_signs_that_symmetric_cells_rely_on(name: str) -> None:
    """Turning (x, w) turns changes and messages; turning (w, e) turns outputs and changes."""
    target = TARGETS[name]
    x, e = torch.randn(S, A, dtype=torch.float64), torch.randn(S, B, dtype=torch.float64)
    memories = tuple(torch.randn(A, B, dtype=torch.float64) for _ in target.memories)
    for sign_x, sign_e in ((-1, 1), (1, -1)):
        turned = tuple(sign_x * sign_e * m for m in memories)
        y, new, message = step(name, x, e, memories)
        y_t, new_t, message_t = step(name, sign_x * x, sign_e * e, turned)
        torch.testing.assert_close(y_t, sign_e * y)
        torch.testing.assert_close(message_t, sign_x * message)
        for m, m_t in zip(new, new_t, strict=True):
            torch.testing.assert_close(m_t, sign_x * sign_e * m)


@pytest.mark.parametrize("name", [name for name, target in TARGETS.items() if target.blind])
def test_blind_rules_do_not_look_at_the_memories(name: str) -> None:
    x, e = torch.randn(S, A, 1), torch.randn(S, 1, B)
    ours, theirs = (TARGETS[name].rule(x, e, (torch.randn(A, B),)).changes for _ in range(2))
    torch.testing.assert_close(ours, theirs)
