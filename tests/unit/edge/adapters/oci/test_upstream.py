"""A source as it may behave: token realms, redirects, pages, limits; answers are untrusted."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta

import pytest

from edge.adapters.oci.auth import basic
from edge.adapters.oci.client import Client
from edge.adapters.oci.endpoint import parse_endpoint
from edge.adapters.oci.exchange import Request, discard
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


class TokenSource:
    """Wants a bearer token from its own `/token`; `valid` is the one that it takes."""

    def __init__(self) -> None:
        self.valid = "token-1"
        self.life_s = 300
        self.realm = ""

    def __call__(self, asked: Asked) -> Answer:
        if asked.path.startswith("/token"):
            granted = {"token": self.valid, "expires_in": self.life_s}
            return Answer(200, json.dumps(granted).encode())
        if asked.authorization == f"Bearer {self.valid}":
            return MANIFEST
        realm = self.realm or f"http://{asked.headers['Host']}/token"
        words = f'Bearer realm="{realm}",service="s",scope="repository:a/b:pull"'
        return Answer(401, headers={"WWW-Authenticate": words})


def test_a_token_is_fetched_once_with_the_credential_and_used_from_then_on() -> None:
    with http_source(TokenSource()) as source:
        reader = upstream(source)
        for _ in range(3):
            assert reader.manifest("a/b", "v1").raw == RAW
    tokens = [asked for asked in source.asked if asked.path.startswith("/token")]
    assert [asked.authorization for asked in tokens] == [BASIC]
    assert "service=s" in tokens[0].path
    assert len(source.asked) == 5
    assert all(asked.authorization != BASIC for asked in source.asked if asked not in tokens)


def test_a_token_that_is_refused_on_the_way_is_renewed_once() -> None:
    script = TokenSource()
    with http_source(script) as source:
        reader = upstream(source)
        reader.manifest("a/b", "v1")
        script.valid = "token-2"
        assert reader.manifest("a/b", "v1").raw == RAW
    assert sum(asked.path.startswith("/token") for asked in source.asked) == 2


def test_a_realm_elsewhere_over_plain_http_gets_no_secret() -> None:
    thief = TokenSource()
    script = TokenSource()
    with http_source(thief) as elsewhere, http_source(script) as source:
        script.realm = elsewhere.url.replace("127.0.0.1", "localhost") + "/token"
        with pytest.raises(FleetError) as caught:
            upstream(source).manifest("a/b", "v1")
    assert caught.value.reason == "SOURCE_REFUSED"
    assert elsewhere.asked == []


def test_without_a_credential_a_token_is_asked_for_anonymously() -> None:
    with http_source(TokenSource()) as source:
        assert upstream(source, None).manifest("a/b", "v1").raw == RAW
    assert [asked.authorization for asked in source.asked if asked.path.startswith("/token")] == [None]


def test_a_bearer_credential_is_sent_as_it_is() -> None:
    with http_source(TokenSource()) as source:
        assert upstream(source, Credential(bearer="token-1")).manifest("a/b", "v1").raw == RAW
    assert not any(asked.path.startswith("/token") for asked in source.asked)


def test_a_credential_that_is_refused_is_not_sent_again_and_again() -> None:
    refusal = Answer(401, headers={"WWW-Authenticate": 'Basic realm="r"'})
    with http_source(lambda _: refusal) as source, pytest.raises(FleetError) as caught:
        upstream(source).manifest("a/b", "v1")
    assert (caught.value.kind, caught.value.reason) == (Kind.REFUSED, "SOURCE_REFUSED")
    assert len(source.asked) == 2
    assert "secret" not in str(caught.value) + caught.value.detail


@dataclass
class Issuer:
    """Whoever knows the credential: gives `kept` until one is refused."""

    kept: Credential
    current: Credential
    renewals: int = 0

    def renewed(self, refused: Credential) -> Credential:
        self.renewals += 1
        self.kept = self.current
        return self.kept

    def upstream(self, source: HttpSource) -> OciUpstream:
        endpoint = parse_endpoint(source.url, plaintext=True)
        return OciUpstream(Client(endpoint, voice=SOURCE, credential=lambda _: self.kept, renewed=self.renewed))


class PasswordSource:
    """Takes one password: by Basic itself, or at its own `/token` for a token that ends with the password."""

    def __init__(self, *, by_token: bool) -> None:
        self.by_token = by_token
        self.login = LOGIN

    def __call__(self, asked: Asked) -> Answer:
        valid = basic(self.login)
        if asked.path.startswith("/token"):
            answer = json.dumps({"token": self.login.password, "expires_in": 300}).encode()
            return Answer(200, answer) if asked.authorization == valid else Answer(401)
        if asked.authorization == (f"Bearer {self.login.password}" if self.by_token else valid):
            return MANIFEST
        bearer = f'Bearer realm="http://{asked.headers["Host"]}/token",service="s"'
        return Answer(401, headers={"WWW-Authenticate": bearer if self.by_token else 'Basic realm="r"'})


@pytest.mark.parametrize("by_token", [False, True], ids=["basic", "token"])
@pytest.mark.parametrize("is_known", [False, True], ids=["at-first", "under-way"])
def test_a_credential_that_was_replaced_is_picked_up_within_the_request(by_token: bool, is_known: bool) -> None:
    script, other = PasswordSource(by_token=by_token), Credential("puller", "another")
    issuer = Issuer(LOGIN, LOGIN)
    with http_source(script) as source:
        reader = issuer.upstream(source)
        if is_known:
            reader.manifest("a/b", "v1")
        script.login = issuer.current = other
        assert reader.manifest("a/b", "v1").raw == RAW
        assert reader.manifest("a/b", "v1").raw == RAW
    assert issuer.renewals == 1


@pytest.mark.parametrize("by_token", [False, True], ids=["basic", "token"])
def test_a_credential_that_stays_wrong_ends_as_refused(by_token: bool) -> None:
    script, wrong = PasswordSource(by_token=by_token), Credential("puller", "wrong")
    issuer = Issuer(wrong, wrong)
    with http_source(script) as source:
        for renewals in (1, 2):
            with pytest.raises(FleetError) as caught:
                issuer.upstream(source).manifest("a/b", "v1")
            assert (caught.value.kind, caught.value.reason) == (Kind.REFUSED, "SOURCE_REFUSED")
            assert issuer.renewals == renewals
    assert len(source.asked) <= 8


def test_what_can_be_sent_only_once_is_sent_when_there_is_a_token() -> None:
    script = TokenSource()
    sent: list[bool] = []

    def body() -> Iterator[bytes]:
        sent.append(True)
        yield b"layer"

    with http_source(script) as source:
        client = Client(parse_endpoint(source.url, plaintext=True), voice=SOURCE, credential=lambda _: LOGIN)

        def send() -> int:
            request = Request("POST", "/v2/x", "a/b", headers={"Content-Length": "5"}, body=body())
            answer = client.send(request)
            discard(answer)
            return answer.status

        assert (send(), sent) == (200, [True])
        script.valid = "token-2"
        with pytest.raises(FleetError) as caught:
            send()
        assert caught.value.reason == "SOURCE_FAILED"
        assert (send(), sent) == (200, [True] * 3)
        client.close()


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


def test_a_store_that_it_redirects_to_cannot_name_the_realm_that_gets_the_password() -> None:
    thief = TokenSource()
    with http_source(thief) as elsewhere:
        away = Answer(307, headers={"Location": elsewhere.url + "/v2/x"})
        with http_source(lambda _: away) as source, pytest.raises(FleetError) as caught:
            upstream(source).manifest("a/b", "v1")
    assert caught.value.reason == "SOURCE_REFUSED"
    assert [asked.authorization for asked in elsewhere.asked] == [None]


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


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Answer(401), "SOURCE_REFUSED"),
        (Answer(500), "SOURCE_FAILED"),
        (Answer(429, headers={"Retry-After": "7"}), "SOURCE_BUSY"),
        (Answer(200, b"no token"), "SOURCE_FAILED"),
        (Answer(307, headers={"Location": "http://127.0.0.1:1/"}), "SOURCE_FAILED"),
    ],
    ids=["refuses", "fails", "is-busy", "babbles", "redirects"],
)
def test_a_token_realm_s_failure_has_its_reason(answer: Answer, reason: str) -> None:
    script = TokenSource()
    with http_source(lambda _: answer) as realm, http_source(script) as source:
        script.realm = realm.url + "/token"
        with pytest.raises(FleetError) as caught:
            upstream(source).manifest("a/b", "v1")
    assert caught.value.reason == reason
    assert (caught.value.retry_after == timedelta(seconds=7)) == (reason == "SOURCE_BUSY")


def test_a_token_realm_that_is_not_there_is_a_source_that_is_unreachable() -> None:
    script = TokenSource()
    with http_source(script) as realm:
        script.realm = realm.url + "/token"
    with http_source(script) as source, pytest.raises(FleetError) as caught:
        upstream(source).manifest("a/b", "v1")
    assert caught.value.reason == "SOURCE_UNREACHABLE"


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
