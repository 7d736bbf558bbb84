"""Certificate requests: who asks, who approves, who signs."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.support.apiserver import api_server

from navarch.api.certificates.certificatesigningrequest import beta_defaults
from navarch.apiserver.inprocess import InProcessClient
from navarch.apiserver.request import User
from navarch.apiserver.server import ApiServer
from navarch.client.interface import Resource
from navarch.client.resources import CERTIFICATE_REQUESTS
from navarch.machinery.errors import StatusError

ASKER = User("system:node:a", uid="u-1", groups=("system:nodes", "system:authenticated"), extra=(("k", ("v",)),))
SIGNER = User("signer", groups=("signers",))
CLIENT = "kubernetes.io/kube-apiserver-client"


def csr(*, organization: str = "people", names: tuple[str, ...] = ()) -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization),
            x509.NameAttribute(NameOID.COMMON_NAME, "system:node:a"),
        ]
    )
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(n) for n in names]), False)
    made = builder.sign(key, hashes.SHA256())
    return base64.b64encode(made.public_bytes(serialization.Encoding.PEM)).decode()


def request(name: str, **spec: Any) -> dict[str, Any]:
    spec = {"request": csr(), "signerName": "example.com/s", "usages": ["client auth"], **spec}
    return {"metadata": {"name": name}, "spec": spec}


async def asker(server: ApiServer) -> InProcessClient:
    """A client of ASKER, who may make requests."""
    resources = ["certificatesigningrequests", "*/approval"]
    rule = {"apiGroups": ["certificates.k8s.io"], "resources": resources, "verbs": ["*"]}
    await _grant(server, "ask", ASKER, [rule])
    return InProcessClient(server, ASKER)


async def _grant(server: ApiServer, name: str, user: User, rules: list[dict[str, Any]]) -> None:
    group = "rbac.authorization.k8s.io"
    await server.system.create(
        Resource(group, "v1", "clusterroles", namespaced=False), {"metadata": {"name": name}, "rules": rules}
    )
    await server.system.create(
        Resource(group, "v1", "clusterrolebindings", namespaced=False),
        {
            "metadata": {"name": name},
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": name},
            "subjects": [{"apiGroup": group, "kind": "User", "name": user.name}],
        },
    )


async def test_a_request_says_who_made_it_whatever_it_claims() -> None:
    async with api_server() as server:
        client = await asker(server)
        claimed = request("r", username="root", uid="0", groups=["system:masters"], extra={"x": ["y"]})
        claimed["status"] = {"conditions": [{"type": "Approved", "status": "True"}]}
        made = await client.create(CERTIFICATE_REQUESTS, claimed)
        assert {k: made["spec"][k] for k in ("username", "uid", "groups", "extra")} == {
            "username": ASKER.name,
            "uid": "u-1",
            "groups": list(ASKER.groups),
            "extra": {"k": ["v"]},
        }
        assert made["status"] == {}


async def test_approving_and_signing_need_the_signer() -> None:
    async with api_server() as server:
        client = await asker(server)
        made = await client.create(CERTIFICATE_REQUESTS, request("r"))
        approved = {**made, "status": {"conditions": [{"type": "Approved", "status": "True", "reason": "Fine"}]}}
        with pytest.raises(StatusError, match="user not permitted to approve requests with signerName"):
            await client.update(CERTIFICATE_REQUESTS, approved, subresource="approval")
        rules = [
            {"apiGroups": ["certificates.k8s.io"], "resources": ["*/approval", "*/status"], "verbs": ["*"]},
            {
                "apiGroups": ["certificates.k8s.io"],
                "resources": ["signers"],
                "resourceNames": ["example.com/*"],
                "verbs": ["approve", "sign"],
            },
        ]
        await _grant(server, "sign", SIGNER, rules)
        signer = InProcessClient(server, SIGNER)
        answer = await signer.update(CERTIFICATE_REQUESTS, approved, subresource="approval")
        (condition,) = answer["status"]["conditions"]
        assert condition["lastUpdateTime"] and condition["lastTransitionTime"]
        with pytest.raises(StatusError, match="must contain at least one CERTIFICATE PEM block"):
            broken = {**answer, "status": {**answer["status"], "certificate": base64.b64encode(b"x").decode()}}
            await signer.update(CERTIFICATE_REQUESTS, broken, subresource="status")


@pytest.mark.parametrize(
    ("subresource", "change", "message"),
    [
        ("approval", [], 'updates may not remove a condition of type "Approved"'),
        (
            "approval",
            [{"type": "Approved", "status": "True"}, {"type": "Denied", "status": "True"}],
            "Approved and Denied conditions are mutually exclusive",
        ),
        (
            "status",
            [{"type": "Approved", "status": "True"}, {"type": "Denied", "status": "True"}],
            'updates may not add a condition of type "Denied"',
        ),
        ("status", [{"type": "Approved", "status": "True"}, {"type": "Failed", "status": "False"}], "supported values"),
    ],
)
async def test_decisions_stand(subresource: str, change: list[Any], message: str) -> None:
    async with api_server() as server:
        made = await server.system.create(CERTIFICATE_REQUESTS, request("r"))
        approved = {**made, "status": {"conditions": [{"type": "Approved", "status": "True"}]}}
        made = await server.system.update(CERTIFICATE_REQUESTS, approved, subresource="approval")
        with pytest.raises(StatusError, match=message):
            await server.system.update(
                CERTIFICATE_REQUESTS, {**made, "status": {"conditions": change}}, subresource=subresource
            )


async def test_nobody_becomes_a_master_by_certificate() -> None:
    async with api_server() as server:
        client = await asker(server)
        wanted = request("r", signerName=CLIENT, request=csr(organization="system:masters"))
        with pytest.raises(StatusError, match="signer with system:masters group is not allowed") as refused:
            await client.create(CERTIFICATE_REQUESTS, wanted)
        assert refused.value.code == 403


async def test_a_request_must_be_signed_with_its_own_key() -> None:
    async with api_server() as server:
        text = base64.b64decode(csr())
        der = bytearray(base64.b64decode(b"".join(text.split(b"\n")[1:-2])))
        der[-1] ^= 1
        body = b"-----BEGIN CERTIFICATE REQUEST-----\n" + base64.encodebytes(bytes(der))
        forged = base64.b64encode(body + b"-----END CERTIFICATE REQUEST-----\n").decode()
        with pytest.raises(StatusError) as refused:
            await server.system.create(CERTIFICATE_REQUESTS, request("r", request=forged))
        assert [cause["field"] for cause in refused.value.details["causes"]] == ["spec.request"]


@pytest.mark.parametrize(
    ("spec", "signer"),
    [
        ({"request": csr(organization="system:nodes")}, "kubernetes.io/kube-apiserver-client-kubelet"),
        ({"request": csr(organization="system:nodes", names=("n",))}, "kubernetes.io/kubelet-serving"),
    ],
)
def test_the_retired_version_knows_kubelets_by_their_requests(spec: dict[str, Any], signer: str) -> None:
    side = "server auth" if "serving" in signer else "client auth"
    obj = {"spec": {**spec, "usages": ["digital signature", "key encipherment", side]}}
    beta_defaults(obj)
    assert obj["spec"]["signerName"] == signer
