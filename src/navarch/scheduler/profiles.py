"""How a scheduler is set up: the pods it is for, with which plugins, and how long it waits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from navarch.scheduler.extenders import ExtenderConfig
from navarch.scheduler.plugins.interface import Plugin
from navarch.scheduler.queue import FIRST_BACKOFF, MAX_BACKOFF
from navarch.scheduler.registry import default_plugins

NAME = "default-scheduler"


@dataclass(frozen=True, slots=True)
class Profile:
    """For pods whose schedulerName is `name`."""

    name: str = NAME
    plugins: Callable[[], Sequence[Plugin]] = default_plugins
    preempts: bool = True
    deallocates: bool = True
    """Whether DynamicResources comes after the filters."""
    least_candidates_percent: int = 10
    least_candidates: int = 100


@dataclass(frozen=True, slots=True)
class SchedulerConfig:
    profiles: Sequence[Profile] = (Profile(),)
    first_backoff: float = FIRST_BACKOFF
    """Seconds; doubled with each further attempt, up to `max_backoff`."""
    max_backoff: float = MAX_BACKOFF
    bind_timeout: float = 600.0
    """Seconds that a pod waits for its volumes once it has a node."""
    device_timeout: float = 600.0
    """Seconds that a pod waits for its devices to be got ready."""
    extenders: Sequence[ExtenderConfig] = ()
    leads_alone: bool = True
    """Of several schedulers, only the holder of the Lease acts (leaderElection.leaderElect)."""
