"""Options of an API server: who is believed, what is logged, what is encrypted (named as kube-apiserver names them)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from navarch.cluster.access import AccessFiles

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
NEW_FILE = click.Path(dir_okay=False, path_type=Path)
OPTIONS = (
    click.option(
        "--authentication-config", type=FILE, help="An AuthenticationConfiguration: OpenID Connect, anonymous."
    ),
    click.option("--anonymous-auth/--no-anonymous-auth", default=True, help="Let anybody see health and version."),
    click.option("--token-auth-file", type=FILE, help='Static tokens: lines of `token,user,uid,"groups"`.'),
    click.option(
        "--authentication-token-webhook-config-file",
        type=FILE,
        help="A kubeconfig of a server that vouches for tokens.",
    ),
    click.option("--requestheader-client-ca-file", type=FILE, help="The authority of front proxies."),
    click.option(
        "--requestheader-allowed-names",
        default="front-proxy-client",
        show_default=True,
        help="Common names that front proxies may have.",
    ),
    click.option(
        "--proxy-client-cert-file",
        type=FILE,
        help="By what extension servers know this one. [default: a certificate of its own]",
    ),
    click.option("--proxy-client-key-file", type=FILE, help="The key of --proxy-client-cert-file."),
    click.option(
        "--audit-policy-file", type=FILE, help="What is logged. [default: every change, every touch of secrets]"
    ),
    click.option("--audit-log-path", type=NEW_FILE, help="Where it is logged. [default: DATA_DIR/audit.log]"),
    click.option(
        "--encryption-provider-config",
        type=FILE,
        help="An EncryptionConfiguration. [default: DATA_DIR/encryption.yaml]",
    ),
    click.option("--admission-control-config-file", type=FILE, help="An AdmissionConfiguration."),
    click.option("--enable-admission-plugins", default="", help="Admission plugins besides the default ones."),
    click.option("--disable-admission-plugins", default="", help="Default admission plugins that are not to run."),
)


def access_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The command gets them all as one argument, `access`: from the data directory (or None) to its AccessFiles."""

    @wraps(function)
    def run(
        authentication_config: Path | None,
        anonymous_auth: bool,
        token_auth_file: Path | None,
        authentication_token_webhook_config_file: Path | None,
        requestheader_client_ca_file: Path | None,
        requestheader_allowed_names: str,
        proxy_client_cert_file: Path | None,
        proxy_client_key_file: Path | None,
        audit_policy_file: Path | None,
        audit_log_path: Path | None,
        encryption_provider_config: Path | None,
        admission_control_config_file: Path | None,
        enable_admission_plugins: str,
        disable_admission_plugins: str,
        **others: Any,
    ) -> Any:
        if bool(proxy_client_cert_file) != bool(proxy_client_key_file):
            raise click.UsageError("--proxy-client-cert-file and --proxy-client-key-file go together")
        certificate = (
            (proxy_client_cert_file, proxy_client_key_file)
            if proxy_client_cert_file and proxy_client_key_file
            else None
        )

        def access(home: Path | None) -> AccessFiles:
            from navarch.cluster.access import AccessFiles

            found = AccessFiles.at(home, home) if home else AccessFiles()
            return AccessFiles(
                authentication=authentication_config or found.authentication,
                anonymous=anonymous_auth,
                tokens=token_auth_file or found.tokens,
                token_webhook=authentication_token_webhook_config_file or found.token_webhook,
                front_proxy_ca=requestheader_client_ca_file or found.front_proxy_ca,
                front_proxy_names=tuple(name for name in requestheader_allowed_names.split(",") if name),
                proxy_client=certificate,
                audit_policy=audit_policy_file or found.audit_policy,
                audit_log=audit_log_path or found.audit_log,
                encryption=encryption_provider_config or found.encryption,
                admission=admission_control_config_file or found.admission,
                enabled_plugins=frozenset(name for name in enable_admission_plugins.split(",") if name),
                disabled_plugins=frozenset(name for name in disable_admission_plugins.split(",") if name),
            )

        return function(access=access, **others)

    for option in reversed(OPTIONS):
        run = option(run)
    return run


def flags() -> Mapping[str, str]:
    """The running command's options as kube-apiserver shows its flags."""
    given = click.get_current_context().params
    return {name.replace("_", "-"): _shown(value) for name, value in given.items()}


def _shown(value: object) -> str:
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
