from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from fleet.errors import FleetError
from spire.configuration import (
    AgentSettings,
    JoinToken,
    JoinTokenTrust,
    ServerSettings,
    TpmDevid,
    X509Pop,
    X509PopTrust,
    check_availability,
)
from spire.hcl import render

HOUR = timedelta(hours=1)
D = Path("/var/lib/spire")


def _server(**changes: Any) -> ServerSettings:
    chosen: dict[str, Any] = {"trusts": (X509PopTrust(D / "devices.pem"),), **changes}
    return ServerSettings("fleet.example", D, D / "api.sock", 8081, **chosen)


def _agent(**changes: Any) -> AgentSettings:
    chosen: dict[str, Any] = {"attestor": X509Pop(D / "d.pem", D / "d.key"), **changes}
    bundle = D / "root.pem"
    return AgentSettings("fleet.example", D, D / "a.sock", "127.0.0.1", 8081, bundle, **chosen)


def test_blocks_values_and_lists_are_written_as_hcl() -> None:
    written = render({"a": {"b": 'say "hi"', "c": True, "d": 7, "e": HOUR, "f": ["x", "y"]}})
    assert written == (
        'a {\n    b = "say \\"hi\\""\n    c = true\n    d = 7\n    e = "3600000ms"\n    f = ["x", "y"]\n}\n'
    )


@pytest.mark.parametrize("text", ["a\nb", "${HOME}", "nul\0"])
def test_a_value_that_would_be_read_as_something_else_is_refused(text: str) -> None:
    with pytest.raises(FleetError) as refused:
        render({"a": text})
    assert refused.value.reason == "SPIRE_VALUE_MALFORMED"


def test_a_server_under_a_root_is_told_of_it_and_one_without_is_not() -> None:
    assert "UpstreamAuthority" not in _server().configuration
    rooted = _server(root_certificate=D / "root.pem", root_key=D / "root.key").configuration
    assert 'key_file_path = "/var/lib/spire/root.key"' in rooted


def test_half_of_a_root_is_refused() -> None:
    with pytest.raises(FleetError) as refused:
        _server(root_certificate=D / "root.pem")
    assert refused.value.reason == "SPIRE_ROOT_MALFORMED"


def test_a_server_listens_on_loopback_unless_told_otherwise() -> None:
    assert 'bind_address = "127.0.0.1"' in _server().configuration


def test_several_attestors_can_be_taken_at_once() -> None:
    written = _server(trusts=(X509PopTrust(D / "devices.pem"), JoinTokenTrust())).configuration
    assert 'NodeAttestor "x509pop"' in written
    assert 'NodeAttestor "join_token"' in written


def test_an_agent_that_can_attest_again_keeps_no_key_and_one_that_cannot_does() -> None:
    assert 'KeyManager "memory"' in _agent().configuration
    assert 'KeyManager "disk"' in _agent(attestor=JoinToken(D / "token")).configuration
    assert 'KeyManager "disk"' in _agent(keys_on_disk=True).configuration


def test_a_join_token_is_never_written_into_the_configuration() -> None:
    assert 'join_token_file = "/var/lib/spire/token"' in _agent(attestor=JoinToken(D / "token")).configuration


def test_a_tpm_s_device_is_named_only_where_it_is_known() -> None:
    devid = TpmDevid(D / "devid.pem", D / "devid.priv", D / "devid.pub")
    assert "tpm_device_path" not in _agent(attestor=devid).configuration
    named = TpmDevid(D / "devid.pem", D / "devid.priv", D / "devid.pub", Path("/dev/tpmrm0"))
    assert 'tpm_device_path = "/dev/tpmrm0"' in _agent(attestor=named).configuration


@pytest.mark.parametrize("path", [Path("relative.sock"), Path("/" + "d" * 107)])
def test_a_path_that_no_socket_can_have_is_refused(path: Path) -> None:
    with pytest.raises(FleetError) as refused:
        ServerSettings("fleet.example", D, path, 8081, ())
    assert refused.value.reason == "SOCKET_PATH_MALFORMED"


@pytest.mark.parametrize(
    ("svid_ttl", "ca_ttl"),
    [(timedelta(seconds=29), HOUR), (HOUR, 5 * HOUR)],
    ids=["shorter than the server renews its own", "cut short by the authority's end"],
)
def test_lives_that_spire_would_not_keep_are_refused(svid_ttl: timedelta, ca_ttl: timedelta) -> None:
    with pytest.raises(FleetError) as refused:
        _server(svid_ttl=svid_ttl, ca_ttl=ca_ttl)
    assert refused.value.reason == "SPIRE_TTL_MALFORMED"


def test_an_availability_target_needs_svids_that_outlive_it_by_half_a_day() -> None:
    check_availability(24 * HOUR, 36 * HOUR)
    with pytest.raises(FleetError):
        check_availability(24 * HOUR, 35 * HOUR)
    with pytest.raises(FleetError):
        _agent(availability_target=23 * HOUR)
    assert 'availability_target = "86400000ms"' in _agent(availability_target=24 * HOUR).configuration
