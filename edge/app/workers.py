"""The threads that bring blobs: a bounded number in all and from each source, each blob by one of them at a time.

A thread that is free takes the blob whose turn it is (`edge.domain.turns`), not the one that came first. A blob of less
priority that is on its way gives its thread up where a more urgent one waits: it goes on later from where it was.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

from edge.domain.turns import Load, Urgency, in_order, joined
from fleet.errors import FleetError, Kind
from fleet.reference import Digest

JOBS = 6
"""Blobs at a time: four tie with the fastest copiers on two cores (measured), and two are left for other sources."""
JOBS_PER_SOURCE = 4
"""Of them from one source: one that stands still does not keep the others waiting."""
KEPT_S = 5.0
"""How long a thread is kept that has nothing to do: it holds a stack and a buffer, 2 MB and more."""

Yields = Callable[[], bool]
"""Says whether the thread is wanted for something more urgent."""


@dataclass(frozen=True, slots=True)
class Task:
    """One blob to be brought."""

    digest: Digest
    size_bytes: int
    bring: Callable[[Yields], bool]
    """Brings it; False where it gave way and is to be called again."""


@dataclass(slots=True, eq=False)
class _Batch:
    """One image's blobs."""

    urgency: Urgency
    source: str
    arrived: int
    waiting: list[Task]
    running: list[Task] = field(default_factory=list)
    error: BaseException | None = None
    over: threading.Event = field(default_factory=threading.Event)

    @property
    def load(self) -> Load:
        left = sum(task.size_bytes for task in (*self.waiting, *self.running))
        return Load(self.urgency, self.source, left, self.arrived)


class Workers:
    """Runs tasks; usable from many threads. `rested` is called when the last thread goes for want of work."""

    def __init__(
        self, jobs: int = JOBS, per_source: int = JOBS_PER_SOURCE, *, rested: Callable[[], None] = lambda: None
    ) -> None:
        self._rested = rested
        self._jobs = jobs
        self._per_source = per_source
        self._changed = threading.Condition()
        self._threads: list[threading.Thread] = []
        self._idle = 0
        self._batches: list[_Batch] = []
        self._served: Counter[str] = Counter()
        self._arrived = 0
        self._highest = 0
        """The priority of the most urgent image that waits for a thread."""
        self._is_stopped = False
        self._held: set[Digest] = set()

    @contextmanager
    def held(self, digests: Iterable[Digest]) -> Iterator[set[Digest]]:
        """Keep threads off these blobs for a moment: `→ those that none is bringing`."""
        with self._changed:
            ours = set(digests) - self._held - {task.digest for batch in self._batches for task in batch.running}
            self._held |= ours
        try:
            yield ours
        finally:
            with self._changed:
                self._held -= ours
                self._changed.notify_all()

    def run(self, urgency: Urgency, source: str, tasks: Sequence[Task]) -> None:
        """Run one image's tasks, the largest first, and wait for them.

        Raises:
            BaseException: the first that a task raised, when those under way have come to an end.
            FleetError: UNAVAILABLE `TRANSFER_STOPPED`.
        """
        if not tasks:
            return
        largest_last = sorted(tasks, key=lambda task: task.size_bytes)
        with self._changed:
            self._arrived += 1
            batch = _Batch(urgency, source, self._arrived, largest_last)
            self._served[urgency.group] = joined(self._served, urgency.group, self._groups())
            self._batches.append(batch)
            self._hire(len(tasks))
            self._settle(batch)
        batch.over.wait()
        if batch.error is not None:
            raise batch.error

    def is_alone(self) -> bool:
        """Say whether no more than one blob is being brought."""
        with self._changed:
            return sum(len(batch.running) for batch in self._batches) <= 1

    def stop(self) -> None:
        """Begin nothing more; what is under way sees to itself."""
        with self._changed:
            self._is_stopped = True
            for batch in list(self._batches):
                self._settle(batch)
            self._changed.notify_all()

    def close(self) -> None:
        """Stop, and wait for the threads."""
        self.stop()
        for thread in list(self._threads):
            thread.join()

    # With the lock held -----------------------------------------------------------------------------------

    def _groups(self) -> Iterable[str]:
        return {batch.urgency.group for batch in self._batches}

    def _hire(self, tasks: int) -> None:
        """Start threads where they are wanted: an idle satellite has none."""
        for _ in range(min(tasks - self._idle, self._jobs - len(self._threads))):
            thread = threading.Thread(target=self._work, name=f"transfer-{len(self._threads)}")
            self._threads.append(thread)
            thread.start()

    def _ready(self) -> Iterator[tuple[_Batch, Task]]:
        """List a task of each image that has one which could run, whatever its source has to do."""
        running = self._held | {task.digest for batch in self._batches for task in batch.running}
        for batch in self._batches:
            # A blob that another image is bringing is waited for, then found there or taken over.
            task = next((one for one in reversed(batch.waiting) if one.digest not in running), None)
            if task is not None:
                yield batch, task

    def _busy(self) -> Counter[str]:
        return Counter(batch.source for batch in self._batches for _ in batch.running)

    def _pick(self) -> tuple[_Batch, Task] | None:
        ready = {batch.load: (batch, task) for batch, task in self._ready()}
        order = in_order(ready, self._served, self._busy(), per_source=self._per_source)
        if not order:
            return None
        batch, task = ready[order[0]]
        batch.waiting.remove(task)
        batch.running.append(task)
        self._highest = self._highest_waiting()
        return batch, task

    def _highest_waiting(self) -> int:
        return max((batch.urgency.priority for batch in self._batches if batch.waiting), default=0)

    def _settle(self, batch: _Batch) -> None:
        """Draw the conclusions from a change of a batch."""
        if self._is_stopped and batch.waiting:
            stopped = FleetError(Kind.UNAVAILABLE, "TRANSFER_STOPPED", "the transfer was stopped; it goes on later")
            batch.error = batch.error or stopped
        if batch.error is not None:
            batch.waiting.clear()
        if not batch.waiting and not batch.running and batch in self._batches:
            self._batches.remove(batch)
            batch.over.set()
        self._highest = self._highest_waiting()
        self._changed.notify_all()

    # In the threads ---------------------------------------------------------------------------------------

    def _work(self) -> None:
        while (picked := self._next()) is not None:
            batch, task = picked
            is_done, error = True, None
            try:
                is_done = task.bring(partial(self._is_outranked, batch))
            except BaseException as raised:  # noqa: BLE001 -- whoever waits for the image gets it
                error = raised
            self._finish(batch, task, is_done=is_done, error=error)

    def _next(self) -> tuple[_Batch, Task] | None:
        with self._changed:
            while not self._is_stopped:
                picked = self._pick()
                if picked is not None:
                    return picked
                self._idle += 1
                is_called = self._changed.wait(KEPT_S)
                self._idle -= 1
                if not is_called and not self._batches:
                    self._threads.remove(threading.current_thread())
                    if not self._threads:
                        self._rested()
                    break
            return None

    def _finish(self, batch: _Batch, task: Task, *, is_done: bool, error: BaseException | None) -> None:
        with self._changed:
            batch.running.remove(task)
            batch.error = batch.error or error
            if is_done:
                self._served[batch.urgency.group] += task.size_bytes
            else:
                batch.waiting.append(task)
            self._settle(batch)

    def _is_outranked(self, mine: _Batch) -> bool:
        """Say whether something of more priority could run if this thread, and its place at the source, were free."""
        if self._highest <= mine.urgency.priority:  # asked for each piece that comes
            return False
        with self._changed:
            busy = self._busy()
            busy[mine.source] -= 1
            loads = (batch.load for batch, _ in self._ready() if batch.urgency.priority > mine.urgency.priority)
            return bool(in_order(loads, self._served, busy, per_source=self._per_source))
