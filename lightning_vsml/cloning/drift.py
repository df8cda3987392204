"""How far learning by a clone leads from learning by its rule, as steps add up."""

import torch
from torch import Tensor

from lightning_vsml.algorithms.cellular import LearningAlgorithm
from lightning_vsml.cloning.errors import outputs
from lightning_vsml.cloning.targets import Target

STEPS = (10, 100, 1000)
G, A, B, S = 8, 16, 4, 16  # tasks, inputs, outputs, samples


def measure(
    algorithm: LearningAlgorithm, target: Target, steps: tuple[int, ...] = STEPS, seed: int = 1
) -> dict[str, float]:
    """Both learn the same noisy linear tasks, each by itself, from the same weights.

    Args:
        algorithm: the clone.
        target: its rule.
        steps: after which to look.
        seed: of the tasks.

    Returns:
        ``drift/n``: distance of their weights after n steps, over the distance that the rule went; ``retention``: what
        that many steps without feedback do to the clone's weights, over their size.
    """
    device = algorithm.cell.W.device
    generator = torch.Generator(device).manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, device=device)

    start, teacher = 0.2 * normal(G, A, B), 0.5 * normal(G, A, B)
    background = normal(1, G, A)
    state, memories = algorithm.encode(start), (start, *[torch.zeros_like(start)] * (len(target.memories) - 1))
    idle = state
    found = {}
    for step in range(1, max(steps) + 1):
        x = (0.5 * normal(S, G, A) + 0.5 * background) * (normal(S, G, A) > -0.5)
        goal = torch.einsum("sga,gab->sgb", x, teacher) + 0.1 * normal(S, G, B)
        change, _ = algorithm.learn(state, x, goal - algorithm.forward(state, x), S)
        state = algorithm.commit(state, change)
        y = outputs(target, memories, x)
        response = target.rule(x.unsqueeze(-1), (goal - y).unsqueeze(-2), memories)
        memories = tuple(m + dm.expand(S, G, A, B).mean(0) for m, dm in zip(memories, response.changes, strict=True))
        change, _ = algorithm.learn(idle, x, torch.zeros_like(goal), S)
        idle = algorithm.commit(idle, change)
        if step in steps:
            distance = (algorithm.decode(state) - memories[0]).norm() / (memories[0] - start).norm()
            found[f"drift/{step}"] = float(distance)
    return found | {"retention": float((algorithm.decode(idle) - start).norm() / start.norm())}
