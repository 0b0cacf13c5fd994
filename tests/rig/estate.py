"""What tests of images share: a central registry, a Ground Control, and running sites that are told apart by kind.

with Estate(tmp_path) as estate:
    site = estate.site("distribution")
    image = estate.image()                                 # an index of two platforms at the central registry
    image.sign(estate.release)
    estate.allow(site, image, estate.release)              # a policy for this image alone: there is no other
    site.await_published(estate.assign(site, image))
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from edge.domain.content import Index, read_manifest
from fleet.policy import Authority, KeySet, Mode, PolicySpec, SignatureFormat, WhenClockUnknown, WhenExpired
from fleet.policy_wire import write_policy
from fleet.reference import Digest
from fleet.v1 import fleet_pb2 as pb
from fleet.v1 import resource_pb2
from tests.rig import cosign
from tests.rig.certificates import loopback_certificate
from tests.rig.cosign import KeyPair
from tests.rig.ground_control import GroundControl, Member, mint
from tests.rig.images import AMD64, ARM64, make_image
from tests.rig.oci_layout import Client
from tests.rig.registries import Central, EventLoopThread, running_central
from tests.rig.repository import Repository
from tests.rig.satellite import Satellite

V2 = SignatureFormat.COSIGN_SIMPLE_SIGNING
V3 = SignatureFormat.SIGSTORE_BUNDLE


def by_keys(*keys: KeyPair, formats: Iterable[SignatureFormat] = (V2, V3), threshold: int = 1) -> Authority:
    """Trust keys, of which so many must have signed."""
    return Authority("release", KeySet(tuple(key.pem.decode() for key in keys), threshold), tuple(formats))


SOURCE = "hub"
TAG = "1"


@dataclass(frozen=True, slots=True)
class Image:
    """An image at the central registry, as it was pushed."""

    central: Central
    repository: str
    content: Repository
    source: str = SOURCE
    tag: str = TAG
    """Under which it is wanted; the content's own tag is TAG."""

    @property
    def root(self) -> Digest:
        return self.content.tags[TAG]

    @property
    def children(self) -> tuple[Digest, ...]:
        """The manifests of an index, in its order."""
        manifest = self.content.manifests[self.root]
        read = read_manifest(manifest.raw, manifest.media_type)
        return tuple(child.digest for child in read.children) if isinstance(read, Index) else ()

    @property
    def name(self) -> str:
        """What the artifact is called."""
        return f"{self.source}/{self.repository}:{self.tag}"

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many bytes each of its blobs has."""
        return tuple(map(len, self.content.blobs.values()))

    def child(self, number: int) -> Image:
        """One manifest of an index, taken for an image of its own."""
        manifest = self.content.manifests[self.children[number]]
        content = Repository(blobs=self.content.blobs)
        content.add_manifest(manifest.raw, manifest.media_type, tag=TAG)
        return replace(self, content=content, tag=f"child-{number}")

    def sign(self, key: KeyPair, *formats: SignatureFormat) -> None:
        """Sign with the real cosign; in the newer format unless told otherwise."""
        for form in formats or (V3,):
            cosign.sign(f"{self.central.host}/{self.repository}@{self.root}", key, form)


@dataclass
class Estate:
    """Everything but the sites starts by entering; `site` starts those."""

    directory: Path
    _stack: ExitStack = field(default_factory=ExitStack)
    _sites: dict[str, Satellite] = field(default_factory=dict)

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.loop = EventLoopThread()
            stack.callback(self.loop.close)
            self.central: Central = stack.enter_context(running_central(self.directory / "central"))
            self.ground_control = stack.enter_context(GroundControl(self.directory, {"svid_ttl": "1h"}))
            self.admin: Member = self.loop.call(self.ground_control.join_operator())
            self.release = cosign.generate_key(self.directory, "release")
            self.stranger = cosign.generate_key(self.directory, "stranger")
            self.add_source(SOURCE, self.central.host)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def site(
        self,
        kind: str,
        name: str = "",
        *,
        plain_hosts: Sequence[str] = (),
        options: Mapping[str, str] | None = None,
        time: str = "",
    ) -> Satellite:
        """Start a satellite on a registry of this kind; the one of this name where it runs already."""
        called = name or f"{kind}-site"
        if called not in self._sites:
            hosts = [self.central.host, *plain_hosts]
            site = Satellite(
                self.directory / called, registry=kind, plain_hosts=hosts, options=dict(options or {}), time=time
            )
            site.join(self.loop.call(mint(self.admin, called)))
            self._stack.callback(site.stop)
            site.start()
            site.await_link()
            self._sites[called] = site
        return self._sites[called]

    def retire(self, name: str) -> None:
        """Stop a site for good."""
        code = self._sites.pop(name).stop()
        assert code == 0, code

    def image(
        self,
        *,
        platforms: Sequence[tuple[str, str]] = (AMD64, ARM64),
        docker: bool = False,
        layer_sizes: Sequence[int] = (1024,),
        repository: str = "",
        source: str = SOURCE,
    ) -> Image:
        """Push an image of fresh content to the central registry, into a repository of its own."""
        content = make_image(tag=TAG, platforms=platforms, docker=docker, layer_sizes=layer_sizes)
        image = Image(self.central, repository or f"library/{secrets.token_hex(6)}", content, source)
        Client(self.central.url).push(image.repository, content)
        return image

    def change(self, *changes: pb.Change) -> None:
        """Apply changes as the admin."""

        async def apply() -> None:
            async with self.admin.fleet() as fleet:
                await fleet.ApplyChanges(pb.ApplyChangesRequest(changes=changes))

        self.loop.call(apply())

    def add_source(self, name: str, host: str, *, prefix: str = "") -> None:
        """Add a source that is spoken to over plain http."""
        spec = resource_pb2.SourceSpec(address=host, plain_http=True, local_prefix=prefix)
        self.change(pb.Change(source=pb.Source(name=name, spec=spec)))

    def allow(
        self,
        site: Satellite,
        image: Image,
        *keys: KeyPair,
        formats: Iterable[SignatureFormat] = (V2, V3),
        referrer_types: Sequence[str] = (),
    ) -> str:
        """Write the policy of this image's repository at this site: `→ the policy's name`."""
        return self.rule(site, image, by_keys(*keys, formats=formats), referrer_types=referrer_types)

    def rule(
        self,
        site: Satellite,
        image: Image,
        *authorities: Authority,
        referrer_types: Sequence[str] = (),
        mode: Mode = Mode.ENFORCE,
        when_expired: WhenExpired = WhenExpired.REFUSE_NEW,
        when_clock_unknown: WhenClockUnknown = WhenClockUnknown.REFUSE,
    ) -> str:
        """Write the policy of this image's repository at this site: `→ the policy's name`."""
        globs = (f"{image.source}/{image.repository}",)
        spec = PolicySpec(
            globs,
            authorities,
            referrer_types=tuple(referrer_types),
            mode=mode,
            when_expired=when_expired,
            when_clock_unknown=when_clock_unknown,
        )
        name = image.repository.replace("/", "-")
        self.change(pb.Change(policy=pb.Policy(name=name, spec=write_policy(spec), scopes=[scope(site)])))
        return name

    def trust(
        self,
        site: Satellite,
        name: str,
        *,
        ca_pem: str = "",
        trusted_root: bytes = b"",
        expires_at: datetime | None = None,
    ) -> None:
        """Write a trust root of this site, with this authority or sigstore in it, or with one that signs nothing."""
        pem = ca_pem or loopback_certificate(self.directory / name).authority.read_text()
        spec = resource_pb2.TrustRootSpec(ca_pem=[pem], trusted_root_json=trusted_root)
        root = pb.TrustRoot(name=name, spec=spec, scopes=[scope(site)])
        if expires_at:
            root.expires_at.FromDatetime(expires_at)
        self.change(pb.Change(trust_root=root))

    def forbid(self, policy: str) -> None:
        """Delete a policy."""
        self.change(pb.Change(delete=pb.Deletion(policy=policy)))

    def block(self, site: Satellite, *digests: Digest, signers: Sequence[str] = ()) -> str:
        """Block content or signers at a site: `→ the block's name`."""
        name = f"b-{secrets.token_hex(6)}"
        spec = resource_pb2.BlockSpec(digests=digests, signers=signers, reason="a test")
        self.change(pb.Change(block=pb.Block(name=name, spec=spec, scopes=[scope(site)])))
        return name

    def assign(self, site: Satellite, image: Image, *, platforms: Sequence[tuple[str, str]] = ()) -> str:
        """Make the image desired at a site, pinned to its digest: `→ the artifact's name`."""
        spec = resource_pb2.ArtifactSpec(
            source=image.source,
            repository=image.repository,
            tag=image.tag,
            digest=image.root,
            platforms=[resource_pb2.Platform(os=os, architecture=architecture) for os, architecture in platforms],
        )
        self.change(
            pb.Change(artifact=pb.Artifact(spec=spec)),
            pb.Change(assignment=pb.Assignment(artifact=image.name, scope=scope(site))),
        )
        return image.name

    def unassign(self, site: Satellite, image: Image) -> None:
        """Make the image no longer desired at a site."""
        gone = pb.Assignment(artifact=image.name, scope=scope(site))
        self.change(pb.Change(delete=pb.Deletion(assignment=gone)))

    def status(self, site: Satellite) -> pb.SatelliteStatus:
        """What Ground Control knows of a site."""

        async def get() -> pb.SatelliteStatus:
            async with self.admin.fleet() as fleet:
                return (await fleet.GetSatelliteStatus(pb.GetSatelliteStatusRequest(name=site.directory.name))).status

        return self.loop.call(get())


def scope(site: Satellite) -> str:
    """The scope of one satellite."""
    return f"satellite/{site.directory.name}"
