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


def test_a_database_that_is_none_is_refused_before_anything_starts_and_its_password_not_repeated() -> None:
    with pytest.raises(FleetError) as refused:
        load_settings(database_url="mysql://ada:geheim@db/fleet")
    assert refused.value.text.startswith("GROUND_CONTROL_DATABASE_URL (--database-url) is wrong: ")
    assert "geheim" not in f"{refused.value} {refused.value.text} {refused.value.detail} {refused.value.subject}"
    assert "postgresql://" in refused.value.text


@pytest.mark.parametrize(
    "url", ["", "sqlite:////srv/fleet.db", "postgres://db/fleet", "postgresql+psycopg://a:b@db/fleet?sslmode=require"]
)
def test_a_database_is_a_file_or_postgresql(url: str) -> None:
    assert load_settings(database_url=url).database_url.get_secret_value() == url
