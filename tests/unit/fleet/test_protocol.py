from __future__ import annotations

from fleet.protocol import Farewell
from fleet.v1 import state_pb2


def test_every_goodbye_of_the_contract_has_its_farewell() -> None:
    contract = {
        name.removeprefix("GOODBYE_REASON_"): number for name, number in state_pb2.GoodbyeReason.items() if number
    }
    assert {farewell.name: farewell.value for farewell in Farewell} == contract
