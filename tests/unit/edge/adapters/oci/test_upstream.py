"""A source as it may behave: token realms, redirects, pages, limits; answers are untrusted."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Callable
from datetime import timedelta

import pytest

from edge.adapters.oci.client import Client
from edge.adapters.oci.endpoint import parse_endpoint
from edge.adapters.oci.failures import SOURCE
from edge.adapters.oci.upstream import OciUpstream
from edge.app.ports import Credential
from edge.domain.content import OCI_INDEX, OCI_MANIFEST
from fleet.errors import FleetError, Kind
from fleet.reference import Digest, digest_of
from tests.rig.http_source import Answer, Asked, HttpSource, Script, http_source

LOGIN = Credential("puller", "secret")
BASIC = "Basic " + b64encode(b"puller:secret").decode()
RAW = b'{"schemaVersion": 2}'
MANIFEST = Answer(200, RAW, {"Content-Type": f"{OCI_MANIFEST}; charset=utf-8"})
SUBJECT = digest_of(b"subject")


def upstream(source: HttpSource, login: Credential | None = LOGIN) -> OciUpstream:
    endpoint = parse_endpoint(source.url, plaintext=True)
    return OciUpstream(Client(endpoint, voice=SOURCE, credential=lambda _: login))


def test_a_secret_does_not_follow_a_redirect_to_another_host() -> None:
    blob = b"layer"
    with http_source(lambda _: Answer(200, blob)) as storage:

        def script(asked: Asked) -> Answer:
            if asked.authorization != BASIC:
                return Answer(401, headers={"WWW-Authenticate": 'Basic realm="r"'})
            return Answer(307, headers={"Location": storage.url + "/x"})

        with http_source(script) as source, upstream(source).blob("a/b", digest_of(blob)) as chunks:
            assert b"".join(chunks) == blob
    assert [asked.authorization for asked in storage.asked] == [None]


def test_redirects_in_a_circle_end() -> None:
    def circle(asked: Asked) -> Answer:
        return Answer(302, headers={"Location": asked.path})

    with http_source(circle) as source, pytest.raises(FleetError) as caught:
        upstream(source).manifest("a/b", "v1")
    assert (caught.value.kind, caught.value.reason) == (Kind.UNAVAILABLE, "SOURCE_REDIRECTS")


@pytest.mark.parametrize(
    ("answer", "kind", "reason"),
    [
        (Answer(404), Kind.UNKNOWN, "MANIFEST_ABSENT"),
        (Answer(403), Kind.REFUSED, "SOURCE_REFUSED"),
        (Answer(429, headers={"Retry-After": "7"}), Kind.EXHAUSTED, "SOURCE_BUSY"),
        (Answer(429), Kind.EXHAUSTED, "SOURCE_BUSY"),
        (Answer(500), Kind.UNAVAILABLE, "SOURCE_FAILED"),
        (Answer(400), Kind.UNAVAILABLE, "SOURCE_FAILED"),
        (Answer(503, headers={"Retry-After": "7"}), Kind.UNAVAILABLE, "SOURCE_FAILED"),
        (Answer(200, b"x" * (4 * 1024 * 1024 + 1)), Kind.MALFORMED, "MANIFEST_TOO_LARGE"),
        (Answer(200, b"x" * 1000, cut=10), Kind.UNAVAILABLE, "SOURCE_CUT"),
        (Answer(302, headers={"Location": "gopher://x"}), Kind.UNAVAILABLE, "SOURCE_REDIRECTS"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_failure_has_its_reason(answer: Answer, kind: Kind, reason: str) -> None:
    with http_source(lambda _: answer) as source, pytest.raises(FleetError) as caught:
        upstream(source).manifest("a/b", "v1")
    assert (caught.value.kind, caught.value.reason) == (kind, reason)
    if "Retry-After" in answer.headers:
        assert caught.value.retry_after == timedelta(seconds=7)


def test_nobody_there_is_a_source_that_is_unreachable() -> None:
    with http_source(lambda _: MANIFEST) as source:
        reader = upstream(source)
    with pytest.raises(FleetError) as caught:
        reader.manifest("a/b", "v1")
    assert caught.value.reason == "SOURCE_UNREACHABLE"


def test_a_manifest_asked_for_by_digest_has_that_digest() -> None:
    with http_source(lambda _: MANIFEST) as source:
        assert upstream(source).manifest("a/b", digest_of(RAW)).media_type == OCI_MANIFEST
        with pytest.raises(FleetError) as caught:
            upstream(source).manifest("a/b", SUBJECT)
    assert (caught.value.kind, caught.value.reason) == (Kind.CORRUPT, "DIGEST_MISMATCH")


@pytest.mark.parametrize("reference", ["v1", SUBJECT])
def test_schema_1_is_named_whatever_its_digest(reference: str) -> None:
    old = Answer(200, RAW, {"Content-Type": "application/vnd.docker.distribution.manifest.v1+prettyjws"})
    with http_source(lambda _: old) as source, pytest.raises(FleetError) as caught:
        upstream(source).manifest("a/b", reference)
    assert (caught.value.kind, caught.value.reason) == (Kind.MALFORMED, "SCHEMA1_UNSUPPORTED")


@pytest.fixture
def blob_from() -> Callable[[Script, int], bytes]:
    def read(script: Script, offset: int) -> bytes:
        with http_source(script) as source, upstream(source).blob("a/b", SUBJECT, offset=offset) as chunks:
            return b"".join(chunks)

    return read


def test_a_blob_goes_on_from_an_offset(blob_from: Callable[[Script, int], bytes]) -> None:
    def script(asked: Asked) -> Answer:
        start = int(re.findall(r"bytes=(\d+)-", asked.headers["Range"])[0])
        return Answer(206, b"0123456789"[start:], {"Content-Range": f"bytes {start}-9/10"})

    assert blob_from(script, 4) == b"456789"


def part(start: int, *, end: int = 9) -> Answer:
    return Answer(206, b"0123456789"[start : end + 1], {"Content-Range": f"bytes {start}-{end}/10"})


@pytest.mark.parametrize(
    "answer",
    [Answer(200, b"0123456789"), part(2), part(6), Answer(206, b"456789"), Answer(416)],
    ids=["ignored", "early", "late", "unsaid", "refused"],
)
def test_a_source_that_does_not_go_on_where_asked_is_read_from_before_there(
    blob_from: Callable[[Script, int], bytes], answer: Answer
) -> None:
    def script(asked: Asked) -> Answer:
        return answer if "Range" in asked.headers else Answer(200, b"0123456789")

    assert blob_from(script, 4) == b"456789"


def test_a_part_that_ends_early_is_a_cut_and_not_the_end(blob_from: Callable[[Script, int], bytes]) -> None:
    with pytest.raises(FleetError) as caught:
        blob_from(lambda _: part(4, end=6), 4)
    assert caught.value.reason == "SOURCE_CUT"
    assert blob_from(lambda _: part(4), 4) == b"456789"


def test_a_part_that_nobody_asked_for_is_not_taken_for_the_whole(blob_from: Callable[[Script, int], bytes]) -> None:
    for offset in (0, 4):
        with pytest.raises(FleetError) as caught:
            blob_from(lambda _: part(6), offset)
        assert caught.value.reason == "SOURCE_FAILED"


def test_what_is_dropped_can_be_stopped(blob_from: Callable[[Script, int], bytes]) -> None:
    whole = Answer(200, bytes(1_000_000))
    with http_source(lambda _: whole) as source, upstream(source).blob("a/b", SUBJECT, offset=999_999) as chunks:
        assert next(chunks) == b""


def test_a_blob_that_breaks_off_says_so(blob_from: Callable[[Script, int], bytes]) -> None:
    with pytest.raises(FleetError) as caught:
        blob_from(lambda _: Answer(200, b"x" * 1_000_000, cut=1), 0)
    assert (caught.value.kind, caught.value.reason) == (Kind.UNAVAILABLE, "SOURCE_CUT")


def entry(number: int) -> dict[str, object]:
    return {"mediaType": OCI_MANIFEST, "digest": digest_of(b"%d" % number), "size": 1}


def index(*entries: object) -> bytes:
    return json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}).encode()


def test_referrers_are_collected_from_every_page() -> None:
    def script(asked: Asked) -> Answer:
        if "page=2" in asked.path:
            return Answer(200, index(entry(2)))
        link = f'</v2/a/b/referrers/{SUBJECT}?page=2>; rel="next"'
        return Answer(200, index(entry(1), "nonsense", {"digest": "x"}), {"Link": link})

    with http_source(script) as source:
        found = upstream(source).referrers("a/b", SUBJECT)
    assert [one.digest for one in found] == [digest_of(b"1"), digest_of(b"2")]


def test_referrers_are_found_by_the_fallback_tag_where_there_is_no_api() -> None:
    def script(asked: Asked) -> Answer:
        if asked.path == f"/v2/a/b/manifests/{SUBJECT.replace(':', '-')}":
            return Answer(200, index(entry(1)), {"Content-Type": OCI_INDEX})
        return Answer(404, b"404 page not found")

    with http_source(script) as source:
        assert [one.digest for one in upstream(source).referrers("a/b", SUBJECT)] == [digest_of(b"1")]
        assert upstream(source).referrers("a/b", Digest(digest_of(b"other"))) == []


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"manifests": 3}', b"[" * 100_000], ids=len)
def test_a_list_of_referrers_that_is_none_is_malformed(body: bytes) -> None:
    with http_source(lambda _: Answer(200, body)) as source, pytest.raises(FleetError) as caught:
        upstream(source).referrers("a/b", SUBJECT)
    assert caught.value.reason == "REFERRERS_MALFORMED"


def test_pages_without_end_are_refused() -> None:
    link = {"Link": '</v2/a/b/referrers/x?page=n>; rel="next"'}
    with http_source(lambda _: Answer(200, index(entry(1)), link)) as source, pytest.raises(FleetError) as caught:
        upstream(source).referrers("a/b", SUBJECT)
    assert caught.value.reason == "EVIDENCE_LIMIT"


def test_a_next_page_elsewhere_is_not_asked_for() -> None:
    with http_source(lambda _: Answer(200, index())) as elsewhere:
        page = Answer(200, index(entry(1)), {"Link": f'<{elsewhere.url}/v2/x>; rel="next"'})
        with http_source(lambda _: page) as source, pytest.raises(FleetError) as caught:
            upstream(source).referrers("a/b", SUBJECT)
    assert caught.value.reason == "SOURCE_UNREACHABLE"
    assert elsewhere.asked == []
