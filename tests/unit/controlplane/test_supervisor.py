from __future__ import annotations

from pathlib import Path

import pytest

from controlplane.config import load_settings
from controlplane.supervisor import _authority_command, check_metrics
from fleet.errors import FleetError


def test_what_decrypts_the_root_key_is_kept_with_the_secrets_and_not_with_the_root(tmp_path: Path) -> None:
    settings = load_settings(data_dir=tmp_path / "data", secrets_dir=tmp_path / "safe")
    command = _authority_command(settings)
    assert command[command.index("--master-key-file") + 1] == str(tmp_path / "safe" / "authority.key")
    assert command[command.index("--directory") + 1] == str(tmp_path / "data" / "authority")


@pytest.mark.parametrize("address", ["0.0.0.0:9464", "[::]:9464", "metrics.example.org:9464"])
def test_metrics_leave_this_host_only_where_that_was_asked_for(address: str) -> None:
    with pytest.raises(FleetError) as refused:
        check_metrics(load_settings(metrics=address))
    assert refused.value.reason == "METRICS_EXPOSED"
    check_metrics(load_settings(metrics=address, metrics_plaintext=True))


@pytest.mark.parametrize("address", ["", "127.0.0.1:9464", "[::1]:9464", "localhost:0"])
def test_metrics_on_loopback_or_nowhere_need_no_permission(address: str) -> None:
    check_metrics(load_settings(metrics=address))
