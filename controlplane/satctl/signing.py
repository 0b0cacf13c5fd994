"""`satctl policy sign` and `satctl policy signers`: rules signed where the keys are, and not by Ground Control.

A signed file is JSON: {"signed": [{"kind", "name", "serial", "payload": base64, "signatures": [{"key_id": hex,
"signature": base64}]}]}. `satctl policy apply` sends it on as it is.
"""

from __future__ import annotations

import getpass
import json
import os
from base64 import b64decode, b64encode
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from controlplane.satctl.entities import BLOCK, POLICY, TRUST_ROOT, Entity
from controlplane.satctl.options import now
from controlplane.satctl.reading import check_public_key, read_text
from controlplane.satctl.render import print_line, say
from controlplane.satctl.running import run
from fleet.errors import FleetError, Kind, malformed
from fleet.v1 import fleet_pb2 as pb
from fleet.v1 import resource_pb2

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

    from controlplane.satctl.client import FleetClient

PASSPHRASE = "SATCTL_KEY_PASSPHRASE"  # noqa: S105 - a variable's name
_KINDS = {
    "policy": resource_pb2.RESOURCE_KIND_POLICY,
    "trust_root": resource_pb2.RESOURCE_KIND_TRUST_ROOT,
    "block": resource_pb2.RESOURCE_KIND_BLOCK,
    "signer_set": resource_pb2.RESOURCE_KIND_SIGNER_SET,
}
_WORDS = {number: word for word, number in _KINDS.items()}
_FLEET = "fleet"


def register(app: typer.Typer) -> None:
    """Add the commands to those of policies."""
    app.command()(sign)
    app.command()(signers)


def sign(
    context: typer.Context,
    *,
    file: Annotated[Path, typer.Option("--file", "-f", help="YAML as `apply` takes it, or a signed file to add to.")],
    key: Annotated[list[Path], typer.Option(help="Private key, PEM; may be repeated.")],
    out: Annotated[Path, typer.Option(help="Where the signed file goes.")],
    serial: Annotated[
        int, typer.Option(min=0, help="Of all that is signed. [one more than Ground Control has]", show_default=False)
    ] = 0,
) -> None:
    """Sign policies, trust roots and blocks for sites that pin their policy signers.

    satctl policy sign -f policy.yaml --key alice.key --out signed.json
    satctl policy sign -f signed.json --key bob.key --out signed.json
    satctl policy apply -f signed.json

    A passphrase is read from SATCTL_KEY_PASSPHRASE, or asked for.
    """
    from fleet.signing import sign as sign_version  # noqa: PLC0415 - what help need not wait for

    resources = read_signed(file) or _prepare(context, file, serial)
    for path in key:
        private = _private_key(path)
        for one in resources:
            name, signature = sign_version(_version(one), private)
            if name not in {known.key_id for known in one.signatures}:
                one.signatures.add(key_id=name, signature=signature)
    _write(out, resources)


def signers(
    *,
    key: Annotated[list[Path], typer.Option(help="Public key of a policy signer, PEM; may be repeated.")],
    threshold: Annotated[int, typer.Option(min=1, help="How many of them must sign.")],
    serial: Annotated[int, typer.Option(min=1, help="One more than the set before it; 1 follows the pinned keys.")],
    out: Annotated[Path, typer.Option(help="Where the set goes, to be signed.")],
) -> None:
    """Write the next set of policy signers: enough of the present ones, and enough of its own, have to sign it.

    satctl policy signers --key alice.pub --key carol.pub --threshold 2 --serial 1 --out signers.json
    """
    keys = [check_public_key(read_text(path), subject=str(path)) for path in key]
    if threshold > len(keys):
        raise malformed("THRESHOLD_OUT_OF_RANGE", f"of {len(keys)} keys, at most {len(keys)} can have to sign")
    payload = _begun(str(serial), serial, [_FLEET])
    payload.signer_set.CopyFrom(resource_pb2.SignerSetSpec(public_keys_pem=keys, threshold=threshold))
    kind = resource_pb2.RESOURCE_KIND_SIGNER_SET
    _write(out, [pb.SignedResource(kind=kind, payload=payload.SerializeToString(deterministic=True))])


def read_signed(file: Path) -> list[pb.SignedResource]:
    """Read a signed file; empty where it is another kind of file.

    Raises:
        FleetError: MALFORMED `SIGNED_FILE_MALFORMED`.
    """
    text = read_text(file)
    if not text.lstrip().startswith("{"):
        return []
    try:
        return [_resource(one) for one in json.loads(text)["signed"]]
    except (ValueError, KeyError, TypeError) as error:
        raise malformed(
            "SIGNED_FILE_MALFORMED", "not a file that `satctl policy sign` wrote", subject=str(file)
        ) from error


def _resource(one: dict[str, Any]) -> pb.SignedResource:
    return pb.SignedResource(
        kind=_KINDS[one["kind"]],
        payload=b64decode(one["payload"], validate=True),
        signatures=[
            resource_pb2.ResourceSignature(
                key_id=bytes.fromhex(each["key_id"]), signature=b64decode(each["signature"], validate=True)
            )
            for each in one["signatures"]
        ],
    )


def _write(out: Path, resources: Sequence[pb.SignedResource]) -> None:
    document = {"signed": [_document(one) for one in resources]}
    out.write_text(json.dumps(document, indent=2) + "\n")
    for one in document["signed"]:
        print_line(f"{one['kind']} {one['name']}, serial {one['serial']}: {len(one['signatures'])} signatures")
    say(f"written to {out}: `satctl policy apply -f {out}` sends it on")


def _document(one: pb.SignedResource) -> dict[str, Any]:
    payload = resource_pb2.ResourcePayload.FromString(one.payload)
    return {
        "kind": _WORDS[one.kind],
        "name": payload.name,
        "serial": payload.serial,
        "payload": b64encode(one.payload).decode(),
        "signatures": [
            {"key_id": each.key_id.hex(), "signature": b64encode(each.signature).decode()} for each in one.signatures
        ],
    }


def _version(one: pb.SignedResource) -> bytes:
    from fleet.digests import resource_version  # noqa: PLC0415 - as above

    return resource_version(int(one.kind), one.payload)


# What is signed -----------------------------------------------------------------------------------------


def _prepare(context: typer.Context, file: Path, serial: int) -> list[pb.SignedResource]:
    from controlplane.satctl.policy_file import read_rules  # noqa: PLC0415 - as above

    rules = read_rules(file).rules
    serials = [serial] * len(rules) if serial else run(context, lambda client: _next_serials(client, rules))
    return [_payload(rule, number) for rule, number in zip(rules, serials, strict=True)]


Rule = pb.Policy | pb.TrustRoot | pb.Block


async def _next_serials(client: FleetClient, rules: Sequence[Rule]) -> list[int]:
    return [await _next_serial(client, rule) for rule in rules]


async def _next_serial(client: FleetClient, rule: Rule) -> int:
    kind: Entity[Any] = (
        POLICY if isinstance(rule, pb.Policy) else TRUST_ROOT if isinstance(rule, pb.TrustRoot) else BLOCK
    )
    try:
        known = await kind.get(client, rule.name)
    except FleetError as error:
        if error.kind is not Kind.UNKNOWN:
            raise
        return 1
    return int(known.serial) + 1


def _begun(name: str, serial: int, scopes: Sequence[str]) -> resource_pb2.ResourcePayload:
    payload = resource_pb2.ResourcePayload(
        if_unknown=resource_pb2.IF_UNKNOWN_HOLD, name=name, serial=serial, scopes=sorted(scopes) or [_FLEET]
    )
    at: datetime = now()
    payload.issued_at.FromDatetime(at)
    return payload


def _payload(rule: Rule, serial: int) -> pb.SignedResource:
    payload = _begun(rule.name, serial, list(rule.scopes))
    match rule:
        case pb.Policy():
            payload.policy.CopyFrom(rule.spec)
            kind = resource_pb2.RESOURCE_KIND_POLICY
        case pb.TrustRoot():
            payload.trust_root.CopyFrom(rule.spec)
            kind = resource_pb2.RESOURCE_KIND_TRUST_ROOT
        case _:
            payload.block.CopyFrom(rule.spec)
            kind = resource_pb2.RESOURCE_KIND_BLOCK
    if not isinstance(rule, pb.Block) and rule.HasField("expires_at"):
        payload.expires_at.CopyFrom(rule.expires_at)
    return pb.SignedResource(kind=kind, payload=payload.SerializeToString(deterministic=True))


def _private_key(path: Path) -> PrivateKeyTypes:
    """Read a private key; its passphrase is asked for where it has one, and kept nowhere.

    Raises:
        FleetError: MALFORMED `KEY_MALFORMED`; `FILE_UNREADABLE`.
    """
    from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415 - as above

    content = read_text(path).encode()
    try:
        return load_pem_private_key(content, None)
    except TypeError:
        passphrase = os.environ.get(PASSPHRASE) or getpass.getpass(f"passphrase of {path}: ")
        try:
            return load_pem_private_key(content, passphrase.encode())
        except ValueError as error:
            raise malformed("KEY_MALFORMED", "the passphrase does not open the key", subject=str(path)) from error
    except ValueError as error:
        raise malformed("KEY_MALFORMED", "not a private key in PEM", subject=str(path)) from error
