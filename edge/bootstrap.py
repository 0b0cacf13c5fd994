"""The satellite put together: settings → a running site, from the journal up, until it is told to stop."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass

import structlog

from certs.device_key import load_or_make_device_key
from certs.enrollment import Enrollment
from edge.adapters.clock import SiteClock
from edge.adapters.credentials import Credentials
from edge.adapters.ground_control import BridgedGroundControl
from edge.adapters.journal.journal import Journal
from edge.adapters.machine import LocalMachine
from edge.adapters.memory import give_back
from edge.adapters.oci.proxy import Proxies, parse_proxy
from edge.adapters.registry.choose import External, choose_registry
from edge.adapters.registry.listener import parse_listener
from edge.adapters.sources import SourceRegistries
from edge.app.control import Control
from edge.app.execute import Executor
from edge.app.govern import Governor
from edge.app.ground_control import Hello, Lifecycle
from edge.app.health import HealthReporter
from edge.app.meter import Meter
from edge.app.ports import Credential, SupervisedRegistry
from edge.app.progress import ProgressBoard
from edge.app.reconcile import Reconciler
from edge.app.replicate import Replicator
from edge.app.scrub import DEFAULT_BYTES_PER_S, ScrubRequest
from edge.app.status import Desk, scrub_document
from edge.domain.desired import enforce
from edge.domain.report import Row, State
from edge.exile import Exile
from edge.home import Home
from edge.identity import Identity, identity
from edge.reserve import Reserve
from edge.settings import Settings
from fleet.bridge import Bridge
from fleet.errors import FleetError, malformed
from fleet.joinstring import parse_join_string
from fleet.signing import Signers, check_signers

_log = structlog.get_logger(__name__)

STATUS_PAUSE_S = 0.25
"""Changes within this time are one writing of the status file."""
STATUS_EVERY_S = 5.0
STATUS_MOVING_S = 1.0
"""How often it is written while an artifact is under way, or a scrub reads."""
REVOKED_CHECK_S = 3600.0
UNKNOWN_CHECK_S = 5.0


async def join(settings: Settings, text: str) -> str:
    """Join a fleet: make the device key, exchange the token, remember where Ground Control is: `→ our SPIFFE ID`.

    Raises:
        FleetError: MALFORMED `JOIN_STRING_...`; PRECONDITION `ALREADY_RUNNING`; as `Enrollment.join`.
    """
    home = Home(settings.data_dir)
    place = parse_join_string(text)
    home.make()
    with home.sole():
        journal = Journal.open(home.journal)
        try:
            clock = SiteClock(journal.state.clock_floor(), remember=journal.state.remember_clock_floor)
        finally:
            journal.close()
        enrollment = Enrollment(place, load_or_make_device_key(home.device_key), now=clock.now)
        material = await enrollment.join()
        home.write_place(enrollment.place)
    return material.spiffe_id


async def run(settings: Settings) -> int:
    """Run the satellite until SIGTERM or SIGINT: `→ exit code`.

    Raises:
        FleetError: what keeps it from starting.
    """
    home = Home(settings.data_dir)
    home.make()
    stop = _stop_signals()
    with home.sole():
        home.ready.unlink(missing_ok=True)
        Reserve(home.reserve).settle()
        journal = Journal.open(home.journal)
        try:
            await _run(settings, home, journal, stop)
        finally:
            home.ready.unlink(missing_ok=True)
            journal.close()
    _log.info("satellite.stopped")
    return 0


def _stop_signals() -> asyncio.Event:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


@dataclass(frozen=True, slots=True)
class _Base:
    """What outlives the site's serving."""

    settings: Settings
    home: Home
    journal: Journal
    exile: Exile
    clock: SiteClock
    who: Identity
    ground_control: BridgedGroundControl
    stop: asyncio.Event
    pinned: Signers | None


async def _run(settings: Settings, home: Home, journal: Journal, stop: asyncio.Event) -> None:
    clock = SiteClock(journal.state.clock_floor(), remember=journal.state.remember_clock_floor)
    pinned = _pinned_signers(settings)
    async with identity(settings, home, now=clock.now) as who:
        address, expected = who.ground_control, who.ground_control_id
        ground_control = BridgedGroundControl(
            lambda: Bridge(address, expected=expected, source=who.source, now=clock.now),
            who.source,
            Hello(secrets.token_bytes(16), settings.agent_version),
        )
        base = _Base(settings, home, journal, Exile(journal.state), clock, who, ground_control, stop, pinned)
        while not stop.is_set():
            if settings.on_revoked == "stop" and base.exile.is_revoked:
                await _await_reinstatement(base)
            else:
                await _serve(base)


def _pinned_signers(settings: Settings) -> Signers | None:
    """Read the site's own policy signers.

    Raises:
        FleetError: MALFORMED `POLICY_SIGNERS_MALFORMED`.
    """
    if not settings.policy_signers:
        return None
    try:
        keys = tuple(path.read_text() for path in settings.policy_signers)
    except (OSError, UnicodeDecodeError) as error:
        text = "a policy signer's key file cannot be read"
        raise malformed("POLICY_SIGNERS_MALFORMED", text, detail=str(error)) from error
    return check_signers(keys, settings.policy_signers_threshold)


async def _serve(base: _Base) -> None:
    """Run the site until it is to stop, or is revoked and configured to stop then."""
    registry = _registry(base.settings, base.home)
    site = _Site(base, registry)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(site.stop)
        await site.start()
        control = Control(
            base.ground_control,
            base.journal.state,
            base.clock,
            enforce=site.reconciler.enforce,
            report=site.desk.report,
            revoked=site.revoked,
            connected=site.reconciler.poke,
            is_moving=lambda: site.reconciler.is_moving,
            is_identity_revoked=base.who.is_revoked,
            pinned=base.pinned,
        )
        site.changed = control.reports.changed
        site.credentials = Credentials(lambda: control.link, asyncio.get_running_loop())
        health = HealthReporter(
            control,
            LocalMachine(base.home.registry),
            base.journal.editions,
            registry,
            site.progress,
            svid_not_after=lambda: base.ground_control.svid_not_after,
            standing=site.governor.standing,
        )
        _tell_ready(base, registry)
        async with asyncio.TaskGroup() as tasks:
            running = [
                tasks.create_task(work)
                for work in (site.reconciler.run(), control.run(), health.run(), _write_status(base, site, control))
            ]
            await _either(base.stop, site.exiled)
            for task in running:
                task.cancel()
    base.home.ready.unlink(missing_ok=True)


async def _either(*events: asyncio.Event) -> None:
    waiting = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()


async def _await_reinstatement(base: _Base) -> None:
    """Serve nothing; ask once an hour whether we are taken back, sooner where there is no telling."""
    _log.error("satellite.revoked", remedy="an operator must reinstate it and mint a new token; then join again")
    while not base.stop.is_set():
        try:
            async with base.ground_control.connect() as link:
                attested = await link.attest(base.clock.read())
            if attested.lifecycle is not Lifecycle.REVOKED:
                base.exile.told(is_revoked=False)
                return
            reason = "REVOKED"
        except FleetError as error:
            reason = error.reason
        if reason != "REVOKED" and base.who.is_revoked():
            reason = "REVOKED"
        if reason == "REVOKED":
            base.exile.told(is_revoked=True)  # the disk may have been full when it was told first
        _log.info("satellite.still_revoked", reason=reason)
        with suppress(TimeoutError):  # a site that has just joined again may have no SVID yet
            async with asyncio.timeout(REVOKED_CHECK_S if reason == "REVOKED" else UNKNOWN_CHECK_S):
                await base.stop.wait()


def _registry(settings: Settings, home: Home) -> SupervisedRegistry:
    listener = parse_listener(settings.listen, plaintext=settings.site_plaintext)
    home.registry.mkdir(mode=0o700, exist_ok=True)
    credential = None
    if settings.registry_username:
        credential = Credential(settings.registry_username, settings.registry_password)
    external = External(
        ca_pem=settings.registry_ca.read_text() if settings.registry_ca else "",
        credential=credential,
        prefix=settings.registry_prefix,
        plaintext=_host(settings.registry) in settings.allow_plain_http,
    )
    return choose_registry(home.registry, listener, wanted=settings.registry, external=external)


def _proxies(settings: Settings) -> Proxies:
    return Proxies(
        https=parse_proxy(settings.https_proxy) if settings.https_proxy else None,
        http=parse_proxy(settings.http_proxy) if settings.http_proxy else None,
        only=settings.proxy_hosts,
        but=settings.no_proxy,
    )


def _host(url: str) -> str:
    return url.partition("://")[2].partition("/")[0]


def _tell_ready(base: _Base, registry: SupervisedRegistry) -> None:
    document = {
        "pid": os.getpid(),
        "registry": registry.public_url,
        "registry_kind": registry.kind,
        "registry_why": registry.why,
        "workload_socket": str(base.who.socket),
        "ground_control": base.who.ground_control,
    }
    base.home.write_ready(document)
    _log.info("satellite.started", **document)


class _Site:
    """The registry and what writes it: journal → reconciler, desk, progress."""

    def __init__(self, base: _Base, registry: SupervisedRegistry) -> None:
        self._journal = base.journal
        self._exile = base.exile
        self._registry = registry
        self._clock = base.clock
        self._settings = base.settings
        self._pinned = base.pinned
        self.exiled = asyncio.Event()
        self._replicator: Replicator | None = None
        self.governor = Governor(Meter(base.journal.traffic, now=base.clock.now), now=base.clock.now)
        self.progress = ProgressBoard()
        self.credentials: Credentials | None = None
        self.changed: Callable[[], None] = lambda: None
        self.status_due = asyncio.Event()

    async def start(self) -> None:
        """Start the registry in private, clean up, and let workloads in."""
        state = self._journal.state
        await self._registry.start_private()
        pinned = self._pinned
        enforced, _ = await asyncio.to_thread(lambda: enforce(state.holding(), state.good(), pinned))
        self._replicator = Replicator(
            self._registry.site,
            self._journal.intents,
            self._journal.transfers,
            staging=self._journal.staging,
            progress=self.progress,
            rested=give_back,
        )
        sources = SourceRegistries(
            self._issue, plain_hosts=frozenset(self._settings.allow_plain_http), proxies=_proxies(self._settings)
        )
        executor = Executor(
            self._replicator,
            lambda: self._registry.site,
            self._journal.editions,
            sources,
            enforced,
            progress=self.progress,
            governor=self.governor,
            clock=self._clock.read,
        )
        self.reconciler = Reconciler(executor, self._journal.editions, now=self._clock.now, changed=self._on_change)
        notes = _notes(self._journal)
        self.desk = Desk(
            self.reconciler.standing, state, self._registry, self.progress, allowed=self.governor.standing, notes=notes
        )
        await self.reconciler.prepare()
        await self._registry.open_public()

    async def stop(self) -> None:
        """Stop what moves, then the registry."""
        self.governor.stop()
        if self._replicator is not None:
            await asyncio.to_thread(self._replicator.close)
        await self._registry.stop()

    def revoked(self, is_revoked: bool) -> None:  # noqa: FBT001 - a callback of Control's
        """Go on serving, or stop, as the site's own configuration says."""
        self._exile.told(is_revoked=is_revoked)
        if is_revoked and self._settings.on_revoked == "stop":
            self.exiled.set()

    def _issue(self, source: str, refused: Credential | None) -> Credential | None:
        return self.credentials.issue(source, refused) if self.credentials else None

    def _on_change(self) -> None:
        self.status_due.set()
        self.changed()


def _notes(journal: Journal) -> tuple[Row, ...]:
    """Say what happened at the start that people should know."""
    if journal.set_aside_to is None:
        return ()
    text = f"the journal was damaged and is made anew; the old one is {journal.set_aside_to.name}"
    return (Row(0, "journal", State.NONE, reason="JOURNAL_CORRUPT", text=text),)


def _start_scrub(base: _Base, site: _Site) -> None:
    """Take a request that `satellite scrub` left."""
    asked = base.home.take_scrub_request()
    if asked is not None:
        with suppress(ValueError, TypeError, KeyError):  # whoever can write there is us; nonsense is nobody's request
            rate = int(asked.get("bytes_per_s", DEFAULT_BYTES_PER_S))
            site.reconciler.scrub(ScrubRequest(str(asked["id"])[:64], max(rate, 0)))


async def _write_status(base: _Base, site: _Site, control: Control) -> None:
    reserve = Reserve(base.home.reserve)
    while True:
        reserve.settle()
        _start_scrub(base, site)
        document = site.desk.document(
            link=control.status, identity=base.who.status(), clock=base.clock.read(), pid=os.getpid()
        )
        scrub = site.reconciler.scrubbed.state
        document["scrub"] = scrub_document(scrub, site.reconciler.standing().site) if scrub else None
        try:
            await asyncio.to_thread(base.home.write_status, document)
        except OSError as error:  # a full disk: whoever serves goes on serving
            _log.warning("status.unwritten", detail=str(error))
        try:
            is_moving = site.reconciler.is_moving or (scrub is not None and scrub.ended is None)
            async with asyncio.timeout(STATUS_MOVING_S if is_moving else STATUS_EVERY_S):
                await asyncio.sleep(STATUS_PAUSE_S)
                await site.status_due.wait()
                site.status_due.clear()
        except TimeoutError:
            continue
