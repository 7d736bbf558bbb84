"""Whether devices are well, as their drivers tell. Source: pkg/kubelet/cm/dra/healthinfo.go; KEP-4680."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from navarch.kubelet.endpoint import Tree

DEFAULT_SECONDS = 30.0
MAX_MESSAGE = 1024
UNKNOWN, HEALTHY, UNHEALTHY = "Unknown", "Healthy", "Unhealthy"
_BY_NUMBER = {1: HEALTHY, 2: UNHEALTHY}
Place = tuple[str, str]
"""Pool, device."""


class Health(NamedTuple):
    state: str = UNKNOWN
    message: str = ""
    since: float = 0.0
    """When it was told last."""
    seconds: float = DEFAULT_SECONDS
    """How long it holds."""


class HealthBook:
    def __init__(self) -> None:
        self._known: dict[str, dict[Place, Health]] = {}

    def told(self, driver: str, devices: Iterable[Tree], now: float) -> set[Place]:
        """Takes in a driver's report; answers the devices that are not as they were."""
        known, changed, reported = self._known.setdefault(driver, {}), set[Place](), set[Place]()
        for each in devices:
            device = each.get("device") or {}
            place = (device.get("pool_name", ""), device.get("device_name", ""))
            reported.add(place)
            seconds = each.get("health_check_timeout_seconds") or 0
            made = Health(
                _BY_NUMBER.get(each.get("health") or 0, UNKNOWN),
                _cut(each.get("message") or ""),
                now,
                float(seconds) if seconds > 0 else DEFAULT_SECONDS,
            )
            before = known.get(place)
            if before is None or before._replace(since=now) != made:
                changed.add(place)
            known[place] = made
        for place in known.keys() - reported:
            if known[place].state != UNKNOWN and now - known[place].since > known[place].seconds:
                known[place] = Health(since=now)
                changed.add(place)
        return changed

    def forget(self, driver: str) -> set[Place]:
        return set(self._known.pop(driver, {}))

    def of(self, driver: str, place: Place, now: float) -> Health:
        """What holds now: nothing is known of a device that was not told of for too long."""
        found = self._known.get(driver, {}).get(place)
        return found if found is not None and now - found.since <= found.seconds else Health()


def _cut(message: str) -> str:
    return message if len(message) <= MAX_MESSAGE else message[: MAX_MESSAGE - 3] + "..."
