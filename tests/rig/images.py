"""Small real images, the same bytes for the same arguments: gzip tar layers with a static program that greets."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import secrets
import struct
import tarfile
from collections.abc import Mapping, Sequence

from edge.domain.content import DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST
from fleet.reference import Digest, digest_of
from tests.rig.repository import Repository

AMD64 = ("linux", "amd64")
ARM64 = ("linux", "arm64")
RISCV64 = ("linux", "riscv64")
LARGE_BYTES = 500_000
_BASE = 0x400000
_HEADERS = 64 + 56
_MACHINES = {"amd64": 62, "arm64": 183, "riscv64": 243}
_OCI = {
    "image": OCI_MANIFEST,
    "index": OCI_INDEX,
    "config": "application/vnd.oci.image.config.v1+json",
    "layer": "application/vnd.oci.image.layer.v1.tar+gzip",
}
_DOCKER = {
    "image": DOCKER_MANIFEST,
    "index": DOCKER_LIST,
    "config": "application/vnd.docker.container.image.v1+json",
    "layer": "application/vnd.docker.image.rootfs.diff.tar.gzip",
}


def _amd64_code(message: bytes) -> bytes:
    """Write(1, message), exit(0)."""
    after = b"\xba" + struct.pack("<I", len(message)) + b"\x0f\x05\xb8\x3c\0\0\0\x31\xff\x0f\x05"
    return b"\xb8\x01\0\0\0\xbf\x01\0\0\0\x48\x8d\x35" + struct.pack("<i", len(after)) + after


def _arm64_code(message: bytes) -> bytes:
    def move(register: int, value: int) -> int:
        return 0xD2800000 | value << 5 | register

    supervisor_call = 0xD4000001
    address_of_message = 0x10000000 | (28 >> 2) << 5 | 1
    words = [move(0, 1), address_of_message, move(2, len(message)), move(8, 64), supervisor_call]
    return struct.pack("<8I", *words, move(0, 0), move(8, 93), supervisor_call)


def _riscv64_code(message: bytes) -> bytes:
    def load(register: int, value: int) -> int:
        return value << 20 | register << 7 | 0x13

    supervisor_call = 0x73
    address_of_message = [11 << 7 | 0x17, 32 << 20 | 11 << 15 | 11 << 7 | 0x13]
    words = [load(10, 1), *address_of_message, load(12, len(message)), load(17, 64), supervisor_call]
    return struct.pack("<9I", *words, load(10, 0), load(17, 93), supervisor_call)


_CODES = {"amd64": _amd64_code, "arm64": _arm64_code, "riscv64": _riscv64_code}


def program(architecture: str, message: bytes) -> bytes:
    """Assemble a static ELF program that prints a message."""
    code = _CODES[architecture](message)
    size, entry = _HEADERS + len(code) + len(message), _BASE + _HEADERS
    machine = _MACHINES[architecture]
    ident = b"\x7fELF\x02\x01\x01" + bytes(9)
    header = struct.pack("<HHIQQQIHHHHHH", 2, machine, 1, entry, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, _BASE, _BASE, size, size, 0x1000)
    return ident + header + segment + code + message


def layer(files: Mapping[str, bytes], *, effort: int = 9) -> bytes:
    """Pack a gzip tar without a time in it; `effort` is gzip's level, 0 for none."""
    tarred = io.BytesIO()
    with tarfile.open(fileobj=tarred, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o755
            archive.addfile(entry, io.BytesIO(content))
    return gzip.compress(tarred.getvalue(), effort, mtime=0)


def noise(seed: str, size_bytes: int) -> bytes:
    """Make bytes that do not compress, the same for the same seed."""
    return hashlib.shake_256(seed.encode()).digest(size_bytes)


def encode(document: object) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


def describe(repository: Repository, content: bytes, media_type: str) -> dict[str, object]:
    """Add a blob and describe it."""
    return {"mediaType": media_type, "digest": repository.add_blob(content), "size": len(content)}


def _noise_layer(number: int, seed: str, size_bytes: int) -> bytes:
    """Pack noise; what is large is stored, for squeezing what does not give takes most of the time of making it."""
    return layer({f"data-{number}": noise(seed, size_bytes)}, effort=0 if size_bytes >= LARGE_BYTES else 9)


def _platform_image(
    into: Repository, seed: str, platform: tuple[str, str], seeds: Sequence[tuple[str, int]], types: Mapping[str, str]
) -> dict[str, object]:
    os_name, architecture = platform
    greeting = f"hello from {seed} on {architecture}\n".encode()
    layers = [layer({"hello": program(architecture, greeting)})]
    layers += [_noise_layer(n, f"{named}{architecture}{n}", size) for n, (named, size) in enumerate(seeds)]
    config = {
        "architecture": architecture,
        "os": os_name,
        "config": {"Entrypoint": ["/hello"]},
        "rootfs": {"type": "layers", "diff_ids": [digest_of(gzip.decompress(packed)) for packed in layers]},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": types["image"],
        "config": describe(into, encode(config), types["config"]),
        "layers": [describe(into, packed, types["layer"]) for packed in layers],
    }
    made = into.add_manifest(encode(manifest), types["image"])
    return {
        "mediaType": types["image"],
        "digest": made.digest,
        "size": len(made.raw),
        "platform": {"os": os_name, "architecture": architecture},
    }


def make_image(
    seed: str = "",
    *,
    tag: str = "1.0",
    platforms: Sequence[tuple[str, str]] = (AMD64, ARM64),
    layer_sizes: Sequence[int] = (1024,),
    layer_seeds: Sequence[str] = (),
    docker: bool = False,
) -> Repository:
    """Make an index of the platforms, or one image where there is one; fresh content without a seed.

    Images share the layers that have the same place, size and seed; `layer_seeds` are the image's own by default.
    """
    into, types = Repository(), _DOCKER if docker else _OCI
    named = seed or secrets.token_hex(8)
    seeds = tuple(zip(layer_seeds or [named] * len(layer_sizes), layer_sizes, strict=True))
    children = [_platform_image(into, named, platform, seeds, types) for platform in platforms]
    if len(children) == 1:
        into.tags[tag] = Digest(str(children[0]["digest"]))
        return into
    index = {"schemaVersion": 2, "mediaType": types["index"], "manifests": children}
    into.add_manifest(encode(index), types["index"], tag=tag)
    return into


def add_referrer(
    into: Repository, subject: Digest, artifact_type: str, content: bytes, *, runnable: bool = False
) -> Digest:
    """Hang a referrer on an image: an artifact, or a runnable image in disguise."""
    target = into.manifests[subject]
    types = _OCI
    empty = describe(into, b"{}", "application/vnd.oci.empty.v1+json")
    config = describe(into, encode({"os": "linux"}), types["config"]) if runnable else empty
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": artifact_type,
        "config": config,
        "layers": [describe(into, content, types["layer"] if runnable else artifact_type)],
        "subject": {"mediaType": target.media_type, "digest": subject, "size": len(target.raw)},
    }
    return into.add_manifest(encode(manifest), OCI_MANIFEST).digest
