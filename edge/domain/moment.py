"""The time that a verdict is reached at, and whether it can be relied on."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from edge.domain.clock import BUILT_AT


@dataclass(frozen=True, slots=True)
class Moment:
    """What the site's clock says (`edge/domain/clock.py`), and whether the image is served already."""

    at: datetime
    is_known: bool = True
    """False where it is only known to be `at` or later."""
    served_since: datetime | None = None
    """When the image was admitted that is judged again. None: it is new, or nothing may be made of it."""


UNKNOWN = Moment(BUILT_AT, is_known=False)
"""Whatever needs the present time fails, unless the policy says otherwise."""
