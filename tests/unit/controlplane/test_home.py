from __future__ import annotations

from pathlib import Path

import pytest

from controlplane.config import load_settings
from controlplane.home import make_home
from fleet.errors import FleetError


def test_a_data_directory_too_deep_for_sockets_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 120)
    with pytest.raises(FleetError) as refused:
        make_home(load_settings(data_dir=deep))
    assert refused.value.reason == "SOCKET_PATH_LONG"
    assert not deep.exists()
