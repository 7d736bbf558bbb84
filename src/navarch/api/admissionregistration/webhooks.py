"""ValidatingWebhookConfiguration and MutatingWebhookConfiguration: who is asked about requests. Source:
apis/admissionregistration defaults and validation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from navarch.api.admissionregistration.rules import (
    CATEGORIES,
    FAILURE_POLICIES,
    GROUP,
    MATCH_POLICIES,
    REINVOCATIONS,
    default,
    default_scope,
    validate_match_conditions,
    validate_rule,
    version,
    warnings,
)
from navarch.api.columns import AGE, NAME
from navarch.api.kind import Column, Kind, Mutate
from navarch.api.podspec import checks
from navarch.api.retired import retired
from navarch.machinery import names
from navarch.machinery.errors import FieldErrors
from navarch.machinery.tables import age_of
from navarch.machinery.types import Obj

SIDE_EFFECTS, NO_SIDE_EFFECTS = ("None", "NoneOnDryRun", "Some", "Unknown"), ("None", "NoneOnDryRun")
REVIEW_VERSIONS = ("v1", "v1beta1")


def webhooks_of(obj: Obj) -> list[Obj]:
    return obj.get("webhooks") or []


def _defaults(obj: Obj, **values: Any) -> None:
    for hook in webhooks_of(obj):
        default(hook, **values)
        for field in ("namespaceSelector", "objectSelector"):
            default(hook, **{field: {}})
        default_scope(hook.get("rules") or ())
        if (service := (hook.get("clientConfig") or {}).get("service")) is not None:
            default(service, port=443)


def defaults(obj: Obj) -> None:
    _defaults(obj, failurePolicy="Fail", matchPolicy="Equivalent", timeoutSeconds=10)


def mutating_defaults(obj: Obj) -> None:
    defaults(obj)
    _default_reinvocation(obj)


def _default_reinvocation(obj: Obj) -> None:
    for hook in webhooks_of(obj):
        default(hook, reinvocationPolicy="Never")


def beta_defaults(obj: Obj) -> None:
    _defaults(obj, failurePolicy="Ignore", matchPolicy="Exact", sideEffects="Unknown", timeoutSeconds=30)
    for hook in webhooks_of(obj):
        if not hook.get("admissionReviewVersions"):
            hook["admissionReviewVersions"] = ["v1beta1"]


def mutating_beta_defaults(obj: Obj) -> None:
    beta_defaults(obj)
    _default_reinvocation(obj)


# -- validation


def validate(obj: Obj, errs: FieldErrors) -> None:
    for index, hook in enumerate(webhooks_of(obj)):
        _webhook(hook, f"webhooks[{index}]", errs)


def _webhook(hook: Obj, at: str, errs: FieldErrors) -> None:
    _name(hook.get("name", ""), f"{at}.name", errs)
    for index, rule in enumerate(hook.get("rules") or ()):
        validate_rule(rule, f"{at}.rules[{index}]", errs)
    for field, allowed in (
        ("failurePolicy", FAILURE_POLICIES),
        ("matchPolicy", MATCH_POLICIES),
        ("sideEffects", SIDE_EFFECTS),
        ("reinvocationPolicy", REINVOCATIONS),
    ):
        value = hook.get(field)
        if value is not None and value not in allowed:
            errs.not_supported(f"{at}.{field}", value, NO_SIDE_EFFECTS if field == "sideEffects" else allowed)
    if hook.get("sideEffects") is None:
        errs.required(f"{at}.sideEffects", f"must specify one of {', '.join(NO_SIDE_EFFECTS)}")
    seconds = hook.get("timeoutSeconds")
    if seconds is not None and not 1 <= seconds <= 30:
        errs.invalid(f"{at}.timeoutSeconds", seconds, "the timeout value must be between 1 and 30 seconds")
    checks.label_selector(errs, f"{at}.namespaceSelector", hook.get("namespaceSelector"))
    checks.label_selector(errs, f"{at}.objectSelector", hook.get("objectSelector"))
    validate_client(hook.get("clientConfig") or {}, f"{at}.clientConfig", errs)
    validate_match_conditions(hook.get("matchConditions") or [], f"{at}.matchConditions", False, errs)
    _review_versions(hook.get("admissionReviewVersions") or [], f"{at}.admissionReviewVersions", errs)


def _name(name: str, at: str, errs: FieldErrors) -> None:
    if not name:
        errs.required(at)
    elif wrong := names.dns1123_subdomain(name):
        errs.invalid(at, name, ",".join(wrong))
    elif name.count(".") < 2:
        errs.invalid(at, name, "should be a domain with at least three segments separated by dots")


def _review_versions(versions: Sequence[str], at: str, errs: FieldErrors) -> None:
    if not versions:
        errs.required(at, f"must specify one of {', '.join(REVIEW_VERSIONS)}")
    for index, text in enumerate(versions):
        if text in versions[:index]:
            errs.invalid(f"{at}[{index}]", text, "duplicate version")
        else:
            checks.named(errs, f"{at}[{index}]", text, names.dns1035_label)


def validate_client(config: Obj, at: str, errs: FieldErrors) -> None:
    """Where a webhook is reached: a URL or a service."""
    url, service = config.get("url"), config.get("service")
    if (url is None) == (service is None):
        errs.required(at, "exactly one of url or service is required")
    elif url is not None:
        validate_url(url, f"{at}.url", errs)
    elif service is not None:
        validate_service(service, f"{at}.service", errs)


def validate_url(text: str, at: str, errs: FieldErrors) -> None:
    form = "; desired format: https://host[/path]"
    try:
        url = urlsplit(text)
    except ValueError as error:
        errs.required(at, f"url must be a valid URL: {error}{form}")
        return
    user, _, host = url.netloc.rpartition("@")
    if url.scheme != "https":
        errs.invalid(at, url.scheme, f"'https' is the only allowed URL scheme{form}")
    if not host:
        errs.invalid(at, host, f"host must be specified{form}")
    if "@" in url.netloc:
        errs.invalid(at, user, "user information is not permitted in the URL")
    if url.fragment:
        errs.invalid(at, url.fragment, "fragments are not permitted in the URL")
    if url.query:
        errs.invalid(at, url.query, "query parameters are not permitted in the URL")


def validate_service(service: Obj, at: str, errs: FieldErrors) -> None:
    """A reference to a service with a path. Upstream takes name and namespace for each other here, in its errors."""
    for field, other in (("name", "namespace"), ("namespace", "name")):
        if not service.get(other):
            errs.required(f"{at}.{field}")
    if wrong := names.port_num(port := service.get("port") or 0):
        errs.invalid(f"{at}.port", port, "port is not valid: " + ", ".join(wrong))
    path = service.get("path")
    if path in (None, "", "/"):
        return
    if path == "//":
        errs.invalid(f"{at}.path", path, "segment[0] may not be empty")
        return
    if not path.startswith("/"):
        errs.invalid(f"{at}.path", path, "must start with a '/'")
    for index, step in enumerate(path[1:].removesuffix("/").split("/")):
        if not step:
            errs.invalid(f"{at}.path", path, f"segment[{index}] may not be empty")
            continue
        for message in names.dns1123_subdomain(step):
            errs.invalid(f"{at}.path", path, f"segment[{index}]: {message}")


def validate_strictly(obj: Obj, errs: FieldErrors) -> None:
    """What the current version asks, and the retired one did not."""
    seen: set[str] = set()
    for index, hook in enumerate(webhooks_of(obj)):
        at, name, effects = f"webhooks[{index}]", hook.get("name", ""), hook.get("sideEffects")
        if effects in SIDE_EFFECTS and effects not in NO_SIDE_EFFECTS:
            errs.not_supported(f"{at}.sideEffects", effects, NO_SIDE_EFFECTS)
        versions = hook.get("admissionReviewVersions") or []
        if versions and not set(versions) & set(REVIEW_VERSIONS):
            message = f"must include at least one of {', '.join(REVIEW_VERSIONS)}"
            errs.invalid(f"{at}.admissionReviewVersions", versions, message)
        if name and name in seen:
            errs.duplicate(f"{at}.name", name)
        seen.add(name)


def _lenient(obj: Obj) -> FieldErrors:
    found = FieldErrors()
    validate_strictly(obj, found)
    return found


def validate_strict_update(new: Obj, old: Obj, errs: FieldErrors) -> None:
    """What was made through the retired version may stay as it is."""
    if not _lenient(old):
        validate_strictly(new, errs)


def row(obj: Obj, now: float) -> list[Any]:
    return [obj["metadata"]["name"], len(webhooks_of(obj)), age_of(obj, now)]


def _kind(name: str, plural: str, current: Mutate, beta: Mutate) -> Kind:
    return Kind(
        kind=name,
        plural=plural,
        qualified_finalizers=False,
        categories=CATEGORIES,
        namespaced=False,
        versions=(
            replace(version(name), validate_create=validate_strictly, validate_update=validate_strict_update),
            retired(GROUP, "v1beta1", name, "1.16", "1.22", f"{GROUP}/v1", defaults=beta),
        ),
        defaults=current,
        validate=validate,
        warnings=warnings,
        has_generation=True,
        allow_unconditional_update=False,
        columns=(
            NAME,
            Column(name="Webhooks", type="integer", description="How many webhooks it has."),
            AGE,
        ),
        row=row,
    )


KINDS = (
    _kind("MutatingWebhookConfiguration", "mutatingwebhookconfigurations", mutating_defaults, mutating_beta_defaults),
    _kind("ValidatingWebhookConfiguration", "validatingwebhookconfigurations", defaults, beta_defaults),
)
