"""Numbered steps of a verdict, as `satctl explain` and `satctl policy test` show them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from controlplane.satctl.render import print_json, print_line, say

_REMEDIES = {
    "NO_POLICY": "`satctl policy create NAME --key cosign.pub --image GLOB` says who must have signed it",
    "UNSIGNED": "sign it where it was built: `cosign sign REGISTRY/REPOSITORY@DIGEST`",
    "FORMAT_NOT_ALLOWED": "sign it in a format that the policy counts, or add the format to the policy",
    "BLOCKED": "`satctl block list` names the block",
    "SIGNER_BLOCKED": "sign it with another key; `satctl block list` names the block",
    "AGENT_TOO_OLD": "upgrade the satellite",
    "TRUST_EXPIRED": "write the policy or trust root anew, with a later end",
    "CLOCK_UNKNOWN": "let the satellite reach Ground Control once, or choose use-floor in the policy",
}
"""What to do about a refusal, where there is one thing to do."""


@dataclass(frozen=True, slots=True)
class Step:
    """One numbered step of an explanation."""

    text: str
    outcome: str
    """passed, failed, warned, or empty where nothing was decided."""
    reason: str = ""
    signer: str = ""
    evidence: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How it ended."""

    word: str
    reason: str = ""
    text: str = ""


def show_steps(image: str, steps: Sequence[Step], outcome: Outcome, *, as_json: bool = False) -> None:
    """Print all steps, what came of them, and what to do."""
    remedy = _REMEDIES.get(outcome.reason, "")
    if as_json:
        numbered = [{"number": number, **asdict(step)} for number, step in enumerate(steps, 1)]
        answer: dict[str, Any] = {"image": image, "outcome": outcome.word, "reason": outcome.reason}
        print_json({**answer, "text": outcome.text, "remedy": remedy, "steps": numbered})
        return
    for number, step in enumerate(steps, 1):
        by = f" by {step.signer}" if step.signer else ""
        on = f" [{step.evidence[:19]}]" if step.evidence else ""
        print_line(f"{number:>2}. {f'{step.outcome}: ' if step.outcome else ''}{step.text}{by}{on}")
    why = f" ({outcome.reason}): {outcome.text}" if outcome.reason else ""
    print_line(f"{image}: {outcome.word}{why}")
    if remedy:
        say(remedy)
