"""Trainable cells, and what is fixed about them from the start."""

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from lightning_vsml.algorithms.cellular import LearningAlgorithm
from lightning_vsml.algorithms.parts import Codec, Protocol, Reach, Stability
from lightning_vsml.cloning.targets import LR, Target
from lightning_vsml.ticks import Cell, State, Tick

I, F, G, O = range(4)  # where the gates stand
OPEN, SHUT = 25.0, -25.0  # 1 and 0 exactly, in float32

# Every tick has message channels of its own, so that a cell can tell the ticks apart.
PROTOCOL = Protocol(forward=(Tick(x=(0,)),), learn=(Tick(x=(1,), e=(0,)), Tick(x=(2,), e=(1,))))
CHANNELS = {"x": 3, "e": 2}


class Clone(nn.Module, ABC):
    """A cell in training: free parameters that make up a cell and a codec.

    Attributes:
        memory: which of the N units are memories, see :class:`~lightning_vsml.LearningAlgorithm`.
    """

    memory: tuple[bool, ...]

    @abstractmethod
    def cell(self) -> Cell:
        """The cell, differentiable in the free parameters."""

    @abstractmethod
    def code(self) -> tuple[Tensor, Tensor]:
        """How each memory of the target is written to and read from c: encode and decode, ``(N, memories)``."""

    def encode(self, memories: tuple[Tensor, ...]) -> State:
        """States that stand for ``memories``, each ``(G, A, B)``."""
        c = torch.stack(memories, dim=-1) @ self.code()[0].T
        return State(torch.zeros_like(c), c)

    def decode(self, c: Tensor) -> tuple[Tensor, ...]:
        """The memories that c ``(..., N)`` stands for, or their changes."""
        return (c @ self.code()[1]).unbind(-1)

    def algorithm(self, name: str, stability: Stability, reach: Reach = Reach()) -> LearningAlgorithm:  # noqa: B008
        """What has been learned so far, as a learning algorithm."""
        with torch.no_grad():
            encode, decode = self.code()
            return LearningAlgorithm(
                name=name,
                cell=Cell(*(parameter.detach().clone() for parameter in self.cell())),
                protocol=PROTOCOL,
                codec=Codec(encode[:, 0].clone(), decode[:, 0].clone()),
                memory=self.memory,
                lr=LR,
                stability=stability,
                reach=reach,
            )


class Dense(Clone):
    """The paper's cell: N units, every parameter free.

    Args:
        target: gives the number of memories.
        units: N.
        scale: memories are stored in units of their own, divided by ``scale`` (the paper's bounded states: 20);
            ``None`` learns a linear codec (the paper's appendix B).
    """

    W: nn.Parameter
    V: nn.Parameter
    U: nn.Parameter

    def __init__(self, target: Target, units: int = 32, scale: float | None = 20.0) -> None:
        super().__init__()
        N, K = units, len(target.memories)
        if N < K:
            raise ValueError(f"units should be at least the {K} memories of the target, got {N}.")
        for name, rows in (("W", N), ("V", CHANNELS["x"]), ("U", CHANNELS["e"])):
            setattr(self, name, nn.Parameter(torch.randn(rows, 4 * N) / math.sqrt(N)))
        b = torch.zeros(4, N)
        b[F, :K] = 4.0  # a memory starts by remembering
        self.b = nn.Parameter(b.flatten())
        self.P_f, self.P_b = (nn.Parameter(0.1 * torch.randn(N, 1)) for _ in range(2))
        code = torch.zeros(N, K)
        code[range(K), range(K)] = 1.0 / ((scale or 4.0) * torch.tensor(target.sizes))
        self.codes = nn.Parameter(code, requires_grad=scale is None)
        self.memory = (True,) * N if scale is None else tuple(unit < K for unit in range(N))

    def cell(self) -> Cell:
        return Cell(self.W, self.V, self.U, self.b, self.P_f, self.P_b)

    def code(self) -> tuple[Tensor, Tensor]:
        return self.codes, torch.linalg.pinv(self.codes).T


class Symmetric(Clone):
    """A cell that changes sides with its signals, and whose memories are carousels.

    Three things are fixed, all numbers are free:

    * *Symmetry.* Turning the signs of (x, w) or of (w, e) turns outputs, changes and messages as it does in the target.
      Each of R base units comes in four copies, one for each pair of signs (of x, of e) in which it sees the world, and
      all parameters are shared among them as in a group convolution (Cohen & Welling, arXiv 1602.07576). What an error
      could add up to over many synapses, a term without sign, then cancels exactly.
    * *Carousels.* A memory neither forgets nor gates its writes (f = i = 1: the constant error carousel of Hochreiter
      & Schmidhuber, 1997), and stores only what has the symmetry of a weight. Other units start every tick afresh
      (f = 0).
    * *Roles.* Who may hear whom: *writers* the messages (and the memories, unless the target is blind), *readers* the
      messages and the memories, memories the writers. Forward messages come from memories, backward ones from readers.

    Args:
        target: gives the memories, and whether writers hear them.
        writers, readers: number of base units of each role; N = 4 (memories + writers + readers).
        scale: memories are stored divided by it (the paper's bounded states: 20), where tanh(c) is nearly c.
    """

    # the four copies: the sign in which each sees x, and e
    SIGN_X = torch.tensor([1.0, -1.0, 1.0, -1.0])
    SIGN_E = torch.tensor([1.0, 1.0, -1.0, -1.0])

    # buffers
    relative: Tensor
    sign_x: Tensor
    sign_e: Tensor
    mask_W: Tensor
    mask_V: Tensor
    mask_U: Tensor
    mask_b: Tensor
    fixed_b: Tensor
    mask_write: Tensor
    sizes: Tensor
    mask_P_f: Tensor
    mask_P_b: Tensor

    def __init__(self, target: Target, writers: int = 1, readers: int = 1, scale: float = 20.0) -> None:
        super().__init__()
        M, R = len(target.memories), len(target.memories) + writers + readers
        self.memories, self.base_units, self.scale = M, R, scale
        memory, writer, reader = (torch.zeros(R, dtype=torch.bool) for _ in range(3))
        memory[:M], writer[M : M + writers], reader[M + writers :] = True, True, True

        hears = torch.zeros(R, 4, R)  # (from, gate, to)
        for gate in (I, G, O):
            hears[:, gate, reader] = memory.float()[:, None]
            hears[:, gate, writer] = (memory & (not target.blind)).float()[:, None]
        fed = torch.ones(4, R)  # (gate, to)
        fed[F] = 0.0
        fed[:, memory] = torch.tensor([0.0, 0.0, 0.0, 1.0])[:, None]
        bias = torch.zeros(4, R)
        bias[F] = torch.where(memory, OPEN, SHUT)
        bias[I, memory] = OPEN
        self.memory = tuple(memory.repeat(4).tolist())

        copies = torch.arange(4)
        for name, constant in {
            "relative": copies[:, None] ^ copies,  # the copy that one is to another
            "sign_x": self.SIGN_X,
            "sign_e": self.SIGN_E,
            "mask_W": hears.expand(4, R, 4, R).clone(),
            "mask_V": fed.expand(CHANNELS["x"], 4, R).clone(),
            "mask_U": fed.expand(CHANNELS["e"], 4, R).clone(),
            "mask_b": (bias == 0).float() * (fed > 0).float(),
            "fixed_b": bias,
            "mask_write": (writer if target.blind else writer | memory).float().unsqueeze(-1),
            "sizes": torch.tensor(target.sizes),
            "mask_P_f": memory.float(),
            "mask_P_b": reader.float(),
        }.items():
            self.register_buffer(name, constant)

        def parameter(*shape: int, std: float = 0.5) -> nn.Parameter:
            return nn.Parameter(std * torch.randn(*shape))

        self.W = parameter(4, R, 4, R, std=0.5 / math.sqrt(R))
        self.write = parameter(R, M)
        self.V, self.U = parameter(CHANNELS["x"], 4, R), parameter(CHANNELS["e"], 4, R)
        self.b = parameter(4, R)
        self.P_f, self.P_b = parameter(R, std=0.2), parameter(R, std=0.2)
        self.gain = nn.ParameterDict(
            {
                "x": torch.zeros(CHANNELS["x"]),
                "e": torch.zeros(CHANNELS["e"]),
                "P_f": torch.zeros(()),
                "P_b": torch.zeros(()),
            }
        )
        """Logarithms of scales, which change by orders of magnitude while a cell learns to stay in its linear range."""

    def cell(self) -> Cell:
        R, relative = self.base_units, self.relative
        odd = self.sign_x * self.sign_e  # how a weight changes sign, copy by copy
        heard = self.mask_W * self.W
        M, scale = self.memories, self.scale  # memories are heard as large, and written as small, as they are stored
        W = torch.cat([scale * heard[:, :M], heard[:, M:]], dim=1)
        written = self.mask_write * self.write
        W[:, :, G, :M] = odd.view(4, 1, 1) * torch.cat([written[:M], written[M:] / (scale * self.sizes)])
        W = W[relative].permute(0, 2, 3, 1, 4)  # (copy, R) -> (gate, copy, R)
        gain = {name: logarithm.exp() for name, logarithm in self.gain.items()}
        V = (self.mask_V * self.V * gain["x"].view(-1, 1, 1)).unsqueeze(2) * self.sign_x.view(4, 1)
        U = (self.mask_U * self.U * gain["e"].view(-1, 1, 1)).unsqueeze(2) * self.sign_e.view(4, 1)
        b = (self.mask_b * self.b + self.fixed_b).unsqueeze(1).expand(4, 4, R)
        P_f = self.sign_e.view(4, 1) * self.mask_P_f * self.P_f * (scale * gain["P_f"])
        P_b = self.sign_x.view(4, 1) * self.mask_P_b * self.P_b * gain["P_b"]
        return Cell(
            W.reshape(4 * R, 16 * R),
            V.reshape(-1, 16 * R),
            U.reshape(-1, 16 * R),
            b.reshape(-1),
            P_f.reshape(-1, 1),
            P_b.reshape(-1, 1),
        )

    def code(self) -> tuple[Tensor, Tensor]:
        R, M = self.base_units, self.memories
        odd = (self.sign_x * self.sign_e).view(4, 1, 1)
        own, scale = torch.eye(R, M, device=odd.device), self.scale * self.sizes
        return (odd * own / scale).reshape(4 * R, M), (odd * own * scale / 4).reshape(4 * R, M)
