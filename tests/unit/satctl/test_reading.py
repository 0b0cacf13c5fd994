"""What people write on the command line."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.satctl.failure import Exit, exit_code
from controlplane.satctl.reading import read_duration, read_platform, read_scope, write_platform
from fleet.errors import FleetError, Kind


@pytest.mark.parametrize(
    ("text", "length"),
    [("90s", timedelta(seconds=90)), ("1h30m", timedelta(minutes=90)), ("30d", timedelta(days=30))],
)
def test_durations(text: str, length: timedelta) -> None:
    assert read_duration(text) == length


@pytest.mark.parametrize("text", ["", " ", "1", "h", "1w", "-1h", "1h 30m"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(FleetError, match="DURATION_MALFORMED"):
        read_duration(text)


@pytest.mark.parametrize("text", ["linux/amd64", "linux/arm/v7", "windows/amd64"])
def test_a_platform_is_read_and_written_alike(text: str) -> None:
    assert write_platform(read_platform(text)) == text


@given(st.text(), st.sampled_from([read_duration, read_platform, read_scope]))
def test_any_text_is_read_or_refused(text: str, read: Callable[[str], object]) -> None:
    with suppress(FleetError):
        read(text)


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (Kind.MALFORMED, Exit.USAGE),
        (Kind.REFUSED, Exit.REFUSED),
        (Kind.UNIDENTIFIED, Exit.REFUSED),
        (Kind.UNAVAILABLE, Exit.UNREACHABLE),
        (Kind.UNKNOWN, Exit.FAILED),
        (Kind.CONFLICT, Exit.FAILED),
        (Kind.INTERNAL, Exit.FAILED),
    ],
)
def test_exit_codes_say_what_sort_of_failure_it_was(kind: Kind, code: int) -> None:
    assert exit_code(FleetError(kind, "X", "x")) == code
