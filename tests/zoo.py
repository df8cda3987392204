"""Networks with parameters of every kind that SGD can train, small enough for tests."""

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations


class Encoder(nn.Module):
    """torch's own transformer layers, a class token, positions, and a scale; sequences come first or second."""

    def __init__(self, batch_first: bool = True) -> None:
        super().__init__()
        order = {"batch_first": batch_first, "norm_first": batch_first}
        layer = nn.TransformerEncoderLayer(6, 2, 12, dropout=0.1, activation="gelu", **order)
        self.layers, self.head = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), nn.Linear(6, 4)
        self.token, self.positions = nn.Parameter(torch.randn(1, 1, 6) * 0.1), nn.Parameter(torch.randn(6, 6) * 0.1)
        self.scale, self.batch_first = nn.Parameter(torch.ones(())), batch_first

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1) + self.positions
        x = self.layers(x) if self.batch_first else self.layers(x.transpose(0, 1)).transpose(0, 1)
        return self.head(x[:, 0]) * self.scale


class CrossAttention(nn.Module):
    """Queries from one sequence, keys and values from others, with a mask."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(6, 3, bias=True, batch_first=True)
        self.narrow = nn.MultiheadAttention(6, 2, kdim=3, vdim=2, add_bias_kv=True, batch_first=True)
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        mask = torch.ones(2, 5, dtype=torch.bool).triu(4)
        mixed, _ = self.attention(x[:, :2], x, x.tanh(), attn_mask=mask, need_weights=False)
        mixed, weights = self.narrow(mixed, x[..., :3], x[..., :2])
        return self.head(mixed.mean(1)) + weights.sum()


class Recurrent(nn.Module):
    def __init__(self, kind: type[nn.RNNBase], cell: type[nn.RNNCellBase]) -> None:
        super().__init__()
        self.layers = kind(6, 5, num_layers=2, batch_first=True, bidirectional=True)
        self.cell, self.head = cell(10, 7), nn.Linear(7, 4)

    def forward(self, x: Tensor) -> Tensor:
        y, state = self.layers(x)[0], None
        for step in y.unbind(1):
            state = self.cell(step, state)
        return self.head(state[0] if isinstance(state, tuple) else state)


def volumes() -> nn.Module:
    return nn.Sequential(
        nn.Conv3d(2, 4, 2, stride=(1, 2, 1), padding=1, groups=2, bias=False),
        nn.InstanceNorm3d(4, affine=True),
        nn.Tanh(),
        nn.ConvTranspose3d(4, 2, (2, 3, 2), stride=2, output_padding=(0, 1, 0)),
        nn.Flatten(2),
        nn.ConvTranspose1d(2, 3, 3, stride=2, padding=1, bias=False),
        nn.InstanceNorm1d(3, affine=True),
        nn.SiLU(),
        nn.AdaptiveAvgPool1d(5),
        nn.Flatten(),
        nn.Linear(15, 4),
    )


class Tables(nn.Module):
    """Bags of embeddings, a bilinear layer, and one table that is input and output."""

    def __init__(self) -> None:
        super().__init__()
        self.bags = nn.ModuleList(nn.EmbeddingBag(7, 6, mode=mode, padding_idx=0) for mode in ("sum", "mean", "max"))
        self.bilinear, self.mix = nn.Bilinear(6, 6, 6), nn.Linear(6, 6)
        self.table, self.out = nn.Embedding(4, 6), nn.Linear(6, 4, bias=False)
        self.out.weight = self.table.weight

    def forward(self, x: Tensor) -> Tensor:
        tokens = (2 * x).round().long() % 7
        one, two, three = (bag(tokens) for bag in self.bags)
        z = torch.tanh(self.bilinear(one, two) + three) + self.table(tokens % 4).mean(1)
        return self.out(torch.tanh(self.mix(z)))


def parametrized() -> nn.Module:
    return nn.Sequential(
        parametrizations.weight_norm(nn.Linear(6, 8)),
        nn.Tanh(),
        parametrizations.orthogonal(nn.Linear(8, 8)),
        nn.PReLU(),
        parametrizations.spectral_norm(nn.Linear(8, 4)),
    )


class ViT(nn.Module):
    """The architecture of torchvision's vision transformer, shrunk."""

    def __init__(self, size: int = 12, classes: int = 4) -> None:
        super().__init__()
        self.patches = nn.Conv2d(2, size, 4, stride=4)
        self.token, self.positions = nn.Parameter(torch.zeros(1, 1, size)), nn.Parameter(torch.randn(1, 5, size) * 0.02)
        self.blocks = nn.ModuleList(
            nn.ModuleDict(
                {
                    "first": nn.LayerNorm(size, eps=1e-6),
                    "attention": nn.MultiheadAttention(size, 3, batch_first=True),
                    "second": nn.LayerNorm(size, eps=1e-6),
                    "mlp": nn.Sequential(nn.Linear(size, 2 * size), nn.GELU(), nn.Linear(2 * size, size)),
                }
            )
            for _ in range(2)
        )
        self.norm, self.head = nn.LayerNorm(size, eps=1e-6), nn.Linear(size, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1) + self.positions
        for block in self.blocks:
            y = block["first"](x)
            x = x + block["attention"](y, y, y, need_weights=False)[0]
            x = x + block["mlp"](block["second"](x))
        return self.head(self.norm(x)[:, 0])


class ResNet18(nn.Module):
    """The architecture of torchvision's ResNet-18, shrunk: eight basic blocks of four widths."""

    class Block(nn.Module):
        def __init__(self, inputs: int, outputs: int, stride: int) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
            self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
            self.bn1, self.bn2, self.relu = nn.BatchNorm2d(outputs), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
            self.downsample = None
            if stride > 1:
                self.downsample = nn.Sequential(
                    nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
                )

        def forward(self, x: Tensor) -> Tensor:
            skip = x if self.downsample is None else self.downsample(x)
            return self.relu(self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x))))) + skip)

    def __init__(self, width: int = 3, classes: int = 4) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(2, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width), nn.ReLU(True), nn.MaxPool2d(3, 2, 1)
        )
        blocks, inputs = [], width
        for stage in range(4):
            outputs = width * 2 ** (stage // 2)
            blocks += [self.Block(inputs, outputs, 1 + (stage > 0)), self.Block(outputs, outputs, 1)]
            inputs = outputs
        self.blocks, self.fc = nn.Sequential(*blocks), nn.Linear(inputs, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.blocks(self.stem(x)).mean((2, 3)))
