"""What is counted of webhooks and policies, under upstream's names. Sources: admission/metrics, policy/validating/metrics."""

from __future__ import annotations

from navarch.machinery.metrics import Counter, Histogram, Metrics

SECONDS = (0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 10.0, 25.0)
MAX_CODE = 600
"""Greater ones are counted as this: a webhook cannot make ever more series."""


class Measures:
    def __init__(self, metrics: Metrics) -> None:
        prefix = "apiserver_admission_webhook"
        kinds = ("name", "type", "operation")
        self._duration = metrics.add(
            Histogram(
                f"{prefix}_admission_duration_seconds",
                "Latency of admission webhooks, by name, type and operation.",
                SECONDS,
                (*kinds, "rejected"),
            )
        )
        self._requests = metrics.add(
            Counter(f"{prefix}_request_total", "Requests to admission webhooks.", (*kinds, "code", "rejected"))
        )
        self._rejections = metrics.add(
            Counter(
                f"{prefix}_rejection_count",
                "Requests that admission webhooks rejected, or that were because a webhook failed.",
                (*kinds, "error_type", "rejection_code"),
            )
        )
        self._opened = metrics.add(
            Counter(f"{prefix}_fail_open_count", "Admission webhooks that failed and may.", ("name", "type"))
        )
        self._checks = metrics.add(
            Counter(
                "apiserver_validating_admission_policy_check_total",
                "Decisions of validating admission policies, by policy and enforcement action.",
                ("policy", "policy_binding", "enforcement_action"),
            )
        )

    def asked(
        self, name: str, kind: str, operation: str, seconds: float, code: int, rejected: bool, error: str = ""
    ) -> None:
        """A webhook was. `kind` is `admit` or `validating`; `error` says what went wrong where it gave no verdict."""
        code, said = min(code, MAX_CODE), "true" if rejected else "false"
        self._duration.observe(seconds, (name, kind, operation, said))
        self._requests.add((name, kind, operation, str(code), said))
        if rejected:
            self._rejections.add((name, kind, operation, error or "no_error", str(code)))
        elif error:
            self._opened.add((name, kind))

    def checked(self, policy: str, binding: str, action: str) -> None:
        """A policy decided. `action` is `allow`, `deny`, `warn` or `audit`."""
        self._checks.add((policy, binding, action))
