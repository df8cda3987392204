"""Networks of many kinds, small enough for tests."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, relu, scaled_dot_product_attention, silu
from torch.utils.checkpoint import checkpoint


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Linear(6, 10), nn.Linear(10, 4)
        self.blocks = nn.ModuleList(nn.Linear(10, 10) for _ in range(3))
        self.norm = nn.LayerNorm(10, elementwise_affine=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = x + block(torch.relu(self.norm(x)))
        return self.head(x)


class Shared(nn.Module):
    """One layer used three times, on its own output too."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.shared, self.head = nn.Linear(6, 10), nn.Linear(10, 10), nn.Linear(10, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.stem(x))
        x = torch.tanh(self.shared(x))
        return self.head(torch.tanh(self.shared(x)) + self.shared(x * 0.5))


class Sequence(nn.Module):
    """Linears on (S, T, A), mixed over time by attention-like glue."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.value, self.head = nn.Linear(3, 5), nn.Linear(3, 5, bias=False), nn.Linear(5, 4)

    def forward(self, x: Tensor) -> Tensor:
        q, v = self.query(x), self.value(x)
        mixed = torch.softmax(q @ q.mT / 5**0.5, dim=-1) @ v
        return self.head(torch.relu(mixed)).mean(1)


class Checkpointed(nn.Module):
    """Glue within activation checkpoints is computed again on the way back; one layer is in two of them."""

    def __init__(self, use_reentrant: bool = False) -> None:
        super().__init__()
        self.use_reentrant = use_reentrant
        self.stem, self.head = nn.Linear(6, 8), nn.Linear(8, 4)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Dropout(0.1), nn.Linear(8, 8), nn.Tanh()) for _ in range(2)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in (*self.blocks, self.blocks[0]):
            x = checkpoint(block, x, use_reentrant=self.use_reentrant)
        return self.head(x)


class TwoHeads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.classes, self.value = nn.Linear(6, 10), nn.Linear(10, 4), nn.Linear(10, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        z = torch.tanh(self.body(x))
        return self.classes(z), self.value(z)


def cnn(pool: type[nn.Module]) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, stride=2, padding=1),
        nn.BatchNorm2d(4, affine=False),
        nn.ReLU(inplace=True),
        nn.Conv2d(4, 6, 3, padding="same", dilation=2, groups=2, padding_mode="circular"),
        nn.GELU(),
        pool(2),
        nn.Conv2d(6, 6, 2, groups=6, bias=False),
        nn.Flatten(),
        nn.Linear(6, 4),
    )


def perceptron(activation: Callable[[], nn.Module]) -> nn.Module:
    return nn.Sequential(
        nn.Linear(6, 12), activation(), nn.Dropout(0.2), nn.Linear(12, 8), activation(), nn.Linear(8, 4)
    )


class Transformer(nn.Module):
    """Embeddings, two blocks of attention and MLP between layer norms, in 3 heads; inputs are rounded to tokens."""

    class Block(nn.Module):
        def __init__(self, size: int, heads: int) -> None:
            super().__init__()
            self.heads = heads
            self.norms = nn.ModuleList([nn.LayerNorm(size), nn.RMSNorm(size)])
            self.qkv, self.out = nn.Linear(size, 3 * size), nn.Linear(size, size)
            self.mlp = nn.Sequential(nn.Linear(size, 2 * size), nn.GELU(), nn.Linear(2 * size, size))

        def forward(self, x: Tensor) -> Tensor:
            q, k, v = (
                part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
                for part in self.qkv(self.norms[0](x)).chunk(3, dim=-1)
            )
            x = x + self.out(scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2))
            return x + self.mlp(self.norms[1](x))

    def __init__(self, vocabulary: int = 7, length: int = 6, size: int = 12, classes: int = 4) -> None:
        super().__init__()
        self.vocabulary = vocabulary
        self.tokens, self.positions = nn.Embedding(vocabulary, size), nn.Embedding(length, size)
        self.blocks = nn.Sequential(self.Block(size, 3), self.Block(size, 3))
        self.norm, self.head = nn.LayerNorm(size), nn.Linear(size, classes)

    def forward(self, x: Tensor) -> Tensor:
        tokens = (2 * x).round().long() % self.vocabulary
        x = self.tokens(tokens) + self.positions(torch.arange(x.shape[1]))
        return self.head(self.norm(self.blocks(x)).mean(1))


class ResNet(nn.Module):
    """Convolutions, batch norms and skip connections."""

    class Block(nn.Module):
        def __init__(self, inputs: int, outputs: int, stride: int, activation: Callable[[Tensor], Tensor]) -> None:
            super().__init__()
            self.activation = activation
            self.first = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
            self.second = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
            self.norms = nn.ModuleList([nn.BatchNorm2d(outputs), nn.BatchNorm2d(outputs)])
            self.skip = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

        def forward(self, x: Tensor) -> Tensor:
            y = self.activation(self.norms[0](self.first(x)))
            return self.activation(self.norms[1](self.second(y)) + self.skip(x))

    def __init__(self, activation: Callable[[Tensor], Tensor] = relu, classes: int = 4) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4))
        self.blocks = nn.Sequential(self.Block(4, 4, 1, activation), self.Block(4, 6, 2, activation))
        self.head = nn.Linear(6, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.stem(x)).mean((2, 3)))


class Smooth(nn.Module):
    """Convolutions with stride and groups, a skip connection and a shared layer, without kinks."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.down = nn.Conv2d(2, 8, 3, padding=1), nn.Conv2d(8, 12, 3, stride=2, padding=1)
        self.grouped, self.pool = nn.Conv2d(12, 12, 3, padding=1, groups=3), nn.AvgPool2d(2)
        self.shared, self.head = nn.Linear(48, 48), nn.Linear(48, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = gelu(self.down(torch.tanh(self.stem(x))))
        x = self.pool(x + silu(self.grouped(x))).flatten(1)
        x = x + torch.tanh(self.shared(x))
        return self.head(x + silu(self.shared(x)))


def temporal() -> nn.Module:
    return nn.Sequential(
        nn.Conv1d(3, 6, 3, padding=2, padding_mode="circular", groups=3),
        nn.GroupNorm(2, 6),
        nn.ReLU(),
        nn.Conv1d(6, 4, 2, stride=2, dilation=2),
        nn.BatchNorm1d(4),
        nn.Tanh(),
        nn.Flatten(),
        nn.LazyLinear(4),
    )


def autoencoder() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, stride=2, padding=1),
        nn.Tanh(),
        nn.ConvTranspose2d(4, 4, 3, stride=2, padding=1, output_padding=1, groups=2),
        nn.Tanh(),
        nn.ConvTranspose2d(4, 1, 2, dilation=2),
        nn.Flatten(),
        nn.LazyLinear(4),
    )
