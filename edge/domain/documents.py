"""Foreign JSON as evidence brings it; the reader is shared with who checks trust material before it is written."""

from __future__ import annotations

from fleet.documents import Duplicate as Duplicate  # noqa: PLC0414 a word of this vocabulary, too
from fleet.documents import Fields as Fields  # noqa: PLC0414 as above
from fleet.documents import Reader as Reader  # noqa: PLC0414 as above
