"""KubeSchedulerConfiguration (kubescheduler.config.k8s.io/v1): read, checked, and made into a SchedulerConfig.

Source: kube-scheduler config/v1, apis/config/validation. Parts that only tune upstream's own workings (parallelism,
percentageOfNodesToScore, client connections, debugging) are accepted and change nothing: every node is looked at.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from navarch.machinery.errors import FieldErrors
from navarch.machinery.types import Obj
from navarch.scheduler import registry
from navarch.scheduler.extenders import ExtenderConfig
from navarch.scheduler.plugins.interface import Plugin
from navarch.scheduler.profiles import NAME, Profile, SchedulerConfig

API_VERSION: Final = "kubescheduler.config.k8s.io/v1"
POINTS: Final = [
    "preEnqueue",
    "queueSort",
    "preFilter",
    "filter",
    "postFilter",
    "preScore",
    "score",
    "reserve",
    "permit",
    "preBind",
    "bind",
    "postBind",
    "multiPoint",
]
KNOWN: Final = frozenset(
    [
        "apiVersion",
        "kind",
        "parallelism",
        "leaderElection",
        "clientConnection",
        "enableProfiling",
        "enableContentionProfiling",
        "percentageOfNodesToScore",
        "podInitialBackoffSeconds",
        "podMaxBackoffSeconds",
        "profiles",
        "extenders",
        "delayCacheUntilActive",
    ]
)
PROFILE: Final = frozenset(("schedulerName", "percentageOfNodesToScore", "plugins", "pluginConfig"))
STRATEGIES: Final = ("LeastAllocated", "MostAllocated", "RequestedToCapacityRatio")


def from_tree(tree: Any) -> SchedulerConfig:
    """Raises ValueError with everything that is wrong, by field."""
    errs = FieldErrors()
    if not isinstance(tree, dict):
        raise ValueError("not a KubeSchedulerConfiguration")
    config: Obj = tree
    if config.get("kind") != "KubeSchedulerConfiguration" or config.get("apiVersion") != API_VERSION:
        found = f"{config.get('apiVersion', '')}, kind {config.get('kind', '')}"
        raise ValueError(f"expected {API_VERSION}, kind KubeSchedulerConfiguration; found {found}")
    _unknown(config, KNOWN, "", errs)
    first = _number(config, "podInitialBackoffSeconds", 1, errs)
    most = _number(config, "podMaxBackoffSeconds", 10, errs)
    if most < first:
        errs.invalid("podMaxBackoffSeconds", most, "must be greater than or equal to PodInitialBackoffSeconds")
    extenders = [_extender(e, f"extenders[{i}]", errs) for i, e in enumerate(config.get("extenders") or ())]
    ignored = sorted(name for extender in extenders for name in extender.ignored)
    given: Sequence[Obj] = config.get("profiles") or [{}]
    profiles = [_profile(each, f"profiles[{i}]", ignored, errs) for i, each in enumerate(given)]
    names = [profile.name for profile in profiles]
    for index, name in enumerate(names):
        if name in names[:index]:
            errs.duplicate(f"profiles[{index}].schedulerName", name)
    if sum(bool(extender.bind_verb) for extender in extenders) > 1:
        errs.invalid("extenders", len(extenders), "only one extender can implement bind")
    if errs:
        raise ValueError("; ".join(str(error) for error in errs.items))
    alone = (config.get("leaderElection") or {}).get("leaderElect", True)
    return SchedulerConfig(
        profiles=profiles,
        first_backoff=float(first),
        max_backoff=float(most),
        bind_timeout=float(_argument(given, "VolumeBinding", "bindTimeoutSeconds") or 600),
        device_timeout=_seconds(_argument(given, registry.DEVICES, "bindingTimeout") or "600s"),
        extenders=extenders,
        leads_alone=bool(alone),
    )


def _unknown(tree: Obj, known: frozenset[str], path: str, errs: FieldErrors) -> None:
    for name in tree.keys() - known:
        errs.invalid(f"{path}.{name}" if path else name, tree[name], "unknown field")


def _number(config: Obj, name: str, default: int, errs: FieldErrors) -> int:
    value = config.get(name)
    if value is None:
        return default
    if not isinstance(value, int) or value <= 0:
        errs.invalid(name, value, "must be greater than 0")
        return default
    return value


# -- profiles


def _profile(tree: Obj, path: str, ignored: Sequence[str], errs: FieldErrors) -> Profile:
    """`ignored`: resources that are an extender's business alone."""
    _unknown(tree, PROFILE, path, errs)
    args = _arguments(tree.get("pluginConfig") or (), f"{path}.pluginConfig", errs)
    fit = args.get("NodeResourcesFit") or {}
    args["NodeResourcesFit"] = {**fit, "ignoredResources": [*(fit.get("ignoredResources") or ()), *ignored]}
    points: Mapping[str, Obj] = tree.get("plugins") or {}
    for point in points.keys() - set(POINTS):
        errs.invalid(f"{path}.plugins.{point}", point, "unknown field")
    for point, name in _named(points):
        if not registry.is_known(name) and name != "*":
            errs.invalid(f"{path}.plugins.{point}", name, "no such plugin")
    filtering = _enabled(points, "filter")
    scoring = _enabled(points, "score")
    names = list(dict.fromkeys([*filtering, *scoring]))

    def plugins() -> Sequence[Plugin]:
        made: list[Plugin] = []
        for name in names:
            plugin = registry.make(name, scoring.get(name, 0), args.get(name) or {})
            plugin.weight = scoring.get(name, 0)
            plugin.filters = name in filtering
            made.append(plugin)
        return made

    preemption = args.get(registry.PREEMPTION) or {}
    if not errs:
        plugins()  # what a plugin's own arguments do not allow is found out now
    return Profile(
        name=tree.get("schedulerName") or NAME,
        plugins=plugins,
        preempts=registry.PREEMPTION in _enabled(points, "postFilter"),
        deallocates=registry.DEVICES in _enabled(points, "postFilter"),
        least_candidates_percent=preemption.get("minCandidateNodesPercentage", 10),
        least_candidates=preemption.get("minCandidateNodesAbsolute", 100),
    )


def _named(points: Mapping[str, Obj]) -> Iterator[tuple[str, str]]:
    for point, chosen in points.items():
        for side in ("enabled", "disabled"):
            for plugin in chosen.get(side) or ():
                yield f"{point}.{side}", plugin.get("name", "")


def _enabled(points: Mapping[str, Obj], point: str) -> dict[str, int]:
    """Names and weights of the plugins at an extension point: the defaults but for those that are disabled for it or for
    all points, and those that are enabled besides; what is said of a point overrules what is said of all."""
    found = dict(registry.DEFAULT_WEIGHTS)
    if point == "postFilter":
        found |= dict.fromkeys(registry.AFTER_FILTERS, 0)
    for where in ("multiPoint", point):
        chosen = points.get(where) or {}
        for plugin in chosen.get("disabled") or ():
            if plugin["name"] == "*":
                found.clear()
            found.pop(plugin["name"], None)
        for plugin in chosen.get("enabled") or ():
            name = plugin["name"]
            if name in registry.ALWAYS or (name in registry.AFTER_FILTERS and point != "postFilter"):
                continue
            default = found.get(name, registry.DEFAULT_WEIGHTS.get(name, 0)) or 1
            found[name] = plugin.get("weight") or (default if registry.DEFAULT_WEIGHTS.get(name, 1) else 0)
    return found


def _arguments(given: Sequence[Obj], path: str, errs: FieldErrors) -> dict[str, Obj]:
    found: dict[str, Obj] = {}
    for index, each in enumerate(given):
        name, args = each.get("name", ""), each.get("args") or {}
        at = f"{path}[{index}]"
        if name in found:
            errs.duplicate(at, name)
        if not registry.is_known(name):
            errs.invalid(f"{at}.name", name, "no such plugin")
        found[name] = args
        _check_arguments(name, args, f"{at}.args", errs)
    return found


def _check_arguments(name: str, args: Obj, path: str, errs: FieldErrors) -> None:
    def between(field: str, low: int, high: int) -> None:
        value = args.get(field)
        if value is not None and not low <= value <= high:
            errs.invalid(f"{path}.{field}", value, f"not in valid range [{low}-{high}]")

    if name == registry.PREEMPTION:
        between("minCandidateNodesPercentage", 0, 100)
        between("minCandidateNodesAbsolute", 0, 2**31 - 1)
    elif name == "InterPodAffinity":
        between("hardPodAffinityWeight", 0, 100)
    elif name == "VolumeBinding":
        between("bindTimeoutSeconds", 0, 2**31 - 1)
    elif name == registry.DEVICES:
        for field, least, message in (
            ("filterTimeout", 0, "must be zero or positive"),
            ("bindingTimeout", 1, "must be at least 1 second"),
        ):
            if (value := args.get(field)) is not None and _seconds(value) < least:
                errs.invalid(f"{path}.{field}", value, message)
    elif name == "PodTopologySpread":
        kind, constraints = args.get("defaultingType") or "System", args.get("defaultConstraints") or ()
        if kind not in ("System", "List"):
            errs.not_supported(f"{path}.defaultingType", kind, ["List", "System"])
        if kind == "System" and constraints:
            errs.invalid(f"{path}.defaultingType", kind, "when .defaultConstraints are not empty")
        for index, constraint in enumerate(constraints):
            if constraint.get("labelSelector") is not None:
                at = f"{path}.defaultConstraints[{index}].labelSelector"
                errs.forbidden(at, "constraint must not define a selector, as they deduced for each pod")
    elif name == "NodeResourcesFit":
        _check_strategy(args.get("scoringStrategy") or {}, f"{path}.scoringStrategy", errs)


def _check_strategy(strategy: Obj, path: str, errs: FieldErrors) -> None:
    kind = strategy.get("type") or "LeastAllocated"
    if kind not in STRATEGIES:
        errs.not_supported(f"{path}.type", kind, list(STRATEGIES))
    for index, resource in enumerate(strategy.get("resources") or ()):
        if not 1 <= (resource.get("weight") or 1) <= 100:
            message = "resource weight not in valid range [1, 100]"
            errs.invalid(f"{path}.resources[{index}].weight", resource["weight"], message)
    if kind != "RequestedToCapacityRatio":
        return
    shape = (strategy.get("requestedToCapacityRatio") or {}).get("shape") or []
    at = f"{path}.requestedToCapacityRatio.shape"
    if not shape:
        errs.required(at, "at least one point must be specified")
    last = -1
    for index, point in enumerate(shape):
        utilization, score = point.get("utilization", 0), point.get("score", 0)
        if not last < utilization <= 100:
            message = "utilization values must be sorted in increasing order, and at most 100"
            errs.invalid(f"{at}[{index}].utilization", utilization, message)
        if not 0 <= score <= 10:
            errs.invalid(f"{at}[{index}].score", score, "not in valid range [0-10]")
        last = utilization


def _argument(profiles: Sequence[Obj], plugin: str, name: str) -> Any:
    """The first that is given of a plugin's argument."""
    for profile in profiles:
        for each in profile.get("pluginConfig") or ():
            if each.get("name") == plugin and (value := (each.get("args") or {}).get(name)):
                return value
    return None


def _seconds(text: str) -> float:
    """Of a duration in Go's words. Raises ValueError."""
    from navarch.machinery.cel.values import CelError, duration  # lazily: no start needs it

    try:
        return duration(text).nanos / 1e9
    except CelError as error:
        raise ValueError(str(error)) from None


# -- extenders


def _extender(tree: Obj, path: str, errs: FieldErrors) -> ExtenderConfig:
    if not tree.get("urlPrefix"):
        errs.required(f"{path}.urlPrefix")
    if tree.get("prioritizeVerb") and (tree.get("weight") or 0) <= 0:
        errs.invalid(f"{path}.weight", tree.get("weight"), "must have a positive weight applied to it")
    try:
        return ExtenderConfig.of(tree)
    except ValueError as error:
        errs.invalid(path, tree.get("urlPrefix"), str(error))
        return ExtenderConfig(url="")
