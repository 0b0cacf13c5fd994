"""Who is who: attestation, what operators decide, join tokens and device keys."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlmodel import Session, col, select

from controlplane.adapters.sql import log, rows
from controlplane.adapters.sql.applying import commit, do
from controlplane.adapters.sql.batch import Batch, need_satellite
from controlplane.adapters.sql.presence import load, note_version, presence_of, written_at
from controlplane.adapters.sql.tables import (
    DeviceRow,
    OperatorRow,
    SatelliteRow,
    SourceRow,
    TokenRow,
)
from controlplane.adapters.sql.write_content import write_source
from controlplane.adapters.sql.write_members import forget_identity, forget_tokens
from controlplane.domain.commands import EntityKind, Outcome, Result, Upsert
from controlplane.domain.entities import (
    OPERATOR,
    Attested,
    JoinToken,
    Membership,
    Operator,
    Position,
    Role,
    Satellite,
)
from controlplane.domain.lifecycle import Standing, Verb, next_standing
from controlplane.domain.rules import unknown
from fleet.errors import FleetError, Kind
from fleet.identity import OperatorId, SatelliteId


def find_attested(session: Session, satellite: SatelliteId, at: datetime) -> Attested | None:
    """Find a satellite by its proven ID; None where nobody has its name.

    Raises:
        FleetError: REFUSED `NAME_TAKEN` where another ID has the name.
    """
    row = session.get(SatelliteRow, satellite.name)
    if row is None:
        return None
    if row.spiffe_id != str(satellite):
        text = "another identity has this name"
        raise FleetError(Kind.REFUSED, "NAME_TAKEN", text, subject=satellite.name)
    return Attested(row.name, rows.lifecycle_of(session, row, at))


def attest(batch: Batch, satellite: SatelliteId, agent_version: str) -> Attested:
    """Find a satellite, or make it pending; a revoked one stays revoked."""
    at = batch.context.at
    found = find_attested(batch.session, satellite, at)
    if found is None:
        made = do(batch, Upsert(Satellite(satellite.name, satellite.region)))
        batch.session.flush()
        commit(batch, (made,))
        found = find_attested(batch.session, satellite, at)
        assert found is not None  # noqa: S101 made above
    note_version(batch.session, satellite.name, agent_version, at)
    return found


def change_lifecycle(batch: Batch, name: str, verb: Verb) -> Position:
    """Approve, revoke or reinstate; revoking forgets tokens, reinstating device keys too."""
    if first := log.find_answer(batch.session, batch.context):
        return first.position
    row = need_satellite(batch, name)
    after = next_standing(Standing(row.standing), verb, name=name)
    outcome = Outcome.UNCHANGED if after.value == row.standing else Outcome.UPDATED
    if outcome is Outcome.UPDATED:
        _stand(batch, row, after)
        if verb is Verb.REVOKE:
            forget_tokens(batch, row.spiffe_id)  # the device key stays, so that its holder is told what it is
        elif verb is Verb.REINSTATE:
            forget_identity(batch, row.spiffe_id)
    return commit(batch, (Result(outcome, "lifecycle", f"{name} {verb.value}"),)).position


def _stand(batch: Batch, row: SatelliteRow, standing: Standing) -> None:
    row.standing = standing.value
    batch.session.add(row)
    batch.session.flush()
    batch.touched.satellites.add(row.name)
    load(batch.session, [row.name])  # locked, so that no wait comes between the time and the writing
    present = presence_of(batch.session, row.name)
    present.changed_at = written_at(batch.session)
    batch.session.add(present)


def mint_satellite_token(
    batch: Batch, token: JoinToken, secret_hash: bytes, satellite: SatelliteId, groups: Sequence[str]
) -> Position:
    """Make the satellite where it is unknown, approve it, put it into groups, and store the token.

    Raises:
        FleetError: PRECONDITION `SATELLITE_REVOKED`, `REGION_FIXED`; UNKNOWN `GROUP_UNKNOWN`.
    """
    results: list[Result] = []
    held = batch.session.get(SatelliteRow, satellite.name)
    if held is None:
        results.append(do(batch, Upsert(Satellite(satellite.name, satellite.region))))
    elif held.region != satellite.region:
        text = "a satellite's region is part of its SPIFFE ID and fixed when it is made"
        raise FleetError(Kind.PRECONDITION, "REGION_FIXED", text, subject=satellite.name)
    row = need_satellite(batch, satellite.name)
    # A token for a reinstated satellite approves it; a revoked one has to be reinstated first.
    if next_standing(Standing(row.standing), Verb.APPROVE, name=row.name).value != row.standing:
        _stand(batch, row, Standing.APPROVED)
    results += [do(batch, Upsert(Membership(satellite.name, group, OPERATOR))) for group in groups]
    return _store_token(batch, token, secret_hash, results)


def mint_operator_token(batch: Batch, token: JoinToken, secret_hash: bytes, operator: OperatorId) -> Position:
    """Store a token for an operator that has a role. UNKNOWN `OPERATOR_UNKNOWN`."""
    if batch.session.get(OperatorRow, operator.name) is None:
        raise unknown(EntityKind.OPERATOR, operator.name)
    return _store_token(batch, token, secret_hash, [])


def _store_token(batch: Batch, token: JoinToken, secret_hash: bytes, results: list[Result]) -> Position:
    batch.session.add(
        TokenRow(
            id=token.id,
            secret_hash=secret_hash,
            spiffe_id=token.spiffe_id,
            created_at=token.created_at,
            expires_at=token.expires_at,
        )
    )
    results.append(Result(Outcome.CREATED, "token", f"{token.id} {token.spiffe_id}"))
    return commit(batch, tuple(results)).position


def delete_token(batch: Batch, token_id: str) -> Position:
    """Make a token useless. UNKNOWN `TOKEN_UNKNOWN`."""
    row = batch.session.get(TokenRow, token_id)
    if row is None:
        raise FleetError(Kind.UNKNOWN, "TOKEN_UNKNOWN", "there is no such token", subject=token_id[:80])
    batch.session.delete(row)
    return commit(batch, (Result(Outcome.DELETED, "token", f"{row.id} {row.spiffe_id}"),)).position


def set_credential(batch: Batch, source: str, sealed: bytes | None) -> Position:
    """Store or forget a sealed credential, and say in the source's resource whether there is one."""
    row = batch.session.get(SourceRow, source)
    if row is None:
        raise unknown(EntityKind.SOURCE, source)
    if row.sealed is None and sealed is None:
        return commit(batch, ()).position
    row.sealed = sealed
    write_source(batch, row)
    outcome = Outcome.UPDATED if sealed else Outcome.DELETED
    return commit(batch, (Result(outcome, "credential", source),)).position


def add_first_operator(batch: Batch, operator: OperatorId) -> Position:
    """Make an admin; one that is there keeps its keys."""
    done = do(batch, Upsert(Operator(operator.name, Role.ADMIN)))
    return commit(batch, (done,)).position


def recover(batch: Batch) -> Position:
    """Begin a new epoch, and write so: the log goes on without a gap."""
    begun = Position(batch.end.epoch + 1, batch.end.revision + 1)
    results = (Result(Outcome.UPDATED, "epoch", str(begun.epoch)),)
    log.write(batch.session, log.change(begun, batch.context, log.diff_of(results, {}, ())), begun)
    batch.end = begun
    return begun


def is_revoked(session: Session, spiffe_id: str) -> bool:
    """Say whether an identity is revoked and not reinstated."""
    revoked = SatelliteRow.standing == Standing.REVOKED.value
    held = select(SatelliteRow.name).where(SatelliteRow.spiffe_id == spiffe_id, revoked)
    return session.exec(held).first() is not None


def find_token(session: Session, token_id: str) -> TokenRow | None:
    """Find a join token."""
    return session.get(TokenRow, token_id)


def redeem(session: Session, token_id: str, device: bytes, csr: bytes, at: datetime) -> TokenRow:
    """Bind an unused token to keys and register the device; of two first uses at once one wins.

    Raises:
        FleetError: REFUSED `TOKEN_INVALID` where it was deleted meanwhile.
    """
    row = session.exec(select(TokenRow).where(TokenRow.id == token_id).with_for_update()).first()
    if row is None:
        text = "this join token is not valid: ask for a new join string"
        raise FleetError(Kind.REFUSED, "TOKEN_INVALID", text)
    if row.device_key is None:
        row.device_key, row.csr_key, row.used_at = device, csr, at
        session.add(row)
        _register(session, device, row.spiffe_id, at)
    return row


def _register(session: Session, fingerprint: bytes, spiffe_id: str, at: datetime) -> None:
    """Put a device key in the place of its identity's former one, and of its own former identity."""
    former = col(DeviceRow.spiffe_id) == spiffe_id
    for row in session.exec(select(DeviceRow).where(former | (col(DeviceRow.fingerprint) == fingerprint))):
        session.delete(row)
    session.flush()
    session.add(DeviceRow(fingerprint=fingerprint, spiffe_id=spiffe_id, registered_at=at))


def report_misuse(session: Session, token_id: str) -> None:
    """Count an attempt with other keys."""
    row = session.exec(select(TokenRow).where(TokenRow.id == token_id).with_for_update()).first()
    if row is not None:
        row.refused_attempts += 1
        session.add(row)


def find_device(session: Session, fingerprint: bytes) -> DeviceRow | None:
    """Find a registered device key."""
    return session.get(DeviceRow, fingerprint)
