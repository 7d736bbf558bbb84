"""Why a pod fits nowhere, and how that is said: upstream's FitError."""

from __future__ import annotations

from dataclasses import dataclass

from navarch.scheduler.nodes import Bools
from navarch.scheduler.plugins.interface import Refusal, Rejected


@dataclass(slots=True)
class Verdict:
    """Why a pod fits nowhere."""

    rejected: Rejected | None
    """Whatever the nodes are; then there is nothing else to say."""
    refusals: list[tuple[str, Refusal]]
    """(plugin, nodes that it was the first to refuse)"""
    helpless: Bools
    """Slots where removing pods would not help."""

    def within(self, slots: Bools) -> Verdict:
        """Of some slots only."""
        refusals = [(name, refusal._replace(mask=refusal.mask & slots)) for name, refusal in self.refusals]
        return Verdict(self.rejected, refusals, self.helpless & slots)

    def counts(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for _, refusal in self.refusals:
            if number := int(refusal.mask.sum()):
                found[refusal.reason] = found.get(refusal.reason, 0) + number
        return found

    def plugins(self) -> frozenset[str]:
        if self.rejected:
            return frozenset((self.rejected.plugin,))
        return frozenset(name for name, refusal in self.refusals if refusal.mask.any())


def message_of(verdict: Verdict, total: int) -> str:
    """upstream's FitError: how many nodes are out for which reason."""
    if verdict.rejected:
        return f"0/{total} nodes are available: {verdict.rejected.reason}."
    return f"0/{total} nodes are available: {in_words(verdict.counts())}."


def in_words(counts: dict[str, int]) -> str:
    return ", ".join(sorted(f"{count} {reason}" for reason, count in counts.items() if count))
