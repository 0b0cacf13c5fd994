"""The journal's ports in memory, for tests of what writes through them."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from edge.app.ports import OpenBlob
from fleet.reference import Digest


class MemoryJournal:
    """Implements `IntentLog`, `TransferLog` and `Staging`; `history` keeps what was recorded, in order."""

    def __init__(self) -> None:
        self.intents: dict[str, dict[str, Digest | None]] = {}
        self.uploads: dict[tuple[str, Digest], str] = {}
        self.blobs: dict[Digest, list[str]] = {}
        self.staged: dict[str, tuple[int, bytes]] = {}
        self.history: list[tuple[str, str, str]] = []

    def intend_put(self, repository: str, references: Mapping[str, Digest]) -> None:
        self._note("intend_put", repository, references)
        self.intents.setdefault(repository, {}).update(references)

    def put_done(self, repository: str, references: Collection[str]) -> None:
        self._note("put_done", repository, references)

    def intend_delete(self, repository: str, references: Collection[str]) -> None:
        self._note("intend_delete", repository, references)
        self.intents.setdefault(repository, {}).update(dict.fromkeys(references))

    def delete_done(self, repository: str, references: Collection[str]) -> None:
        self._note("delete_done", repository, references)
        for reference in references:
            self.intents.get(repository, {}).pop(reference, None)

    def is_ours(self, repository: str, reference: str) -> bool:
        return reference in self.intents.get(repository, {})

    def ours(self) -> Mapping[str, Collection[str]]:
        return {repository: list(references) for repository, references in self.intents.items()}

    def upload(self, repository: str, digest: Digest) -> str:
        return self.uploads.get((repository, digest), "")

    def upload_opened(self, repository: str, digest: Digest, location: str) -> None:
        self.uploads[repository, digest] = location

    def upload_closed(self, repository: str, digest: Digest) -> None:
        self.uploads.pop((repository, digest), None)

    def open_uploads(self) -> Collection[OpenBlob]:
        return [OpenBlob(*key, location) for key, location in self.uploads.items()]

    def blobs_stored(self, repository: str, digests: Collection[Digest]) -> None:
        for digest in digests:
            self.blobs.setdefault(digest, []).append(repository)

    def blob_gone(self, repository: str, digest: Digest) -> None:
        self.blobs[digest] = [name for name in self.blobs.get(digest, []) if name != repository]

    def blob_lost(self, digest: Digest) -> None:
        self.blobs.pop(digest, None)

    def blob_origin(self, digest: Digest) -> str:
        return next(iter(self.blobs.get(digest, [])), "")

    def _note(self, what: str, repository: str, references: Collection[str]) -> None:
        self.history += [(what, repository, reference) for reference in references]

    def load(self, key: str) -> tuple[int, bytes]:
        return self.staged.get(key, (0, b""))

    def append(self, key: str, offset: int, content: memoryview, *, after: int) -> bool:
        at, before = self.staged.get(key, (offset, b"")) if after else (offset, b"")
        assert (at, len(before)) == (offset, after)
        self.staged[key] = (at, before + bytes(content))
        return True

    def clear(self, key: str) -> None:
        self.staged.pop(key, None)
