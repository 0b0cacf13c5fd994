"""The loop that makes the site what it should be: observe, plan, verify, fetch, publish, withdraw, report.

The plan is pure and made anew after each change; this loop executes it, side by side for different editions, one at
a time for the same one. What goes wrong becomes a setback of its edition and holds up nobody else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, ParamSpec, TypeVar

import structlog

from edge.app.execute import Executor
from edge.app.journal import EditionStore
from edge.app.scrub import ScrubBoard, ScrubRequest
from edge.app.upkeep import PURGE, SCAN, Upkeep
from edge.app.watch import Watch
from edge.domain import retry
from edge.domain.admission import Refused
from edge.domain.desired import Enforced
from edge.domain.link import WAITS
from edge.domain.plan import Action, Edition, Judge, Keep, Publish, Retag, Setback, Site, Wait, Withdraw, plan
from fleet.chance import chance
from fleet.errors import FleetError, Kind

_log = structlog.get_logger(__name__)

T = TypeVar("T")
P = ParamSpec("P")

DEFAULT_IMAGES = 4
MOST_IMAGES = 16
_IDLE_S = 3600.0
_IMAGE, _WRITE = "image", "write"
"""Lanes: so many images at a time, and one that writes."""
REJUDGE = "rejudge"


@dataclass(frozen=True, slots=True)
class Standing:
    """Where the site stands: what reports and status are made of."""

    enforced: Enforced
    site: Site
    since: Mapping[Edition, datetime]
    """When each setback began."""
    foreign_withdrawn: int


class Reconciler:
    """Owns the loop. `enforce` and `poke` may be called at any time from the event loop.

    Args:
        executor: does what is planned, in threads.
        editions: the journal.
        now: the site's clock.
        changed: called on the event loop after each change of the standing.
    """

    def __init__(
        self,
        executor: Executor,
        editions: EditionStore,
        *,
        now: Callable[[], datetime],
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self._executor = executor
        self._editions = editions
        self._now = Watch(now, set_back=self._set_back)
        self._changed = changed
        self._enforced = executor.enforced
        self._setbacks: dict[Edition, Setback] = {}
        self._since: dict[Edition, datetime] = {}
        self._failures: dict[object, int] = {}
        self._paused: dict[object, datetime] = {}
        self._running: dict[Any, asyncio.Task[None]] = {}
        self._undecided: set[Edition] = set()
        """Editions on which stored evidence could not decide under the present rules."""
        self._woken = asyncio.Event()
        self._pool = ThreadPoolExecutor(MOST_IMAGES + 2, thread_name_prefix="reconcile")
        self._upkeep = Upkeep(executor, self._in_thread, now=self._now, freed=partial(self._retry, "REGISTRY_FULL"))

    def enforce(self, enforced: Enforced) -> None:
        """Work towards another desired state from now on."""
        before = {one.edition: one.priority for one in self._enforced.wanted}
        self._lift({one.edition for one in enforced.wanted if one.priority != before.get(one.edition)})
        self._enforced = enforced = enforced.at(self._executor.moment)
        self._undecided.clear()
        if self._executor.enforce(enforced):
            self.poke()
        for edition in set(self._setbacks) - self._known(enforced):
            self._forget(edition)
        self._woken.set()
        self._changed()

    def _lift(self, editions: set[Edition]) -> None:
        """Try at once what waits for the link, of those whose priority is another now: it may be exempt."""
        for edition in editions & self._setbacks.keys():
            setback = self._setbacks[edition]
            if setback.reason in WAITS:
                self._setbacks[edition] = replace(setback, until=self._now())

    def poke(self) -> None:
        """Try at once what waits for something that may have come: the network, a credential."""
        at = self._now()
        self._setbacks = {
            edition: replace(setback, until=at) if setback.rules is None else setback
            for edition, setback in self._setbacks.items()
        }
        self._paused.clear()
        self._woken.set()

    def look(self) -> None:
        """Compare the registry with what should be there now, and not when it is due."""
        self._upkeep.look()
        self._woken.set()

    @property
    def scrubbed(self) -> ScrubBoard:
        """Where it is told how far a scrub is."""
        return self._upkeep.scrubbed

    def scrub(self, request: ScrubRequest) -> None:
        """Read and hash all that is published; of several requests at a time the last one counts."""
        self._upkeep.scrub(request)
        self._woken.set()

    def _retry(self, reason: str) -> None:
        """Try at once what failed for a reason that may be over."""
        for edition, setback in self._setbacks.items():
            if setback.reason == reason and setback.rules is None:
                self._setbacks[edition] = replace(setback, until=self._now())
        self._woken.set()

    def _set_back(self, back: timedelta) -> None:
        """Go by a clock that was set back: every time that was noted is another one now."""
        self._setbacks = {
            edition: replace(setback, until=setback.until - back) for edition, setback in self._setbacks.items()
        }
        self._since = {edition: since - back for edition, since in self._since.items()}
        self._paused = {key: until - back for key, until in self._paused.items()}
        self._upkeep.set_back(back)

    def standing(self) -> Standing:
        """Say where the site stands."""
        site = replace(self._editions.site(), setbacks=dict(self._setbacks))
        return Standing(self._enforced, site, dict(self._since), self._upkeep.foreign)

    @property
    def is_moving(self) -> bool:
        """Say whether some artifact is under way."""
        return any(task.get_name() == _IMAGE for task in self._running.values())

    async def prepare(self) -> None:
        """Finish what a crash left behind and remove what is foreign: before the registry opens to workloads.

        What is wanted and was refused by a rule that is no longer in force stays, the source away or not.

        Raises:
            FleetError: as the registry says.
        """
        await self._upkeep.prepare()
        await self._in_thread(self._executor.readmit, [one.edition for one in self._enforced.wanted])
        site = self._editions.site()
        for edition in sorted(site.begun - site.admitted.keys()):
            await self._in_thread(self._executor.withdraw, edition)
        await self._upkeep.clean()

    async def run(self) -> None:
        """Reconcile until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                while True:
                    self._woken.clear()
                    until = self._start(tasks)
                    wait_s = (until - self._now()).total_seconds() if until else _IDLE_S
                    try:
                        async with asyncio.timeout(min(max(wait_s, 0.01), _IDLE_S)):
                            await self._woken.wait()
                    except TimeoutError:
                        continue
        finally:
            self._executor.stop()
            self._pool.shutdown(wait=False, cancel_futures=True)

    # Planning ---------------------------------------------------------------------------------------------

    def _start(self, tasks: asyncio.TaskGroup) -> datetime | None:
        """Plan, start what can be started, and say when to look again."""
        if SCAN in self._running:
            return None  # what was begun meanwhile would look foreign
        self._mind_the_time()
        enforced, at = self._enforced, self._now()
        site = self.standing().site
        actions = plan(enforced.wanted, site, enforced.versions, are_held=enforced.are_held, at=at)
        priorities = {one.edition: one.priority for one in enforced.wanted}
        times = [action.until for action in actions if isinstance(action, Wait) and action.until]
        if expiry := enforced.rules.next_expiry(at):
            times.append(expiry)
        at_once = self._rejudge_at_once(tasks, actions, site)
        for action in actions:
            if isinstance(action, Keep | Wait) or action in at_once:
                continue
            key, lane = _key(action), _lane(action)
            paused = self._paused.get(key)
            if paused is not None and paused > at:
                times.append(paused)
            elif key not in self._running and self._has_room(action, priorities):
                self._launch(tasks, key, lane, self._perform(action))
        for name, chore in self._upkeep.due(self._running, may_write=self._may_write()):
            self._launch(tasks, name, _WRITE if name in {SCAN, PURGE} else name, chore())
        return min([*times, *self._upkeep.later()], default=None)

    def _mind_the_time(self) -> None:
        """Go by the versions that the rules have now: policies and trust roots expire, and clocks become known."""
        enforced = self._enforced.at(self._executor.moment)
        if enforced is not self._enforced:
            self._enforced = enforced
            self._executor.enforce(enforced)
            self._undecided.clear()

    def _rejudge_at_once(self, tasks: asyncio.TaskGroup, actions: Iterable[Action], site: Site) -> set[Action]:
        """Judge all by stored evidence that the rules have changed for: `→ what is not to be done one by one`.

        What was refused before is admitted anew, with its time and evidence: one by one.
        """
        again = [
            one for one in actions if isinstance(one, Judge) and one.again and one.edition in site.admitted
            and one.edition not in self._undecided and one.edition not in self._running
        ]  # fmt: skip
        if again and REJUDGE not in self._running:
            self._launch(tasks, REJUDGE, REJUDGE, self._rejudge([one.edition for one in again]))
        return set(again)

    async def _rejudge(self, editions: list[Edition]) -> None:
        try:
            verdicts = await self._in_thread(self._executor.rejudge, editions)
        except FleetError as error:
            _log.warning("rejudge.failed", reason=error.reason, detail=error.detail)
            verdicts = {}
        self._undecided |= set(editions) - verdicts.keys()
        for edition, verdict in verdicts.items():
            if verdict is None:
                self._forget(edition)
            else:
                self._refuse(edition, verdict)
        _log.info("artifacts.judged_again", judged=len(editions), decided=len(verdicts))

    def _has_room(self, action: Action, priorities: Mapping[Edition, int]) -> bool:
        """Say whether one more can run: more than usual, where it is more urgent than all that are running.

        Or where its source has none running: one that stands still does not keep the others waiting.
        """
        if isinstance(action, Retag | Withdraw):
            return self._may_write()
        running = [one for one, task in self._running.items() if task.get_name() == _IMAGE and isinstance(one, Edition)]
        if len(running) < min(self._enforced.concurrent_images or DEFAULT_IMAGES, MOST_IMAGES):
            return True
        is_urgent = priorities.get(action.edition, 0) > max(priorities.get(one, 0) for one in running)
        is_alone = all(one.source != action.edition.source for one in running)
        return len(running) < MOST_IMAGES and (is_urgent or is_alone)

    def _may_write(self) -> bool:
        return all(task.get_name() != _WRITE for task in self._running.values())

    def _launch(self, tasks: asyncio.TaskGroup, key: object, lane: str, work: Coroutine[None, None, None]) -> None:
        async def guarded() -> None:
            try:
                await work
            finally:
                self._running.pop(key, None)
                self._woken.set()
                self._changed()

        self._running[key] = tasks.create_task(guarded(), name=lane)
        self._changed()

    # Executing --------------------------------------------------------------------------------------------

    async def _perform(self, action: Action) -> None:
        key = _key(action)
        try:
            await self._do(action)
        except FleetError as error:
            if not (isinstance(action, Judge | Publish) and error.reason == "NO_LONGER_WANTED"):
                self._fail(action, error)
        except Exception as error:  # noqa: BLE001 - one artifact's defect must not hold up the others
            _log.exception("reconcile.defect", action=type(action).__name__)
            self._fail(action, FleetError(Kind.INTERNAL, "INTERNAL", "a defect of the satellite", detail=repr(error)))
        else:
            self._failures.pop(key, None)
            self._paused.pop(key, None)

    async def _do(self, action: Action) -> None:
        match action:
            case Judge(edition=edition):
                verdict = await self._in_thread(self._executor.judge, edition, again=action.again)
                if isinstance(verdict, Refused):
                    self._refuse(edition, verdict)
                    return
                self._forget(edition)
                _log.info("artifact.admitted", artifact=edition.name, digest=edition.digest, why=action.reason)
                if not action.again:
                    await self._in_thread(self._executor.publish, edition)
                    _log.info("artifact.published", artifact=edition.name, digest=edition.digest)
            case Publish(edition=edition):
                await self._in_thread(self._executor.publish, edition)
                self._forget(edition)
                _log.info("artifact.published", artifact=edition.name, digest=edition.digest)
            case Retag():
                await self._in_thread(self._executor.retag, action)
                _log.info("tag.moved", repository=action.repository, tag=action.tag, digest=action.digest or "")
            case Withdraw(edition=edition):
                await self._in_thread(self._executor.withdraw, edition)
                self._upkeep.purge_soon()
                _log.info("artifact.withdrawn", artifact=edition.name, digest=edition.digest, why=action.reason)
            case Keep() | Wait():
                pass

    def _refuse(self, edition: Edition, verdict: Refused) -> None:
        until = self._now() + retry.REFUSED_RETRY * (0.75 + chance() / 2)
        known = self._setbacks.get(edition)
        if known is None or known.reason != verdict.reason:
            self._since[edition] = self._now()
            _log.warning("artifact.refused", artifact=edition.name, digest=edition.digest, reason=verdict.reason)
        self._setbacks[edition] = Setback(
            verdict.reason, verdict.text, until, self._executor.judged_by(edition), verdict.considered
        )

    def _fail(self, action: Action, error: FleetError) -> None:
        key = _key(action)
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + (error.reason not in WAITS)
        until = self._now() + retry.pause(error, failures=failures, chance=chance())
        if isinstance(action, Judge | Publish):
            self._since.setdefault(action.edition, self._now())
            self._setbacks[action.edition] = Setback(error.reason, error.public, until)
        else:
            self._paused[key] = until
        log = _log.error if error.kind in {Kind.CORRUPT, Kind.INTERNAL} else _log.warning
        log = _log.info if error.reason in WAITS else log
        log(
            "reconcile.failed", action=type(action).__name__, about=str(key), reason=error.reason, detail=error.detail,
            again_s=round((until - self._now()).total_seconds(), 1),
        )  # fmt: skip

    def _forget(self, edition: Edition) -> None:
        self._setbacks.pop(edition, None)
        self._since.pop(edition, None)

    def _known(self, enforced: Enforced) -> set[Edition]:
        return {one.edition for one in enforced.wanted} | self._editions.site().begun

    async def _in_thread(self, work: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> T:
        call = partial(_without_stop_iteration, partial(work, *arguments, **options))
        return await asyncio.get_running_loop().run_in_executor(self._pool, call)


def _without_stop_iteration(work: Callable[[], T]) -> T:
    """Do it; asyncio cannot put a StopIteration into a future, and would wait for that one for ever."""
    try:
        return work()
    except StopIteration as error:
        raise RuntimeError("an iterator ended where nothing waited for its end") from error


def _key(action: Action) -> object:
    if isinstance(action, Retag):
        return (action.repository, action.tag)
    return action.edition


def _lane(action: Action) -> str:
    return _WRITE if isinstance(action, Retag | Withdraw) else _IMAGE
