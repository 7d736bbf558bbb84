"""What a Job's spec must be, in a Job and in a CronJob's template. Source: apis/batch validation."""

from __future__ import annotations

from navarch.api.batch import indexes
from navarch.api.podspec import checks
from navarch.api.podspec.validation import validate_template
from navarch.api.podspec.warnings import template_warnings
from navarch.machinery import names
from navarch.machinery.errors import FieldErrors
from navarch.machinery.types import Obj

MANY = 100_000
"""Of parallel indexes, and of failed ones; with more completions than that both must be fewer still."""
FEW = 10_000
MAX_RULES, MAX_CODES, MAX_PATTERNS = 20, 255, 20
MAX_MANAGER = 63
MAX_INDEXES_LENGTH = 64 * 1024
ACTIONS = ("Count", "FailIndex", "FailJob", "Ignore")
STATUSES = ("False", "True", "Unknown")
NEEDS_INDEXES = "requires indexed completion mode"
NUMBERS = (
    "parallelism", "completions", "activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished",
    "backoffLimitPerIndex", "maxFailedIndexes",
)  # fmt: skip


def validate_spec(spec: Obj, path: str, errs: FieldErrors) -> None:
    """All but its selector (a CronJob's template has none)."""
    checks.non_negative(errs, path, spec, *NUMBERS)
    if spec.get("maxFailedIndexes") is not None and spec.get("backoffLimitPerIndex") is None:
        errs.required(f"{path}.backoffLimitPerIndex", "when maxFailedIndexes is specified")
    if (manager := spec.get("managedBy")) is not None:
        _manager(manager, f"{path}.managedBy", errs)
    mode = spec.get("completionMode", "NonIndexed")
    if mode == "Indexed":
        _indexed(spec, path, errs)
    elif mode == "NonIndexed":
        for field in ("backoffLimitPerIndex", "maxFailedIndexes"):
            if spec.get(field) is not None:
                errs.invalid(f"{path}.{field}", spec[field], NEEDS_INDEXES)
    else:
        errs.not_supported(f"{path}.completionMode", mode, ("NonIndexed", "Indexed"))
    policy = spec.get("podFailurePolicy")
    if policy is not None:
        _failure_policy(spec, policy, f"{path}.podFailurePolicy", errs)
    if (success := spec.get("successPolicy")) is not None:
        if mode == "Indexed":
            _success_policy(success, spec.get("completions") or 0, f"{path}.successPolicy", errs)
        else:
            errs.invalid(f"{path}.successPolicy", _go_policy(success), NEEDS_INDEXES)
    replacement = spec.get("podReplacementPolicy")
    allowed = ("Failed",) if policy is not None else ("Failed", "TerminatingOrFailed")
    if replacement is not None and replacement not in allowed:
        errs.not_supported(f"{path}.podReplacementPolicy", replacement, allowed)
    validate_template(spec.get("template") or {}, f"{path}.template", errs)
    restart = ((spec.get("template") or {}).get("spec") or {}).get("restartPolicy", "")
    _restart(restart, f"{path}.template.spec.restartPolicy", policy is not None, errs)


def _restart(restart: str, path: str, has_policy: bool, errs: FieldErrors) -> None:
    if restart in ("", "Always"):
        errs.required(path, 'valid values: "OnFailure", "Never"')
    elif restart not in ("Never", "OnFailure"):
        errs.not_supported(path, restart, ("OnFailure", "Never"))
    elif has_policy and restart != "Never":
        errs.invalid(path, restart, 'only "Never" is supported when podFailurePolicy is specified')


def _manager(manager: str, path: str, errs: FieldErrors) -> None:
    """A domain, a slash, and something after it."""
    domain, _, rest = manager.partition("/")
    if not manager:
        errs.required(path)
    elif not domain or not rest:
        errs.invalid(path, manager, 'must be a domain-prefixed path (such as "acme.io/foo")')
    else:
        checks.named(errs, path, domain, names.dns1123_subdomain)
        checks.named(errs, path, rest, names.http_path)
    if names.longer_than(manager, MAX_MANAGER):
        errs.too_long(path, MAX_MANAGER)


def _indexed(spec: Obj, path: str, errs: FieldErrors) -> None:
    completions, parallelism = spec.get("completions"), spec.get("parallelism") or 0
    most = spec.get("maxFailedIndexes")
    if completions is None:
        errs.required(f"{path}.completions", "when completion mode is Indexed")
    if parallelism > MANY:
        message = f"must be less than or equal to {MANY} when completion mode is Indexed"
        errs.invalid(f"{path}.parallelism", parallelism, message)
    if most is not None and completions is not None and most > completions:
        errs.invalid(f"{path}.maxFailedIndexes", most, "must be less than or equal to completions")
    if most is not None and most > MANY:
        errs.invalid(f"{path}.maxFailedIndexes", most, f"must be less than or equal to {MANY}")
    if completions is None or completions <= MANY or spec.get("backoffLimitPerIndex") is None:
        return
    if most is None:
        errs.required(f"{path}.maxFailedIndexes", f"must be specified when completions is above {MANY}")
    for field, value in (("parallelism", parallelism), ("maxFailedIndexes", most or 0)):
        if value > FEW:
            errs.invalid(
                f"{path}.{field}",
                value,
                f"must be less than or equal to {FEW} when completions are above {MANY} and used with backoff limit "
                "per index",
            )


# -- failure policy


def _failure_policy(spec: Obj, policy: Obj, path: str, errs: FieldErrors) -> None:
    rules = policy.get("rules") or []
    if len(rules) > MAX_RULES:
        errs.too_many(f"{path}.rules", len(rules), MAX_RULES)
    pod: Obj = (spec.get("template") or {}).get("spec") or {}
    containers = {c.get("name", "") for field in ("containers", "initContainers") for c in pod.get(field) or ()}
    for index, rule in enumerate(rules):
        _failure_rule(spec, rule, containers, f"{path}.rules[{index}]", errs)


def _failure_rule(spec: Obj, rule: Obj, containers: set[str], at: str, errs: FieldErrors) -> None:
    action = rule.get("action", "")
    if not action:
        errs.required(f"{at}.action", f"valid values: {_quoted(ACTIONS)}")
    elif action == "FailIndex" and spec.get("backoffLimitPerIndex") is None:
        errs.invalid(f"{at}.action", action, "requires the backoffLimitPerIndex to be set")
    elif action not in ACTIONS:
        errs.not_supported(f"{at}.action", action, ACTIONS)
    codes, conditions = rule.get("onExitCodes"), rule.get("onPodConditions") or []
    if codes is not None:
        _exit_codes(codes, containers, f"{at}.onExitCodes", errs)
    if len(conditions) > MAX_PATTERNS:
        errs.too_many(f"{at}.onPodConditions", len(conditions), MAX_PATTERNS)
    for index, pattern in enumerate(conditions):
        where = f"{at}.onPodConditions[{index}]"
        checks.named(errs, f"{where}.type", pattern.get("type", ""), names.qualified_name)
        if (status := pattern.get("status", "")) not in STATUSES:
            errs.not_supported(f"{where}.status", status, STATUSES)
    if codes is not None and conditions:
        errs.unfit(at, "specifying both OnExitCodes and OnPodConditions is not supported")
    if codes is None and not conditions:
        errs.unfit(at, "specifying one of OnExitCodes and OnPodConditions is required")


def _quoted(values: tuple[str, ...]) -> str:
    return "[" + " ".join(f'"{value}"' for value in values) + "]"


def _exit_codes(codes: Obj, containers: set[str], at: str, errs: FieldErrors) -> None:
    operator, values = codes.get("operator", ""), codes.get("values") or []
    if not operator:
        errs.required(f"{at}.operator", f"valid values: {_quoted(('In', 'NotIn'))}")
    elif operator not in ("In", "NotIn"):
        errs.not_supported(f"{at}.operator", operator, ("In", "NotIn"))
    name = codes.get("containerName")
    if name is not None and name not in containers:
        message = "must be one of the container or initContainer names in the pod template"
        errs.invalid(f"{at}.containerName", name, message)
    if not values:
        errs.invalid(f"{at}.values", values, "at least one value is required")
    elif len(values) > MAX_CODES:
        errs.too_many(f"{at}.values", len(values), MAX_CODES)
    seen: set[int] = set()
    for index, value in enumerate(values):
        if operator == "In" and value == 0:
            errs.invalid(f"{at}.values[{index}]", value, "must not be 0 for the In operator")
        if value in seen:
            errs.duplicate(f"{at}.values[{index}]", value)
        seen.add(value)
    if values != sorted(values):
        errs.invalid(f"{at}.values", values, "must be ordered")


# -- success policy


def _success_policy(policy: Obj, completions: int, path: str, errs: FieldErrors) -> None:
    rules = policy.get("rules") or []
    if not rules:
        errs.required(f"{path}.rules", "at least one rules must be specified when the successPolicy is specified")
    if len(rules) > MAX_RULES:
        errs.too_many(f"{path}.rules", len(rules), MAX_RULES)
    for index, rule in enumerate(rules):
        _success_rule(rule, completions, f"{path}.rules[{index}]", errs)


def _success_rule(rule: Obj, completions: int, at: str, errs: FieldErrors) -> None:
    count, listed = rule.get("succeededCount"), rule.get("succeededIndexes")
    if count is None and listed is None:
        errs.required(at, "at least one of succeededCount or succeededIndexes must be specified")
    known = 0
    if listed is not None:
        if names.longer_than(listed, MAX_INDEXES_LENGTH):
            errs.too_long(f"{at}.succeededIndexes", MAX_INDEXES_LENGTH)
        try:
            known = indexes.total(listed, completions)
        except ValueError as wrong:
            errs.invalid(f"{at}.succeededIndexes", listed, f"error parsing succeededIndexes: {wrong}")
    if count is None:
        return
    checks.non_negative(errs, at, rule, "succeededCount")
    for most, what in (
        (completions, "the number of specified completions"),
        (known if listed is not None else count, "the number of indexes in the specified succeededIndexes field"),
    ):
        if count > most:
            errs.invalid(f"{at}.succeededCount", count, f"must be less than or equal to {most} ({what})")


def _go_policy(policy: Obj) -> Obj:
    """As upstream's message shows it."""
    fields = {"SucceededIndexes": "succeededIndexes", "SucceededCount": "succeededCount"}
    return {"Rules": [{name: rule.get(f) for name, f in fields.items()} for rule in policy.get("rules") or ()]}


# -- warnings


def name_warnings(obj: Obj) -> list[str]:
    """Of a new object: its name makes names of pods."""
    wrong = names.dns1123_label(obj["metadata"].get("name", ""))
    if not wrong:
        return []
    return [
        "metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label "
        f"is recommended: [{' '.join(wrong)}]"
    ]


def spec_warnings(spec: Obj, old: Obj | None, path: str) -> list[str]:
    found: list[str] = []
    many = (spec.get("completions") or 0) > MANY and (spec.get("parallelism") or 0) > FEW
    if many and spec.get("completionMode") == "Indexed":
        found.append(
            f"{path}: In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, "
            "Kubernetes might not be able to track completedIndexes when a big number of indexes fail"
        )
    template: Obj = spec.get("template") or {}
    if old is None or old.get("template") != template:
        found += template_warnings(template, f"{path}.template.")
    return found
