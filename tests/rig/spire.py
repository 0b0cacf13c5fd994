"""A whole SPIRE on this machine for a test: `async with spire_fleet(tmp_path, trust_domain=…) as fleet`."""

from __future__ import annotations

from datetime import timedelta

from spire.local_fleet import Lives, SpireFleet, spire_fleet

__all__ = ["SECONDS", "Lives", "SpireFleet", "spire_fleet"]

SECONDS = Lives(svid_ttl=timedelta(seconds=4), ca_ttl=timedelta(hours=1), sync_interval=timedelta(seconds=1))
"""SVIDs of seconds' life: renewed at every look of the agent, once a second, with 2 s left."""
