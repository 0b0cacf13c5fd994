"""Which of our errors an answer, or the want of one, stands for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from fleet.errors import FleetError, Kind

_LONGEST_WAIT = timedelta(hours=1)
_DETAIL = 400


@dataclass(frozen=True, slots=True)
class Voice:
    """How one side's failures are called: `SOURCE_UNREACHABLE` or, at the site, `REGISTRY_UNREACHABLE`."""

    prefix: str
    noun: str

    def unreachable(self, subject: str, detail: str) -> FleetError:
        """Nobody answered, or nothing that a registry would say."""
        return FleetError(
            Kind.UNAVAILABLE,
            f"{self.prefix}_UNREACHABLE",
            f"the {self.noun} registry does not answer",
            subject=subject,
            detail=detail[:_DETAIL],
        )

    def untrusted(self, subject: str, detail: str) -> FleetError:
        """Somebody answered whose certificate we cannot verify."""
        return FleetError(
            Kind.UNAVAILABLE,
            f"{self.prefix}_UNTRUSTED",
            f"the {self.noun} registry's certificate cannot be verified: configure its authority",
            subject=subject,
            detail=detail[:_DETAIL],
        )

    def refused(self, subject: str, detail: str) -> FleetError:
        """They know what we want and do not let us."""
        return FleetError(
            Kind.REFUSED,
            f"{self.prefix}_REFUSED",
            f"the {self.noun} registry refuses the credentials, or asks for some",
            subject=subject,
            detail=detail[:_DETAIL],
        )

    def busy(self, subject: str, wait: timedelta) -> FleetError:
        """They ask for patience."""
        return FleetError(
            Kind.EXHAUSTED,
            f"{self.prefix}_BUSY",
            f"the {self.noun} registry asks to wait",
            subject=subject,
            retry_after=wait,
        )

    def failed(self, subject: str, detail: str, wait: timedelta | None = None) -> FleetError:
        """They answered, with a failure of their own."""
        return FleetError(
            Kind.UNAVAILABLE,
            f"{self.prefix}_FAILED",
            f"the {self.noun} registry answers with failures",
            subject=subject,
            detail=detail[:_DETAIL],
            retry_after=wait,
        )

    def redirects(self, subject: str, detail: str) -> FleetError:
        """They send us in a circle, or to where nothing is fetched from."""
        return FleetError(
            Kind.UNAVAILABLE,
            f"{self.prefix}_REDIRECTS",
            f"the {self.noun} registry redirects in a circle, or to where nothing is fetched from",
            subject=subject,
            detail=detail[:_DETAIL],
        )

    def of_status(self, status: int, *, subject: str, body: bytes, retry_after: str | None) -> FleetError:
        """Name an answer that is neither success nor absence."""
        words = f"status {status}: {body[:_DETAIL].decode(errors='replace')}"
        if status in {401, 403}:
            return self.refused(subject, words)
        if status == 429:  # noqa: PLR2004 -- Too Many Requests
            return self.busy(subject, parse_wait(retry_after))
        return self.failed(subject, words, parse_wait(retry_after) if retry_after else None)


def proxy_unreachable(subject: str, detail: str) -> FleetError:
    """The proxy between us and a registry does not answer."""
    text = "the proxy to it does not answer: the site's proxy setting, or the proxy"
    return FleetError(Kind.UNAVAILABLE, "PROXY_UNREACHABLE", text, subject=subject, detail=detail[:_DETAIL])


def proxy_refused(subject: str, detail: str) -> FleetError:
    """The proxy between us and a registry does not let us through."""
    text = "the proxy to it refuses: the user and password of the site's proxy setting, or the proxy's rules"
    return FleetError(Kind.UNAVAILABLE, "PROXY_REFUSED", text, subject=subject, detail=detail[:_DETAIL])


SOURCE = Voice("SOURCE", "source")
SITE = Voice("REGISTRY", "site's")


def parse_wait(header: str | None, *, otherwise: timedelta = timedelta(seconds=30)) -> timedelta:
    """Read `Retry-After`, seconds or a date; never more than an hour, never less than a second."""
    wait = otherwise
    text = (header or "").strip()
    if text.isdecimal() and len(text) < 9:  # noqa: PLR2004 -- beyond any wait, and of any cost to parse
        wait = timedelta(seconds=int(text))
    elif text:
        try:
            at = parsedate_to_datetime(text)
        except ValueError:
            return otherwise
        # The other side's clock against ours: an interval, never a point in time that anything rests on.
        wait = (at if at.tzinfo else at.replace(tzinfo=UTC)) - datetime.now(UTC)
    return max(timedelta(seconds=1), min(wait, _LONGEST_WAIT))
