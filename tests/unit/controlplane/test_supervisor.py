from __future__ import annotations

from pathlib import Path

from controlplane.config import load_settings
from controlplane.supervisor import _authority_command


def test_what_decrypts_the_root_key_is_kept_with_the_secrets_and_not_with_the_root(tmp_path: Path) -> None:
    settings = load_settings(data_dir=tmp_path / "data", secrets_dir=tmp_path / "safe")
    command = _authority_command(settings)
    assert command[command.index("--master-key-file") + 1] == str(tmp_path / "safe" / "authority.key")
    assert command[command.index("--directory") + 1] == str(tmp_path / "data" / "authority")
