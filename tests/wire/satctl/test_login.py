"""Becoming an operator, proving it at each call, and what is left on disk."""

from __future__ import annotations

import json
import stat
from pathlib import Path

from cryptography import x509

from fleet.joinstring import parse_join_string
from tests.rig.ground_control import GroundControl
from tests.rig.satctl import Satctl


def invite(admin: Satctl, name: str, role: str) -> str:
    admin.ok("operator", "set", name, "--role", role)
    return admin.ok("token", "create", "--operator", name).strip()


def login(admin: Satctl, name: str, role: str, home: Path) -> Satctl:
    satctl = Satctl(home)
    satctl.ok("login", "-", stdin=invite(admin, name, role) + "\n")
    return satctl


def modes(directory: Path) -> dict[str, int]:
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in [directory, *directory.iterdir()]}


def test_login_leaves_a_device_key_and_a_place_and_nothing_else(
    admin: Satctl, ground_control: GroundControl, stranger: Satctl
) -> None:
    line = invite(admin, "alice", "editor")
    done = stranger.run("login", line)
    assert done.returncode == 0
    profile = stranger.home / "default"
    assert modes(profile) == {"default": 0o700, "device.key": 0o600, "profile.json": 0o600}
    stored = (profile / "profile.json").read_text()
    assert json.loads(stored)["ground_control"] == "spiffe://fleet.test/gc/main"
    assert json.loads(stored)["address"] == ground_control.address
    secret = parse_join_string(line).secret.hex()
    assert secret not in stored + done.stdout + done.stderr + ground_control.log()
    assert "CERTIFICATE" in stored  # the root
    assert "PRIVATE" not in stored


def test_everyone_is_told_who_they_are(admin: Satctl, tmp_path: Path) -> None:
    assert admin.json("whoami")["role"] == "admin"
    for role in ("viewer", "editor"):
        told = login(admin, f"bob-{role}", role, tmp_path / role).json("whoami")
        assert (told["role"], told["spiffe_id"]) == (role, f"spiffe://fleet.test/operator/bob-{role}")


def test_a_viewer_reads_and_is_refused_all_else(admin: Satctl, tmp_path: Path) -> None:
    viewer = login(admin, "vera", "viewer", tmp_path / "home")
    assert isinstance(viewer.json("group", "list"), list)
    code, said = viewer.refused("group", "create", "mine")
    assert code == 3
    assert said.startswith("ROLE_MISSING: ")
    assert "satctl operator set" in said


def test_a_join_string_is_good_for_one(admin: Satctl, tmp_path: Path) -> None:
    line = invite(admin, "carol", "viewer")
    Satctl(tmp_path / "one").ok("login", line)
    code, said = Satctl(tmp_path / "two").refused("login", line)
    assert (code, said.partition(":")[0]) == (3, "TOKEN_USED")


def test_a_satellites_join_string_is_not_for_login(admin: Satctl, stranger: Satctl) -> None:
    line = admin.ok("token", "create", "--satellite", "not-an-operator").strip()
    code, said = stranger.refused("login", line)
    assert (code, said.partition(":")[0]) == (2, "JOIN_STRING_KIND")


def test_a_cut_join_string_is_said_to_be_cut(admin: Satctl, stranger: Satctl) -> None:
    line = invite(admin, "dave", "viewer")
    code, said = stranger.refused("login", line[:-5])
    assert (code, said.partition(":")[0]) == (2, "JOIN_STRING_DAMAGED")
    assert not stranger.home.exists()


def test_a_taken_profile_stays_and_another_can_be_made(admin: Satctl, tmp_path: Path) -> None:
    satctl = login(admin, "erin", "viewer", tmp_path / "home")
    line = invite(admin, "erin-two", "viewer")
    code, said = satctl.refused("login", line)
    assert (code, said.partition(":")[0]) == (1, "PROFILE_TAKEN")
    other = Satctl(satctl.home, ("--profile", "second"))
    other.ok("login", line)
    assert other.json("whoami")["spiffe_id"].endswith("/erin-two")
    assert satctl.json("whoami")["spiffe_id"].endswith("/erin")


def test_without_a_login_the_remedy_is_named(stranger: Satctl) -> None:
    code, said = stranger.refused("status")
    assert code == 3
    assert said.startswith("NOT_LOGGED_IN: ")
    assert "satctl login" in said


def test_an_operator_who_is_deleted_is_out(admin: Satctl, tmp_path: Path) -> None:
    satctl = login(admin, "frank", "viewer", tmp_path / "home")
    admin.ok("operator", "delete", "frank")
    code, said = satctl.refused("group", "list")
    assert code == 3
    assert said.startswith(("DEVICE_UNKNOWN: ", "REVOKED: "))


def test_logout_removes_the_device_key(admin: Satctl, tmp_path: Path) -> None:
    satctl = login(admin, "grace", "viewer", tmp_path / "home")
    satctl.ok("logout", "--yes")
    assert not (satctl.home / "default").exists()


def rewrite(satctl: Satctl, **facts: str) -> None:
    path = satctl.home / "default" / "profile.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | facts))


def test_another_ground_control_of_the_trust_domain_gets_nothing(admin: Satctl, tmp_path: Path) -> None:
    satctl = login(admin, "heidi", "viewer", tmp_path / "home")
    rewrite(satctl, ground_control="spiffe://fleet.test/gc/other")
    code, said = satctl.refused("group", "list")
    assert (code, said.partition(":")[0]) == (3, "GC_ID_MISMATCH")


def test_an_unreachable_ground_control_ends_with_four(admin: Satctl, tmp_path: Path) -> None:
    satctl = login(admin, "ivan", "viewer", tmp_path / "home")
    rewrite(satctl, bootstrap="127.0.0.1:1")
    code, said = satctl.refused("group", "list")
    assert (code, said.partition(":")[0]) == (4, "GC_UNREACHABLE")


def test_a_device_key_that_others_can_read_is_not_used(admin: Satctl, tmp_path: Path) -> None:
    satctl = login(admin, "judy", "viewer", tmp_path / "home")
    (satctl.home / "default" / "device.key").chmod(0o644)
    code, said = satctl.refused("group", "list")
    assert (code, said.partition(":")[0]) == (1, "PRIVATE_PATH_EXPOSED")


def test_an_exported_identity_is_private_and_whole(admin: Satctl, tmp_path: Path) -> None:
    told = admin.json("svid", "export", str(tmp_path / "svid"))
    assert modes(tmp_path / "svid") == {"svid": 0o700, "svid.pem": 0o600, "key.pem": 0o600, "bundle.pem": 0o600}
    leaf = x509.load_pem_x509_certificate(Path(told["svid"]).read_bytes())
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == ["spiffe://fleet.test/operator/admin"]
    assert told["expires_at"] == leaf.not_valid_after_utc.isoformat()


def test_an_identity_is_not_exported_where_others_can_read(admin: Satctl, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    code, said = admin.refused("svid", "export", str(tmp_path))
    assert (code, said.partition(":")[0]) == (1, "PRIVATE_PATH_EXPOSED")
    assert not list(tmp_path.iterdir())


def test_spire_options_must_be_complete(stranger: Satctl) -> None:
    halves = (("--ground-control", "localhost:1"), ("--ground-control-id", "spiffe://fleet.test/gc/main"))
    for half in halves:
        code, said = Satctl(stranger.home, half).refused("group", "list")
        assert (code, said.partition(":")[0]) == (2, "SPIFFE_OPTIONS")


def test_a_home_that_cannot_be_made_is_a_sentence(admin: Satctl, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    code, said = Satctl(tmp_path / "file" / "home").refused("login", invite(admin, "mallory", "viewer"))
    assert (code, said.partition(":")[0]) == (1, "FILE_UNUSABLE")
    assert "Traceback" not in said
