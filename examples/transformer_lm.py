"""A transformer that predicts the next character of Python's own documentation, without a learning rate to choose.

python examples/transformer_lm.py                                  # by the algorithm "adaptive"
python examples/transformer_lm.py --algorithm backprop --lr 0.3    # as SGD does
"""

from lightning_vsml.algorithms.options import Parser, positive

if __name__ == "__main__":  # before torch is imported, so that --help and mistakes are answered at once
    parser = Parser(__doc__)
    parser.add_algorithm("adaptive")
    parser.add_count("--steps", 300)
    parser.add_count("--batch-size", 16, "pieces of text")
    parser.add_count("--context", 64, "characters of a piece")
    parser.add_count("--width", 48, "numbers for a character; a multiple of the 4 heads")
    parser.add_argument("--temperature", type=positive, default=0.7, help="of the sample at the end (default 0.7)")
    parser.add_seed()
    parser.add_run_dir("transformer_lm", each=True)
    options = parser.parse_args()
    if options.width % 4:
        parser.error(f"argument --width: expected a multiple of 4, got {options.width}")

import argparse
import inspect
import pydoc_data.topics
import statistics
import string

import torch
from common import fit
from lightning.pytorch import LightningModule, seed_everything
from rich import get_console
from rich.panel import Panel
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_vsml import VSMLLearner


def text() -> Tensor:
    """The language reference that Python's ``help()`` shows, and some docstrings, as numbers of ASCII characters."""
    modules = (argparse, inspect, statistics, string)
    found = [*pydoc_data.topics.topics.values(), *(inspect.getdoc(module) or "" for module in modules)]
    return torch.tensor([ord(c) for c in " ".join(" ".join(found).split()) if ord(c) < 128])


class LanguageModel(LightningModule):
    """torch's own encoder layers behind a causal mask; nothing in it knows who trains it."""

    def __init__(self, context: int, width: int) -> None:
        super().__init__()
        self.embedding, self.positions = nn.Embedding(128, width), nn.Parameter(0.02 * torch.randn(context, width))
        layer = nn.TransformerEncoderLayer(width, 4, 4 * width, dropout=0.0, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, nn.LayerNorm(width), enable_nested_tensor=False)
        self.head = nn.Linear(width, 128)

    def forward(self, characters: Tensor) -> Tensor:
        length = characters.shape[1]
        mask = nn.Transformer.generate_square_subsequent_mask(length, device=characters.device)
        return self.head(self.encoder(self.embedding(characters) + self.positions[:length], mask, is_causal=True))

    def loss(self, pieces: Tensor) -> Tensor:
        return nn.functional.cross_entropy(self(pieces[:, :-1]).flatten(0, 1), pieces[:, 1:].flatten())

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        loss = self.loss(batch[0])
        self.log("loss", loss, prog_bar=True)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters())  # whose place the learner takes

    @torch.no_grad()
    def write(self, start: str, length: int, temperature: float) -> str:
        """Go on from ``start``, a character after the other, each drawn from what is predicted."""
        written = torch.tensor([[ord(c) for c in start]])
        for _ in range(length):
            logits = self(written[:, -len(self.positions) :])[:, -1]
            written = torch.cat([written, torch.multinomial((logits / temperature).softmax(-1), 1)], 1)
        return "".join(map(chr, written[0]))


def main(options: argparse.Namespace, parser: Parser) -> None:
    seed_everything(options.seed, verbose=False)
    pieces = text().unfold(0, options.context + 1, options.context + 1)
    held_out, train = pieces[:200], pieces[200:]
    parser.at_most("--batch-size", options.batch_size, len(train), "the pieces of text that there are")
    with parser.refusing():
        learner = VSMLLearner(options.algorithm, lr=options.lr)
    loader = DataLoader(TensorDataset(train), options.batch_size, shuffle=True, drop_last=True)
    module = LanguageModel(options.context, options.width)
    trainer = fit(module, loader, learner, steps=options.steps, run_dir=options.run_dir)

    module.cpu().eval()
    with torch.no_grad():
        loss = module.loss(held_out).item()
    sample = module.write("The ", 300, options.temperature)
    get_console().print(
        Panel("".join(c if c.isprintable() else "?" for c in sample), title="what it writes"), markup=False
    )
    counts = torch.bincount(train.flatten(), minlength=128).clamp(min=1).double()
    alone = -(counts / counts.sum()).log()[held_out[:, 1:]].mean().item()
    print(f"held-out loss: {loss:.3f} a character ({learner.algorithm.name}, seed {options.seed})")
    print(f"from how often characters occur: {alone:.3f}; {trainer.global_step} steps, curves in {options.run_dir}")


if __name__ == "__main__":
    main(options, parser)
