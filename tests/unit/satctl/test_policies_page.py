"""docs/policies.md: every example is read, every field is there."""

from __future__ import annotations

from pathlib import Path

import pytest

from controlplane.satctl import authority_file, policy_file
from controlplane.satctl.policy_file import read_rules
from controlplane.satctl.policy_yaml import write_yaml
from controlplane.satctl.reading import FORMATS
from fleet.v1 import fleet_pb2 as pb
from tests.rig.policies_page import PAGE, examples, write_files


@pytest.mark.parametrize("example", examples("yaml"))
def test_an_example_is_read_without_a_warning_and_is_the_same_when_it_is_written_again(
    tmp_path: Path, example: str
) -> None:
    write_files(tmp_path)
    file = tmp_path / "policy.yaml"
    file.write_text(example)
    read = read_rules(file)
    assert read.warnings == ()
    policies = [one for one in read.rules if isinstance(one, pb.Policy)]
    if policies:
        file.write_text(write_yaml(policies))
        assert list(read_rules(file).rules) == policies


def test_every_field_and_word_is_on_the_page() -> None:
    page = PAGE.read_text()
    fields = (
        *policy_file.POLICY_FIELDS,
        *policy_file.TRUST_ROOT_FIELDS,
        *policy_file.BLOCK_FIELDS,
        *authority_file.AUTHORITY_FIELDS,
        *authority_file.EVIDENCE_FIELDS,
    )
    words = (
        *FORMATS,
        *authority_file.PREDICATES,
        *authority_file.LEVELS,
        *policy_file.WHEN_EXPIRED,
        *policy_file.WHEN_CLOCK_UNKNOWN,
        *policy_file.MODES,
    )
    assert [word for word in (*fields, *words) if word not in page] == []
