"""`satctl svid export`: an identity in files, for programs that read PEM: grpcurl, clients in other languages."""

from __future__ import annotations

import asyncio
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from cryptography.hazmat.primitives import serialization

from certs.private_file import private_directory
from controlplane.satctl.options import AsJson, Options, options_of
from controlplane.satctl.render import print_json, say, show_card
from fleet.errors import FleetError, Kind
from fleet.svid import X509Material, read_leaf

if TYPE_CHECKING:
    from controlplane.satctl.identity import Identity

app = typer.Typer(no_args_is_help=True, help="Your own certificate, for other programs.")


@app.callback()
def root() -> None:
    """Hold the commands: without this, typer would make a single one the whole."""


@app.command()
def export(
    context: typer.Context,
    *,
    directory: Annotated[Path, typer.Argument(help="Made 0700 where it is absent; files in it are 0600.")],
    as_json: AsJson = False,
) -> None:
    """Write a fresh certificate and key to DIRECTORY: svid.pem, key.pem, bundle.pem.

    They are good for an hour at most; export again for new ones, and delete them when you are done.

        satctl svid export ~/.svid
        cd ~/.svid && grpcurl -cacert bundle.pem -cert svid.pem -key key.pem -servername localhost HOST:8443 list
    """
    identity = asyncio.run(_identity(options_of(context)))
    material = identity.material
    try:
        private_directory(directory)
        files = _write(directory, material)
    except OSError as error:
        text = "the directory cannot be written"
        raise FleetError(Kind.PRECONDITION, "DIRECTORY_UNWRITABLE", text, subject=str(directory)) from error
    expires = read_leaf(material.chain[0]).not_after
    facts = {**files, "spiffe_id": material.spiffe_id, "expires_at": expires.isoformat(), "address": identity.address}
    if as_json:
        print_json(facts)
    else:
        show_card((name.replace("_", " "), text) for name, text in facts.items())
        say(_hint(files, identity.address))


async def _identity(options: Options) -> Identity:
    from controlplane.satctl.identity import identify  # noqa: PLC0415 - as in `running`

    async with identify(options) as identity:
        return identity


def _write(directory: Path, material: X509Material) -> dict[str, str]:
    from controlplane.satctl.profile import pem, write_private  # noqa: PLC0415 - as in `running`

    key = serialization.load_der_private_key(material.key, None)
    contents = {
        "svid": pem(material.chain).encode(),
        "key": key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
        "bundle": pem(material.bundle).encode(),
    }
    paths = {name: directory / f"{name}.pem" for name in contents}
    for name, content in contents.items():
        write_private(paths[name], content)
    return {name: os.fspath(path) for name, path in paths.items()}


def _hint(files: dict[str, str], address: str) -> str:
    options = (
        f"-cacert {shlex.quote(files['bundle'])} -cert {shlex.quote(files['svid'])} -key {shlex.quote(files['key'])}"
    )
    return f"try: grpcurl {options} -servername localhost {address} list"
