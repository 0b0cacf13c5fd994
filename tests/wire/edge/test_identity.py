"""The identity that a satellite keeps by its device key, with Ground Control's bootstrap listener."""

from __future__ import annotations

import os
from pathlib import Path

from certs.device_key import load_or_make_device_key
from certs.enrollment import Enrollment
from edge.home import Home
from edge.identity import identity
from edge.settings import Settings
from tests.rig.identity import SATELLITE, Realm, eventually, utc_now
from tests.rig.joining import bootstrap_listener


async def test_a_disk_that_takes_no_file_keeps_no_identity_from_being_renewed(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.make()
    async with bootstrap_listener(Realm()) as listener:
        enrollment = Enrollment(listener.join_string(), load_or_make_device_key(home.device_key), now=utc_now)
        await enrollment.join()
        home.write_place(enrollment.place)
        home.place.with_name(f".{home.place.name}.{os.getpid()}").mkdir()  # where the next one would be written first
        async with identity(Settings(home.directory), home, now=utc_now) as who:
            await eventually(lambda: who.source.svid() is not None, within_s=10)
            assert (who.status().spiffe_id, who.status().error) == (SATELLITE, "")
    assert home.read_place() == enrollment.place
