"""A kept port: for the program that it was chosen for, whenever it starts, and for nobody else."""

from __future__ import annotations

import socket

import pytest

from tests.rig.ports import keep_port


def test_a_server_gets_it_again_and_again_and_is_alone_there() -> None:
    port = keep_port()
    for _ in range(3):
        with socket.create_server(("127.0.0.1", port)), pytest.raises(OSError, match="in use"):
            socket.create_server(("127.0.0.1", port))


def test_who_connects_while_nobody_listens_is_refused() -> None:
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", keep_port()))


def test_no_stranger_is_given_it() -> None:
    port = keep_port()
    with socket.socket() as stranger, pytest.raises(OSError, match="in use"):
        stranger.bind(("127.0.0.1", port))
