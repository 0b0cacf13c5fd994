"""The journal as a whole: opened, or set aside where it is damaged."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from edge.adapters.journal.database import Database, set_aside
from edge.adapters.journal.editions import Editions
from edge.adapters.journal.holdings import Holdings
from edge.adapters.journal.logs import Intents, Traffic, Transfers
from edge.adapters.journal.staging import StagingFiles
from fleet.errors import FleetError


@dataclass(frozen=True, slots=True)
class Journal:
    """One file, seen by five users, and what is staged beside it."""

    database: Database
    state: Holdings
    editions: Editions
    intents: Intents
    transfers: Transfers
    staging: StagingFiles
    traffic: Traffic
    set_aside_to: Path | None = None
    """Where a damaged predecessor went; None where there was none."""

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open or make the journal; a damaged one is moved away, never used in silence.

        Raises:
            FleetError: PRECONDITION `JOURNAL_NEWER`; UNAVAILABLE `JOURNAL_FULL`.
        """
        aside = None
        try:
            database = Database(path)
        except FleetError as error:
            if error.reason != "JOURNAL_CORRUPT":
                raise
            aside = set_aside(path)
            database = Database(path)
        return cls(
            database,
            Holdings(database),
            Editions(database),
            Intents(database),
            Transfers(database),
            StagingFiles(path.with_name("staged")),
            Traffic(database),
            aside,
        )

    def close(self) -> None:
        """Close the file."""
        self.database.close()
