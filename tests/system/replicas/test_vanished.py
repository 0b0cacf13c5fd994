"""The database's host vanishes without a word, as in a failover: nobody waits for the kernel's two hours."""

from __future__ import annotations

import pytest

from tests.rig.namespace import answer_of

pytestmark = [pytest.mark.needs_postgres, pytest.mark.needs_netns, pytest.mark.needs_iptables]


def test_a_database_that_vanished_without_a_word_is_given_up_and_asked_again() -> None:
    said = answer_of("tests.rig.vanished_database", timeout_s=180)
    assert said == {"asking": "STORE_UNAVAILABLE", "waiting": "STORE_UNAVAILABLE", "again": ""}
