"""Several authorizers in turn: the first that decides, decides."""

from __future__ import annotations

from collections.abc import Sequence

from navarch.apiserver.auth.interface import Attributes, Authorizer, Decision


class UnionAuthorizer:
    def __init__(self, authorizers: Sequence[Authorizer]) -> None:
        self._authorizers = authorizers

    def authorize(self, attributes: Attributes) -> Decision:
        reason = ""
        for authorizer in self._authorizers:
            decision = authorizer.authorize(attributes)
            if decision.allowed or decision.denied:
                return decision
            if decision.reason:
                reason = f"{reason}\n{decision.reason}" if reason else decision.reason
        return Decision(False, reason=reason)
