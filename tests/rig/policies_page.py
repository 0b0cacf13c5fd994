"""The examples of docs/policies.md, and the files that they name."""

from __future__ import annotations

import re
from pathlib import Path

from tests.rig.policy_signing import PolicySigner
from tests.rig.trust_material import authority, ca_pem, trusted_root_json

PAGE = Path(__file__).parents[2] / "docs" / "policies.md"
_FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CLUSTER_POLICY = """\
apiVersion: policy.sigstore.dev/v1beta1
kind: ClusterImagePolicy
metadata: {name: imported}
spec:
  images: [{glob: ghcr.io/acme/**}]
  authorities:
    - keyless: {identities: [{issuer: https://accounts.example.com, subject: release@example.com}]}
      signatureFormat: bundle
"""


def examples(language: str) -> list[str]:
    """List the page's examples in one language."""
    return [text for found, text in _FENCE.findall(PAGE.read_text()) if found == language]


def commands() -> list[str]:
    """List the page's command lines, without what is said about them."""
    lines = [line.partition("  #")[0].strip() for text in examples("sh") for line in text.splitlines()]
    return [line for line in lines if line]


def write_files(directory: Path) -> None:
    """Write what the examples name."""
    (directory / "cosign.pub").write_text(PolicySigner().pem)
    (directory / "second.pub").write_text(PolicySigner().pem)
    (directory / "trusted_root.json").write_bytes(trusted_root_json())
    for name in ("ca.pem", "old.pem", "new.pem"):
        (directory / name).write_text(ca_pem())
    (directory / "revoked.crl").write_bytes(authority().revocation_list())
    (directory / "cip.yaml").write_text(CLUSTER_POLICY)
