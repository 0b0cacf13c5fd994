"""Who may have signed: what no signer could ever satisfy is an error, with its remedy."""

from __future__ import annotations

import re
from collections.abc import Sequence

from fleet.errors import FleetError, malformed
from fleet.policy import SignerIdentity, TextMatch
from fleet.public_keys import key_id, read_signing_key

_ESCAPED = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]")
_GROUP = re.compile(r"\([^()]*\)")


def check_keys(keys: Sequence[str], threshold: int, *, subject: str) -> None:
    """See that a threshold of keys can be met.

    Raises:
        FleetError: MALFORMED `KEYS_MISSING`, `KEY_MALFORMED`, `KEY_UNSUPPORTED`, `KEY_DOUBLE`,
            `THRESHOLD_OUT_OF_RANGE`.
    """
    if not keys:
        raise malformed("KEYS_MISSING", "without a key nobody can sign: add one", subject=subject[:80])
    for key in keys:
        try:
            read_signing_key(key.encode())
        except FleetError as error:
            raise malformed(error.reason, error.text, subject=subject[:80]) from error
    if len({key_id(key.encode()) for key in keys}) < len(keys):
        raise malformed("KEY_DOUBLE", "a key is there twice, which counts once: remove one", subject=subject[:80])
    if not 1 <= threshold <= len(keys):
        text = f"a threshold is 1 to {len(keys)}, the number of keys"
        raise malformed("THRESHOLD_OUT_OF_RANGE", text, subject=subject[:80])


def check_identities(identities: Sequence[SignerIdentity], *, subject: str) -> None:
    """See that there are identities, each with an issuer and a subject that something could match."""
    if not identities:
        text = "without an identity nobody can sign: add an issuer and a subject"
        raise malformed("IDENTITIES_MISSING", text, subject=subject[:80])
    for identity in identities:
        check_match(identity.issuer)
        check_match(identity.subject)


def check_subjects(subjects: Sequence[TextMatch], authority: str) -> None:
    """See that there are subjects that some certificate could have; `SUBJECTS_MISSING` and as matches."""
    if not subjects:
        raise malformed("SUBJECTS_MISSING", "without a subject no certificate counts: add one", subject=authority)
    for subject in subjects:
        check_match(subject)


def check_match(match: TextMatch) -> TextMatch:
    """Return what some text could match; `IDENTITY_MALFORMED`, `REGEXP_MALFORMED`."""
    if not match.text:
        raise malformed("IDENTITY_MALFORMED", "an empty text or expression accepts nothing, or everything: write one")
    if match.is_regexp:
        check_regexp(match.text)
    return match


def check_regexp(expression: str) -> str:
    """Return an expression that RE2 compiles within a satellite's limits; `REGEXP_MALFORMED`."""
    import re2  # noqa: PLC0415 - 3 MB that a site without expressions does without

    options = re2.Options()
    options.log_errors = False
    options.max_mem = 1 << 20
    try:
        re2.compile(expression, options)
    except re2.error as error:
        said = error.args[0].decode() if error.args and isinstance(error.args[0], bytes) else str(error)
        text = f"a regular expression is RE2's (no look-around, no back-reference): {said[:120]}"
        raise malformed("REGEXP_MALFORMED", text, subject=expression[:80]) from error
    return expression


def is_anchored(expression: str) -> bool:
    """Say whether an expression must match the whole text; without ^ and $ it is found in `evil.example/?…`, too.

    An alternative outside of parentheses takes the anchors apart: `^a|b$`.
    """
    whole = expression.startswith(("^", r"\A")) and expression.endswith(("$", r"\z"))
    plain = _ESCAPED.sub("", expression)
    while (inner := _GROUP.sub("", plain)) != plain:
        plain = inner
    return whole and "|" not in plain


def check_notation_identities(identities: Sequence[str], authority: str) -> None:
    """See that there are identities as the Notary Project writes them; `IDENTITIES_MISSING`, `IDENTITY_MALFORMED`."""
    if not identities:
        text = "without a trusted identity no certificate counts: add `x509.subject: C=…, ST=…, O=…`, or *"
        raise malformed("IDENTITIES_MISSING", text, subject=authority)
    for identity in identities:
        kind, _, name = identity.partition(":")
        if identity != "*" and (kind != "x509.subject" or "=" not in name):
            text = "a trusted identity is `x509.subject: C=…, ST=…, O=…`, or *"
            raise malformed("IDENTITY_MALFORMED", text, subject=identity[:80])
