"""Every verb against a real Ground Control: what it does, the JSON it prints, how it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from fleet.joinstring import JoinKind, parse_join_string
from tests.rig.ground_control import GroundControl
from tests.rig.satctl import Satctl

DIGEST = "sha256:" + "5a" * 32
OTHER_DIGEST = "sha256:" + "a5" * 32


@pytest.fixture(scope="module")
def source(admin: Satctl) -> str:
    admin.ok("source", "create", "hub", "--address", "127.0.0.1:1", "--plain-http", "--local-prefix", "")
    return "hub"


def key_pair(directory: Path) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    private = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (directory / "cosign.key").write_bytes(key.private_bytes(serialization.Encoding.PEM, *private))
    public = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    (directory / "cosign.pub").write_bytes(key.public_key().public_bytes(*public))
    return directory / "cosign.pub"


def test_a_group_is_made_read_changed_and_deleted(admin: Satctl) -> None:
    made = admin.json("group", "create", "trains", "--precedence", "7", "--description", "rolling stock")
    assert (made["name"], made["precedence"], made["satellites"]) == ("trains", 7, 0)
    assert made in admin.json("group", "list")
    changed = admin.json("group", "update", "trains", "--precedence", "8")
    assert (changed["precedence"], changed["description"]) == (8, "rolling stock")
    code, said = admin.refused("group", "delete", "trains", "--etag", made["etag"])
    assert (code, said.partition(":")[0]) == (1, "ETAG_MISMATCH")
    admin.ok("group", "delete", "trains", "--etag", changed["etag"])
    code, said = admin.refused("group", "get", "trains")
    assert (code, said.partition(":")[0]) == (1, "GROUP_UNKNOWN")
    assert "satctl group list" in said


def test_what_exists_with_other_content_is_refused_and_the_same_again_is_not(admin: Satctl) -> None:
    admin.ok("group", "create", "ships")
    admin.ok("group", "create", "ships")
    code, said = admin.refused("group", "create", "ships", "--precedence", "1")
    assert (code, said.partition(":")[0]) == (1, "GROUP_EXISTS")


def test_a_repeat_with_the_same_id_is_answered_as_before(admin: Satctl) -> None:
    again = Satctl(admin.home, ("--request-id", "nightly-1"))
    made = again.json("group", "create", "towers")
    assert again.json("group", "create", "towers") == made
    code, said = again.refused("group", "create", "masts")
    assert said.startswith("REQUEST_ID_REUSED: ")
    assert code == 1


def test_a_satellite_is_made_approved_revoked_and_reinstated(admin: Satctl) -> None:
    made = admin.json("satellite", "create", "kiosk-1", "--region", "north")
    assert (made["lifecycle"], made["region"]) == ("pending", "north")
    assert admin.json("approve", "kiosk-1")["lifecycle"] == "stale"
    assert admin.json("revoke", "kiosk-1", "--reason", "stolen")["lifecycle"] == "revoked"
    assert admin.json("reinstate", "kiosk-1")["lifecycle"] != "revoked"
    reasons = [change["reason"] for change in admin.json("changes", "--last", "5")]
    assert "stolen" in reasons
    admin.ok("satellite", "delete", "kiosk-1")


def test_members_join_and_leave_a_group_together(admin: Satctl) -> None:
    admin.ok("group", "create", "shops")
    for name in ("shop-1", "shop-2"):
        admin.ok("satellite", "create", name)
    admin.ok("group", "add-member", "shops", "shop-1", "shop-2")
    assert [found["name"] for found in admin.json("satellite", "list", "--group", "shops")] == ["shop-1", "shop-2"]
    admin.ok("group", "remove-member", "shops", "shop-1")
    assert [found["name"] for found in admin.json("satellite", "list", "--group", "shops")] == ["shop-2"]
    code, _ = admin.refused("group", "add-member", "shops", "shop-1", "nobody")
    assert code == 1
    assert admin.json("satellite", "get", "shop-1")["groups"] == []  # all of them, or none


def test_an_artifact_is_assigned_shown_and_taken_back(admin: Satctl, source: str) -> None:
    name = f"{source}/library/nginx:1.27"
    made = admin.json("artifact", "create", f"{name}@{DIGEST}", "--platform", "linux/arm/v7", "--priority", "50")
    assert made["spec"]["platforms"] == [{"os": "linux", "architecture": "arm", "variant": "v7"}]
    admin.ok("satellite", "create", "kiosk-7")
    assigned = admin.json("assign", name, "--to", "satellite/kiosk-7", "--to", "fleet")
    assert (assigned["scopes"], assigned["spec"]["digest"]) == (["fleet", "satellite/kiosk-7"], DIGEST)
    admin.ok("approve", "kiosk-7")
    status = admin.json("status", "kiosk-7")
    found = next(artifact for artifact in status["artifacts"] if artifact["name"] == name)
    assert (found["digest"], found["state"]) == (DIGEST, "unspecified")
    assert "library/nginx:1.27" in admin.ok("status", "kiosk-7")
    moved = admin.json("artifact", "update", name, "--digest", OTHER_DIGEST)
    assert (moved["spec"]["digest"], moved["spec"]["priority"]) == (OTHER_DIGEST, 50)
    admin.ok("unassign", name, "--from", "satellite/kiosk-7", "--from", "fleet")
    assert admin.json("artifact", "get", name)["scopes"] == []
    admin.ok("artifact", "delete", name)


def test_a_tag_whose_source_is_away_is_refused_as_unreachable(admin: Satctl, source: str) -> None:
    code, said = admin.refused("assign", f"{source}/library/redis:7", "--to", "fleet")
    assert (code, said.partition(":")[0]) == (4, "SOURCE_UNREACHABLE")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("assign", "hub/nginx", "--to", "fleet"), "ARTIFACT_MALFORMED"),
        (("assign", "hub/nginx:1", "--to", "shops"), "SCOPE_MALFORMED"),
        (("assign", "hub/nginx@sha256:12", "--to", "fleet"), "DIGEST_MALFORMED"),
        (("artifact", "create", "hub/nginx:1", "--platform", "arm64"), "PLATFORM_MALFORMED"),
        (("token", "create"), "SUBJECT_MISSING"),
        (("token", "create", "--satellite", "x", "--ttl", "soon"), "DURATION_MALFORMED"),
        (("changes", "--after", "yesterday"), "POSITION_MALFORMED"),
    ],
)
def test_what_cannot_be_right_is_said_before_anything_is_sent(
    stranger: Satctl, arguments: tuple[str, ...], reason: str
) -> None:
    code, said = stranger.refused(*arguments)  # nobody is logged in: it never came to that
    assert (code, said.partition(":")[0]) == (2, reason)


def test_a_source_keeps_what_is_not_named_and_hides_its_credential(
    admin: Satctl, ground_control: GroundControl
) -> None:
    made = admin.json("source", "create", "mirror", "--address", "127.0.0.1:2", "--plain-http")
    assert made["spec"]["local_prefix"] == "mirror"
    done = admin.run("source", "set-credential", "mirror", "--username", "robot", stdin="hunter2-secret\n")
    assert done.returncode == 0
    changed = admin.json("source", "update", "mirror", "--mirror", "127.0.0.1:3")
    assert changed["has_credential"]
    assert changed["spec"]["plain_http"]
    assert changed["spec"]["mirrors"] == ["127.0.0.1:3"]
    shown = done.stdout + done.stderr + ground_control.log() + admin.ok("changes") + admin.ok("source", "get", "mirror")
    assert "hunter2" not in shown
    code, said = admin.refused("source", "set-credential", "mirror", "--username", "robot")
    assert (code, said.partition(":")[0]) == (2, "PASSWORD_MISSING")


def test_a_source_in_use_stays(admin: Satctl, source: str) -> None:
    admin.ok("artifact", "create", f"{source}/library/busybox:1@{DIGEST}")
    code, said = admin.refused("source", "delete", source)
    assert (code, said.partition(":")[0]) == (1, "SOURCE_IN_USE")


def test_a_policy_is_made_from_a_public_key_and_never_from_a_private_one(admin: Satctl, tmp_path: Path) -> None:
    public = key_pair(tmp_path)
    both = ("--format", "bundle,simple-signing", "--scope", "fleet")
    made = admin.json("policy", "create", "base", "--key", str(public), "--image", "hub/**", *both)
    (authority,) = made["spec"]["authorities"]
    assert authority["formats"] == ["sigstore_bundle", "cosign_simple_signing"]
    assert authority["keys"]["public_keys_pem"] == [public.read_text()]
    private = str(tmp_path / "cosign.key")
    code, said = admin.refused("policy", "create", "leak", "--key", private, "--image", "hub/**")
    assert (code, said.partition(":")[0]) == (2, "KEY_PRIVATE")
    admin.ok("policy", "delete", "base")


def test_policies_are_applied_from_a_file_all_or_none(admin: Satctl, tmp_path: Path) -> None:
    key_pair(tmp_path)
    one = (
        "name: {name}\nimages: [hub/**]\nauthorities:\n- {{name: r, formats: [bundle], keys: [{{file: cosign.pub}}]}}\n"
    )
    file = tmp_path / "policies.yaml"
    file.write_text(one.format(name="first") + "---\n" + one.format(name="second"))
    admin.ok("policy", "apply", "-f", str(file), "--dry-run")
    assert {"first", "second"}.isdisjoint(policy["name"] for policy in admin.json("policy", "list"))
    applied = admin.json("policy", "apply", "-f", str(file))
    assert [result["outcome"] for result in applied["results"]] == ["created", "created"]
    again = admin.json("policy", "apply", "-f", str(file))
    assert [result["outcome"] for result in again["results"]] == ["unchanged", "unchanged"]


def test_a_satellites_token_is_bound_approved_listed_and_deleted(admin: Satctl, ground_control: GroundControl) -> None:
    admin.ok("group", "create", "kiosks")
    site = ("--satellite", "kiosk-9", "--region", "south", "--group", "kiosks", "--ttl", "1h")
    done = admin.run("token", "create", *site)
    place = parse_join_string(done.stdout)
    assert place.kind is JoinKind.SATELLITE
    assert place.spiffe_id.endswith("/satellite/region/south/kiosk-9")
    assert "satellite join" in done.stderr
    assert done.stdout.strip() not in done.stderr  # standard error is no terminal here: a log may keep it
    assert admin.json("satellite", "get", "kiosk-9")["groups"] == ["kiosks"]
    listed = admin.ok("token", "list", "--json")
    assert place.token_id in listed
    assert place.secret.hex() not in listed + ground_control.log()
    admin.ok("token", "delete", place.token_id)
    assert place.token_id not in admin.ok("token", "list", "--json")


def test_the_last_admin_stays(admin: Satctl) -> None:
    for other in (one["name"] for one in admin.json("operator", "list") if one["name"] != "admin"):
        admin.ok("operator", "delete", other)
    code, said = admin.refused("operator", "delete", "admin")
    assert (code, said.partition(":")[0]) == (1, "LAST_ADMIN")
    assert {"name": "admin", "role": "admin"}.items() <= admin.json("operator", "list")[0].items()


def test_a_list_reads_every_page(admin: Satctl) -> None:
    assert admin.json("status")["fleet"]["satellites"] == len(admin.json("satellite", "list"))
    positions = [change["position"]["revision"] for change in admin.json("changes")]
    assert positions == list(range(1, len(positions) + 1))
    assert [change["position"]["revision"] for change in admin.json("changes", "--after", "1.2")] == positions[2:]
