"""How deep each grid is in the model, read off the passes in which it is first used."""

from torch import Tensor

from lightning_vsml.algorithms.depths import Use, shortest_chains
from lightning_vsml.binding.grids import Grid


class Depths:
    """Layers in the shortest chain of the model through each grid, for what commit ticks are told.

    Attributes:
        known: of grids that were called; the first pass with a grid decides, and a resumed run goes on with it.
    """

    def __init__(self) -> None:
        self.known: dict[str, int] = {}
        self._uses: list[Use] = []  # of the pass that is going on, if it may say something new
        self._looks, self._missed = True, False  # whether it may; whether something new was called where it may not

    def of(self, name: str) -> int:
        """Of a grid; what is no layer is as deep as the deepest one."""
        return self.known.get(name, max(self.known.values(), default=1))

    def begin(self) -> None:
        """Another pass."""
        self._uses.clear()
        self._looks, self._missed = self._looks or self._missed, False

    def called(self, name: str, grid: Grid, x: Tensor, y: Tensor) -> None:
        """A grid made y of x."""
        if self._looks and y.grad_fn is not None:
            self._uses.append(Use(name, x.grad_fn, y.grad_fn, int(grid.centred)))
        elif name not in self.known:
            self._missed = True

    def read(self) -> None:
        """The way back begins: the graph is there. Once a pass says nothing new, nothing is looked at any more."""
        if self._uses:
            found = shortest_chains(self._uses)
            self._looks = not found.keys() <= self.known.keys()
            self.known = found | self.known
            self._uses.clear()

    def forget(self, names: set[str]) -> None:
        """The model has changed: grids that are gone are forgotten, and new ones looked for."""
        self._looks = True
        for name in names:
            self.known.pop(name, None)
