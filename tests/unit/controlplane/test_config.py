"""What is said of settings that are wrong."""

from __future__ import annotations

import pytest

from controlplane.config import load_settings
from fleet.errors import FleetError


def test_a_wrong_setting_is_named_with_the_option_that_the_command_has() -> None:
    with pytest.raises(FleetError) as refused:
        load_settings(svid_ttl="long")
    assert (refused.value.reason, refused.value.text.partition(" is wrong: ")[0]) == (
        "CONFIGURATION_INVALID",
        "GROUND_CONTROL_SVID_TTL (--svid-ttl)",
    )


def test_where_the_command_has_no_option_for_it_none_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GROUND_CONTROL_HISTORY", "3")
    with pytest.raises(FleetError) as refused:
        load_settings(svid_ttl=None)
    assert refused.value.text.startswith("GROUND_CONTROL_HISTORY is wrong: ")
