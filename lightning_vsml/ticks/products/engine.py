"""Plans for the ranges that a call's tensors lie in, and the call."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor

from lightning_vsml.ticks.cell import Cell, Tick, carried
from lightning_vsml.ticks.compiled import has_memory
from lightning_vsml.ticks.plan.layout import Layout
from lightning_vsml.ticks.plan.structure import plan_protocol
from lightning_vsml.ticks.products.algebra import Algebra, Interval, NotSeparable, Terms, TooCoarse
from lightning_vsml.ticks.products.phases import Ranges, Tracer
from lightning_vsml.ticks.products.planned import Planned, assemble
from lightning_vsml.ticks.products.ranks import NOTHING
from lightning_vsml.ticks.products.run import Run
from lightning_vsml.ticks.products.values import Values
from lightning_vsml.ticks.ranges import Declared, around, interval, intervals, outward
from lightning_vsml.ticks.rowwise import RowWise
from lightning_vsml.ticks.sites import Lookup, Site

PRECISIONS = (0.03, 1e-3, 1e-6, 1e-9)  # of series, over the tolerance: more where much cancels

PLANS = 128  # that are kept, each up to some hundred kilobytes
LATEST = 16  # plans that are tried for a call, before a new one is made


class Products:
    """Both phases of a protocol on one cell, as matrix products wherever that keeps the tolerance.

    Args:
        cell: a single one or a population.
        forward: the forward ticks.
        learn: the learn ticks.
        layout: of the states.
        codec: units whose c the codec writes or reads.
        tolerance: relative error that products may have.
        exact: makes the ticks for calls with values so large that no few products have it.

    Attributes:
        calls, exact_calls: how many there were, and how many of them took the exact ticks.
        reason: why the last of those did.
    """

    def __init__(
        self,
        cell: Cell,
        forward: tuple[Tick, ...],
        learn: tuple[Tick, ...],
        layout: Layout,
        codec: frozenset[int],
        tolerance: float,
        exact: Callable[[], RowWise],
    ) -> None:
        self.cell, self.layout, self.tolerance = cell, layout, tolerance
        self.plans = plan_protocol(cell, forward, learn, codec)
        self.carried = {"forward": carried(forward), "learn": carried(learn)}
        heard = {u for plan in self.plans[:2] for tick in plan.ticks for u in tick.h}
        # what only commit ticks read may have any range here
        self._matters = [place < layout.learned or at.unit in heard for place, at in enumerate(layout.planes)]
        self.calls = self.exact_calls = 0
        self.reason = ""
        self._make_exact = exact
        self._exact: RowWise | None = None
        self._sums: dict[str, dict[str, tuple[Algebra, Terms]]] = {"forward": {}, "learn": {}}
        self._planned: dict[tuple[str, Ranges], Planned | NotSeparable] = {}
        self._used: dict[tuple[str, Ranges], int] = {}
        self._latest: dict[str, list[tuple[tuple[str, ...], list[Interval], Planned]]] = {"forward": [], "learn": []}

    @property
    def recent(self) -> list[tuple[str, Ranges]]:
        """Phase and ranges of the plans that the last eight calls took."""
        return [key for key, call in self._used.items() if call > self.calls - 8]

    def history(self) -> dict[str, list[Any]]:
        """The ranges that the latest plans were made for, as plain values: with them a run goes on as it would have."""
        return {phase: [[list(names), declared] for names, declared, _ in some] for phase, some in self._latest.items()}

    def go_on(self, history: Mapping[str, list[Any]]) -> None:
        """Plan for what :meth:`history` gave."""
        for phase, some in history.items():
            self._latest[phase] = []
            for names, declared in some:
                ends = [(float(low), float(high)) for low, high in declared]
                # of the sums that are measured the polynomials have to be known: planning finds them
                messages = len(ends) - 1 - len(self.layout.planes) - len(names)
                while not set(names) <= set(self._sums[phase]):
                    before = len(self._sums[phase])
                    measured = [name for name in names if name in self._sums[phase]]
                    kept = ends[: len(ends) - len(names)] + [ends[names.index(n) - len(names)] for n in measured]
                    with suppress(NotSeparable):
                        self._plan(phase, Ranges.of(kept, messages, measured))
                    if len(self._sums[phase]) == before:
                        break
                else:
                    plan = self.planned(phase, Ranges.of(ends, messages, names))
                    self._latest[phase].append((tuple(names), ends, plan))

    def forward(self, planes: Tensor, site: Site) -> list[Tensor]:
        """What every channel sends out, as ``rb``: the layer's output, then own messages.

        Args:
            planes: the state, ``(P, G, A, B)``.
            site: where the grid is used.
        """
        e = (site.x.new_zeros(()),) * self.carried["forward"]
        plan = self._for("forward", planes, site, e)
        if plan is None:
            return self.exact.forward(planes, site)
        run = Run(plan, self.cell, site, e, planes)
        messages = [run.forward(channel) for channel in plan.messages]
        run.close()
        return messages

    def learn(
        self,
        planes: Tensor,
        site: Site,
        e: Tensor,
        own: Sequence[Tensor],
        scales: Sequence[float],
        message: bool = True,
    ) -> tuple[Tensor, Tensor]:
        """The learn ticks.

        Args:
            planes: the state, ``(P, G, A, B)``.
            site: where the grid is used.
            e: the feedback, as ``rb``.
            own: the neurons' own messages, each as ``rb``; at least as many as the ticks feed.
            scales: a factor for the change of every plane.
            message: whether anybody wants the backward message.

        Returns:
            The changes of the planes, summed over rows; and the backward message as ``ra``, empty if nobody wants it.

        Raises:
            ValueError: there are fewer own messages than the ticks feed.
        """
        told = (e, *own)[: self.carried["learn"]]
        if len(told) < self.carried["learn"]:
            raise ValueError(
                f"own should hold the {self.carried['learn'] - 1} own messages that the ticks feed, got {len(own)}."
            )
        plan = self._for("learn", planes, site, told)
        if plan is None:
            return self.exact.learn(planes, site, e, own, scales, message)
        run = Run(plan, self.cell, site, told, planes)
        changes, sent = run.changes(scales), run.backward(plan.messages[0]) if message else site.x.new_empty(0)
        run.close()
        return changes, sent

    @property
    def exact(self) -> RowWise:
        """The exact ticks; planned when they are first needed."""
        if self._exact is None:
            with torch.no_grad():
                self._exact = self._make_exact()
        return self._exact

    def _for(self, phase: str, planes: Tensor, site: Site, e: Sequence[Tensor]) -> Planned | None:
        """The plan for a call; ``None`` where it takes the exact ticks."""
        self.calls += 1
        if not has_memory(site.x) or not has_memory(planes):  # nobody can tell where its values lie
            self.exact_calls, self.reason = self.exact_calls + 1, f"{phase}: within torch.vmap or torch.func"
            return None
        with torch.no_grad():
            try:
                return self._plan_for(phase, planes, site, e)
            except NotSeparable as error:
                self.exact_calls += 1
                self.reason = f"{phase}: {error}"
                return None

    def _plan_for(self, phase: str, planes: Tensor, site: Site, e: Sequence[Tensor]) -> Planned:
        low, high = site.range
        if site.bias or site.sparse:
            low, high = min(low, 0.0 if site.sparse else 1.0), max(high, 1.0)
        leaves = [(low, high), *(interval(message) for message in e), *intervals(planes, self._matters)]
        fine = [False, *(place > 0 for place in range(len(e))), *(not plane.codes for plane in self.layout.planes)]
        while True:  # sums of messages that turn out to matter are measured, and it is planned again
            known = dict(sorted(self._sums[phase].items()))  # whenever they came up
            sums = [self._sum(*sum_, site, e, planes) for sum_ in known.values()]
            fresh = [outward(*ends, fine=kind) for ends, kind in zip(leaves, fine, strict=True)]
            fresh += [around(*ends) for ends in sums]
            try:
                return self._kept(phase, len(e), tuple(known), [*leaves, *sums], fresh)
            except NotSeparable:
                if len(self._sums[phase]) == len(known):
                    raise

    def _sum(self, algebra: Algebra, terms: Terms, site: Site, e: Sequence[Tensor], planes: Tensor) -> Interval:
        """Where a sum of messages lies."""
        (shape,) = {algebra.shape(monomial) for monomial in terms} - {""}
        value = Values(algebra, self.cell, site, e, planes).polynomial(terms, shape)
        assert isinstance(value, Tensor)
        return interval(value)

    def _kept(
        self, phase: str, messages: int, names: tuple[str, ...], measured: list[Interval], fresh: list[Declared]
    ) -> Planned:
        """One of the latest plans that admits what was measured, or a new one that may serve longer."""
        latest = self._latest[phase]
        for place, (known, declared, plan) in enumerate(latest):
            if known == names and all(map(Declared.admits, fresh, declared, measured)):
                latest.insert(0, latest.pop(place))
                self._used[phase, Ranges.of(declared, messages, names)] = self.calls
                return plan
        similar = (declared for known, declared, _ in latest if known == names)
        before = max(similar, key=lambda declared: sum(map(Declared.near, fresh, declared)), default=None)
        wanted = [d.interval for d in fresh] if before is None else list(map(Declared.joined, fresh, before))
        ranges = Ranges.of(wanted, messages, names)
        plan = self.planned(phase, ranges)
        latest.insert(0, (names, wanted, plan))
        del latest[LATEST:]
        self._used[phase, ranges] = self.calls
        return plan

    def planned(self, phase: str, ranges: Ranges) -> Planned:
        """The products for ``ranges``; made once.

        Raises:
            NotSeparable: there are none that keep the tolerance.
        """
        key = (phase, ranges)
        if key not in self._planned:
            while len(self._planned) >= PLANS:  # the oldest first
                self._used.pop(old := next(iter(self._planned)), None)
                del self._planned[old]
            try:
                self._planned[key] = self._plan(phase, ranges)
            except NotSeparable as error:
                self._planned[key] = NotSeparable(*error.args)
        found = self._planned[key]
        if isinstance(found, NotSeparable):
            raise found
        return found

    def _plan(self, phase: str, ranges: Ranges) -> Planned:
        # what rounds off numbers around 1 does no harm to h and c; weights have any size
        rounding = torch.finfo(self.cell.W.dtype).eps / 1024
        floors = [NOTHING if plane.codes else rounding for plane in self.layout.planes]
        for precision in PRECISIONS:
            algebra = Algebra(precision * self.tolerance, dict(ranges.sums))
            try:
                traced = getattr(Tracer(algebra, self.cell, self.layout, ranges), phase)(self.plans)
                return assemble(algebra, traced, self.tolerance, floors)
            except TooCoarse:
                if precision == PRECISIONS[-1]:
                    raise
            finally:
                for key, terms in algebra.wishes.items():
                    self._sums[phase].setdefault(key, (algebra, terms))
        raise AssertionError

    def is_silent(self, planes: Tensor, site: Lookup) -> bool:
        """Whether an input of 0 neither sends nor changes anything."""
        e = torch.ones_like(site.x.expand(site.output_shape))
        forward = self._for("forward", planes, site, (site.x.new_zeros(()),) * self.carried["forward"])
        learn = self._for("learn", planes, site, (e,) * self.carried["learn"])
        return forward is not None and learn is not None and forward.is_silent() and learn.is_silent()
