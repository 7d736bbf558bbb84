"""The node's metrics as Prometheus reads them: names, labels and help texts' meaning are upstream's and cAdvisor's."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from navarch import KUBERNETES_VERSION
from navarch.kubelet.cgroup_usage import Details, Interface, Usage
from navarch.kubelet.stats import PodUse, Stats, machine_memory, machine_usage
from navarch.machinery.metrics import Collected, Labels, Metrics, add_process
from navarch.machinery.types import Obj

NANO = 1e9
Samples = list[tuple[Labels, float]]


def _text(families: Iterable[tuple[str, str, str, Labels, Samples]]) -> str:
    """Families (name, type, help, label names, samples) as text; those without samples are left out."""
    found = (Collected(name, help, labels, lambda s=s: s, type) for name, type, help, labels, s in families if s)
    return "".join(line for family in found for line in family.expose())


# -- /metrics/resource: what the metrics API is made from

OF_POD: Labels = ("namespace", "pod")
OF_CONTAINER: Labels = ("container", "namespace", "pod")


def resource(stats: Stats, pods: Sequence[Obj], runtime: Any) -> str:
    machine = machine_usage()
    found = list(stats.pods(pods, runtime))
    containers = [((c.name, *_pod(use.pod)), c) for use in found for c in use.containers]
    of_pods = [(_pod(use.pod), use.usage) for use in found]
    cpu, memory = "Cumulative cpu time consumed by the", "Current working set of the"
    whole: Labels = ()
    return _text([
        ("node_cpu_usage_seconds_total", "counter", f"{cpu} node in core-seconds", (), [(whole, machine.cpu_nanos / NANO)]),
        ("node_memory_working_set_bytes", "gauge", f"{memory} node in bytes", (), [(whole, machine.memory_working_set)]),
        ("container_cpu_usage_seconds_total", "counter", f"{cpu} container in core-seconds", OF_CONTAINER,
         [(labels, c.usage.cpu_nanos / NANO) for labels, c in containers]),
        ("container_memory_working_set_bytes", "gauge", f"{memory} container in bytes", OF_CONTAINER,
         [(labels, c.usage.memory_working_set) for labels, c in containers]),
        ("container_start_time_seconds", "gauge", "Start time of the container since unix epoch in seconds", OF_CONTAINER,
         [(labels, c.started) for labels, c in containers]),
        ("pod_cpu_usage_seconds_total", "counter", f"{cpu} pod in core-seconds", OF_POD,
         [(labels, u.cpu_nanos / NANO) for labels, u in of_pods]),
        ("pod_memory_working_set_bytes", "gauge", f"{memory} pod in bytes", OF_POD,
         [(labels, u.memory_working_set) for labels, u in of_pods]),
        ("resource_scrape_error", "gauge", "1 if there was an error while getting container metrics, 0 otherwise", (),
         [(whole, 0)]),
    ])  # fmt: skip


def _pod(pod: Obj) -> Labels:
    return pod["metadata"]["namespace"], pod["metadata"]["name"]


# -- /metrics/cadvisor

CADVISOR: Labels = ("container", "id", "image", "name", "namespace", "pod")


class _Row(NamedTuple):
    labels: Labels
    usage: Usage
    details: Details
    started: float


USAGES: tuple[tuple[str, str, str, Callable[[_Row], float]], ...] = (
    ("container_cpu_user_seconds_total", "counter", "Cumulative user cpu time consumed in seconds.",
     lambda r: r.details.user_nanos / NANO),
    ("container_cpu_system_seconds_total", "counter", "Cumulative system cpu time consumed in seconds.",
     lambda r: r.details.system_nanos / NANO),
    ("container_cpu_cfs_periods_total", "counter", "Number of elapsed enforcement period intervals.",
     lambda r: r.details.periods),
    ("container_cpu_cfs_throttled_periods_total", "counter", "Number of throttled period intervals.",
     lambda r: r.details.throttled_periods),
    ("container_cpu_cfs_throttled_seconds_total", "counter", "Total time duration the container has been throttled.",
     lambda r: r.details.throttled_nanos / NANO),
    ("container_memory_usage_bytes", "gauge", "Current memory usage in bytes, including all memory.",
     lambda r: r.usage.memory_usage),
    ("container_memory_working_set_bytes", "gauge", "Current working set in bytes.",
     lambda r: r.usage.memory_working_set),
    ("container_memory_rss", "gauge", "Size of RSS in bytes.", lambda r: r.usage.memory_rss),
    ("container_memory_cache", "gauge", "Number of bytes of page cache memory.", lambda r: r.details.cache),
    ("container_spec_memory_limit_bytes", "gauge", "Memory limit for the container.",
     lambda r: r.details.memory_limit),
    ("container_oom_events_total", "counter", "Count of out of memory events observed for the container",
     lambda r: r.details.oom_kills),
    ("container_processes", "gauge", "Number of processes running inside the container.", lambda r: r.usage.processes),
)  # fmt: skip
FAULTS: Labels = (*CADVISOR, "failure_type", "scope")
CPU: Labels = (*CADVISOR, "cpu")
NETWORK: tuple[tuple[str, str, Callable[[Interface], int]], ...] = (
    ("receive_bytes", "bytes received", lambda i: i.received_bytes),
    ("receive_packets", "packets received", lambda i: i.received_packets),
    ("receive_errors", "errors encountered while receiving", lambda i: i.receive_errors),
    ("receive_packets_dropped", "packets dropped while receiving", lambda i: i.receive_drops),
    ("transmit_bytes", "bytes transmitted", lambda i: i.sent_bytes),
    ("transmit_packets", "packets transmitted", lambda i: i.sent_packets),
    ("transmit_errors", "errors encountered while transmitting", lambda i: i.send_errors),
    ("transmit_packets_dropped", "packets dropped while transmitting", lambda i: i.send_drops),
)


def cadvisor(stats: Stats, pods: Sequence[Obj], runtime: Any, now: float) -> str:
    """GET /metrics/cadvisor: pods' and containers' cgroups, with cAdvisor's labels."""
    found = list(stats.pods(pods, runtime))
    rows = [row for use in found for row in _rows(stats, use)]
    families: list[tuple[str, str, str, Labels, Samples]] = [
        ("cadvisor_version_info", "gauge", "The version that is served.", ("kubernetesVersion",),
         [((KUBERNETES_VERSION,), 1)]),
        ("machine_cpu_cores", "gauge", "Number of logical CPU cores.", (), [((), os.cpu_count() or 1)]),
        ("machine_memory_bytes", "gauge", "Amount of memory installed on the machine.", (), [((), machine_memory())]),
        ("container_scrape_error", "gauge", "1 if there was an error while getting container metrics, 0 otherwise", (),
         [((), 0)]),
        ("container_last_seen", "gauge", "Last time a container was seen.", CADVISOR,
         [(row.labels, int(now)) for row in rows]),
        ("container_start_time_seconds", "gauge", "Start time of the container since unix epoch in seconds.", CADVISOR,
         [(row.labels, row.started) for row in rows if row.started]),
        ("container_cpu_usage_seconds_total", "counter", "Cumulative cpu time consumed in seconds.", CPU,
         [((*row.labels, "total"), row.usage.cpu_nanos / NANO) for row in rows]),
        ("container_memory_failures_total", "counter", "Cumulative count of memory allocation failures.", FAULTS,
         [((*row.labels, kind, "hierarchy"), count) for row in rows for kind, count in
          (("pgfault", row.usage.page_faults), ("pgmajfault", row.usage.major_page_faults))]),
    ]  # fmt: skip
    families += [(n, t, h, CADVISOR, [(row.labels, read(row)) for row in rows]) for n, t, h, read in USAGES]
    families += [_network(f"container_network_{n}_total", f"Cumulative count of {h}", found, r) for n, h, r in NETWORK]
    return _text(families)


def _rows(stats: Stats, use: PodUse) -> Iterable[_Row]:
    if details := stats.reader.details(use.cgroup):
        yield _Row(("", use.cgroup, "", "", *_pod(use.pod)), use.usage, details, 0.0)
    for c in use.containers:
        if details := stats.reader.details(c.cgroup):
            labels = (c.name, c.cgroup, c.image, c.cgroup.rpartition("/")[2], *_pod(use.pod))
            yield _Row(labels, c.usage, details, c.started)


def _network(
    name: str, help: str, found: Sequence[PodUse], read: Callable[[Interface], int]
) -> tuple[str, str, str, Labels, Samples]:
    samples: Samples = [
        (("", use.cgroup, "", one.name, "", *_pod(use.pod)), read(one)) for use in found for one in use.interfaces
    ]
    return name, "counter", help, ("container", "id", "image", "interface", "name", "namespace", "pod"), samples


# -- /metrics and /metrics/probes

PROBES: Labels = ("container", "namespace", "pod", "pod_uid", "probe_type", "result")


def probes(counts: Iterable[tuple[Labels, float]]) -> str:
    help = "Cumulative number of a liveness, readiness or startup probe for a container by result."
    return _text([("prober_probe_total", "counter", help, PROBES, list(counts))])


CLAIMS: Labels = ("namespace", "persistentvolumeclaim")


def volumes(claims: Iterable[tuple[str, str, str]]) -> str:
    """What persistent volumes hold: (namespace, claim, path) of each that is in use."""
    found: list[tuple[Labels, os.statvfs_result]] = []
    for namespace, claim, path in claims:
        try:
            found.append(((namespace, claim), os.statvfs(path)))
        except OSError:
            continue
    parts: tuple[tuple[str, str, Callable[[os.statvfs_result], int]], ...] = (
        ("available_bytes", "Number of available bytes in the volume", lambda f: f.f_bavail * f.f_frsize),
        ("capacity_bytes", "Capacity in bytes of the volume", lambda f: f.f_blocks * f.f_frsize),
        ("used_bytes", "Number of used bytes in the volume", lambda f: (f.f_blocks - f.f_bfree) * f.f_frsize),
        ("inodes", "Maximum number of inodes in the volume", lambda f: f.f_files),
        ("inodes_free", "Number of free inodes in the volume", lambda f: f.f_ffree),
        ("inodes_used", "Number of used inodes in the volume", lambda f: f.f_files - f.f_ffree),
    )
    return _text(
        (f"kubelet_volume_stats_{name}", "gauge", help, CLAIMS, [(labels, read(f)) for labels, f in found])
        for name, help, read in parts
    )


class Own:
    """The kubelet's own metrics: of its process, and of what it runs."""

    def __init__(
        self,
        node: str,
        pods: Callable[[], Sequence[Obj]],
        runtime: Callable[[str], Any],
        terminations: Callable[[], Mapping[tuple[str, str, str], int]],
    ) -> None:
        self._pods, self._runtime = pods, runtime
        self._metrics = Metrics()
        add_process(self._metrics)
        version = KUBERNETES_VERSION.removeprefix("v").split(".")
        build: Labels = (KUBERNETES_VERSION, version[0], version[1])
        for name, help, labels, read in (
            ("kubelet_node_name", "The node's name. The count is always 1.", ("node",), lambda: [((node,), 1.0)]),
            ("kubernetes_build_info", "The version that is served.", ("git_version", "major", "minor"),
             lambda: [(build, 1.0)]),
            ("kubelet_running_pods", "Number of pods that have a running pod sandbox", (), self._running_pods),
            ("kubelet_running_containers", "Number of containers currently running", ("container_state",),
             self._containers),
        ):  # fmt: skip
            self._metrics.add(Collected(name, help, labels, read))
        ended = ("container_type", "exit_code", "reason")
        text = "Cumulative number of container terminations."
        self._metrics.add(
            Collected(
                "kubelet_terminated_containers_total",
                text,
                ended,
                lambda: [(labels, float(count)) for labels, count in terminations().items()],
                "counter",
            )
        )

    def text(self) -> str:
        return self._metrics.text()

    def _states(self) -> list[Any]:
        return [self._runtime(pod["metadata"]["uid"]) for pod in self._pods()]

    def _running_pods(self) -> Samples:
        return [((), float(sum(s.sandbox is not None and s.sandbox.ready for s in self._states())))]

    def _containers(self) -> Samples:
        runs = [run for state in self._states() for run in state.all()]
        counts = {"running": sum(r.running for r in runs), "exited": sum(r.exited for r in runs)}
        return [((state,), float(count)) for state, count in counts.items()]
