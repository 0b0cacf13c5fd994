"""Settings that are secrets, or that other programs share."""

from __future__ import annotations

import pytest

from edge.config import load_settings
from edge.settings import from_json
from fleet.errors import FleetError

USUAL = ("HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY")


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*USUAL, *map(str.lower, USUAL), "SATELLITE_PROXY", "SATELLITE_PROXY_HOSTS"):
        monkeypatch.delenv(name, raising=False)


def test_the_usual_variables_name_the_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://upper:1")
    monkeypatch.setenv("http_proxy", "http://lower:1")
    monkeypatch.setenv("NO_PROXY", "a.example, 10.0.0.0/8")
    found = load_settings()
    assert (found.https_proxy, found.http_proxy) == ("http://upper:1", "http://lower:1")
    assert found.no_proxy == ("a.example", "10.0.0.0/8")


def test_the_satellite_s_own_setting_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://usual:1")
    monkeypatch.setenv("SATELLITE_PROXY", "http://own:1")
    assert load_settings().https_proxy == load_settings().http_proxy == "http://own:1"
    assert load_settings(proxy="http://option:1").https_proxy == "http://option:1"


def test_a_password_is_in_no_writing_of_the_settings_but_the_one_for_the_lean_process() -> None:
    found = load_settings(proxy="http://site:secret@own:1", proxy_hosts=("hub",), registry_password="hidden")
    assert "secret" not in repr(found)
    assert "hidden" not in repr(found)
    assert from_json(found.to_json()) == found


@pytest.mark.parametrize("variable", ["SATELLITE_PROXY", "HTTPS_PROXY", "http_proxy"])
def test_a_wrong_proxy_is_named_without_a_word_of_it(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(variable, "socks5://site:secret@own:1")
    with pytest.raises(FleetError) as caught:
        load_settings()
    assert (caught.value.reason, variable.upper() in caught.value.text) == ("SETTING_INVALID", True)
    error: BaseException | None = caught.value
    while error is not None:
        assert "secret" not in str(error)
        error = error.__cause__
