"""Whatever a service sends, a request ends in time, and no more of its response is read than fits into memory."""

from __future__ import annotations

import gzip
import io
import threading
import time
import zlib

import httpx
import pytest

from sluice_provider.errors import ResponseTooLarge, SluiceError, UnexpectedResponse, Unreachable
from sluice_provider.http.bodies import FilePart, Multipart
from sluice_provider.http.client_config import ConnectionFields
from sluice_provider.http.flow import Request
from sluice_provider.http.limits import Limits
from tests.flows import FlowRunner, client_options
from tests.http.raw_server import serve_pieces

MEGABYTE = 1_000_000
both = pytest.mark.parametrize("name", ["worker", "triggerer"])


def get(path="x", **more):
    """One attempt, whose response or error is the result."""
    return (yield Request("GET", path, idempotent=True, **more))


def runner(name, url, **limits):
    return FlowRunner(name, {"base_url": url}, limits=Limits(**limits))


def ok(body=b"", *headers):
    """A response with a length. The server closes the connection after each response, so a client must not reuse it."""
    length = f"Content-Length: {len(body)}".encode()
    return b"\r\n".join([b"HTTP/1.1 200 OK", b"Connection: close", length, *headers, b"", b""]) + body


def endless(*headers):
    """The head of a response that ends with the connection."""
    return b"\r\n".join([b"HTTP/1.1 200 OK", b"Connection: close", *headers, b"", b""])


def dripping(first, count=500):
    """A service that sends another byte every 10 ms: far more often than the read timeout wants it."""
    yield first
    for _ in range(count):
        time.sleep(0.01)
        yield b" "


# --- size


def zeros(_line):
    yield endless()
    for _ in range(40):
        yield bytes(100_000)


def bomb(_line):
    yield ok(gzip.compress(bytes(40 * MEGABYTE)), b"Content-Encoding: gzip")


@both
@pytest.mark.parametrize("answer", [zeros, bomb])
def test_a_body_is_read_up_to_the_limit(name, answer):
    """Counted as it is decompressed."""
    with (
        serve_pieces(answer) as url,
        pytest.raises(ResponseTooLarge, match="more than 1,000,000 bytes"),
    ):
        runner(name, url, max_response_bytes=MEGABYTE)(get())
    with serve_pieces(answer) as url:
        assert runner(name, url, max_response_bytes=40 * MEGABYTE)(get()).status == 200


@both
def test_the_limit_is_exact(name):
    """A body of just that size is read."""
    with serve_pieces(lambda _: [ok(b"12345")]) as url:
        assert runner(name, url, max_response_bytes=5)(get()).body == b"12345"
        with pytest.raises(ResponseTooLarge):
            runner(name, url, max_response_bytes=4)(get())


@both
def test_an_error_is_not_retried_by_airflow(name):
    """The next response would be as large."""
    with serve_pieces(lambda _: [ok(b"12345")]) as url, pytest.raises(ResponseTooLarge) as caught:
        runner(name, url, max_response_bytes=4)(get())
    assert not caught.value.retryable


DEFLATED = zlib.compressobj(wbits=-15)
RAW_DEFLATE = DEFLATED.compress(b"12345") + DEFLATED.flush()


@both
@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", gzip.compress(b"12345")),
        ("x-gzip", gzip.compress(b"123") + gzip.compress(b"45") + b"\0\0"),
        ("deflate", zlib.compress(b"12345")),
        ("deflate", RAW_DEFLATE),
        ("identity", b"12345"),
    ],
    ids=["gzip", "two-members", "zlib", "raw-deflate", "identity"],
)
def test_what_is_decoded(name, coding, body):
    """Compressed bodies in every documented form, also if they come byte by byte."""
    answer = ok(body, f"Content-Encoding: {coding}".encode())
    with serve_pieces(lambda _: [answer[at : at + 1] for at in range(len(answer))]) as url:
        assert runner(name, url)(get()).body == b"12345"


@both
def test_an_encoding_that_was_not_requested(name):
    """It is not decoded, whatever is installed: such a decoder has no limit."""
    with (
        serve_pieces(lambda _: [ok(b"x", b"Content-Encoding: br")]) as url,
        pytest.raises(UnexpectedResponse, match="content encoding 'br'"),
    ):
        runner(name, url)(get())
    with (
        serve_pieces(lambda _: [ok(b"x", b"Content-Encoding: gzip, gzip")]) as url,
        pytest.raises(UnexpectedResponse, match="'gzip, gzip'"),
    ):
        runner(name, url)(get())


@both
def test_a_compressed_body_that_breaks_off(name):
    """Its length may be right, and its end still missing."""
    with (
        serve_pieces(lambda _: [ok(gzip.compress(b"12345")[:-3], b"Content-Encoding: gzip")]) as url,
        pytest.raises(Unreachable, match="DecodingError: the compressed body is incomplete"),
    ):
        runner(name, url)(get())


@both
@pytest.mark.parametrize("size", [70_000, 1_000_000])
def test_long_headers(name, size):
    """More than ours, and more than the HTTP library reads."""
    with (
        serve_pieces(lambda _: [ok(b"", b"X-Long: " + b"x" * size)]) as url,
        pytest.raises(ResponseTooLarge, match="65,536"),
    ):
        runner(name, url)(get())


def with_token(name, url, **limits):
    fields = ConnectionFields("c", url, None, "id", f"secret of {url}")
    return FlowRunner(name, client_options(fields), limits=Limits(**limits))


@both
def test_a_token_response_is_limited(name):
    """Before there is a response of the service itself."""
    with serve_pieces(zeros) as url, pytest.raises(ResponseTooLarge, match="the token request was answered with more"):
        with_token(name, url)(get())


@both
def test_a_rejection_of_a_token_is_limited(name):
    """httpx reads it before it sends the request again."""

    def answer(line):
        if "token" in line:
            return [ok(b'{"access_token": "t"}')]
        return [endless().replace(b"200 OK", b"401 No"), *[bytes(100_000)] * 40]

    with serve_pieces(answer) as url, pytest.raises(ResponseTooLarge, match="GET /x was answered with more"):
        with_token(name, url)(get())


# --- time


@both
@pytest.mark.parametrize("first", [endless(), b"HTTP/1.1 200 OK\r\nX-Slow: "])
def test_a_dripping_response_ends(name, first):
    """Each piece comes in time; the whole does not."""
    with serve_pieces(lambda _: dripping(first)) as url, pytest.raises(Unreachable) as caught:
        runner(name, url, request_timeout=0.3)(get())
    assert "ReadTimeout: the request took longer than 0.3 s in all, which is request_timeout" in str(caught.value)
    assert caught.value.maybe_applied


@both
def test_a_dripping_token_response_ends(name):
    """It belongs to the request that needs the token, which was not sent."""
    with (
        serve_pieces(lambda _: dripping(endless())) as url,
        pytest.raises(Unreachable, match=r"0\.3 s in all") as caught,
    ):
        with_token(name, url, request_timeout=0.3)(get())
    assert "getting a token for GET x" in str(caught.value)
    assert not caught.value.maybe_applied


@both
def test_a_dripping_proxy_ends(name):
    """A proxy is connected to in another way."""
    with serve_pieces(lambda _: dripping(endless())) as url, pytest.raises(Unreachable, match=r"0\.3 s in all"):
        FlowRunner(
            name, {"base_url": "http://api.invalid", "proxy": httpx.Proxy(url)}, limits=Limits(request_timeout=0.3)
        )(get())


@both
def test_a_service_that_does_not_read(name):
    """An upload has a deadline of its own."""

    class Endless(io.RawIOBase):
        def read(self, _size=-1):
            return bytes(100_000)

    body = Multipart({}, [FilePart("f", "f", "text/plain", Endless, None, "f")])

    def upload():
        return (yield Request("POST", "x", body=body))

    with (
        serve_pieces(lambda _: [], reads=False) as url,
        pytest.raises(Unreachable, match=r"WriteTimeout: .* 0.3 s in all, which is transfer_timeout"),
    ):
        runner(name, url, transfer_timeout=0.3)(upload())


class Kept:
    """A file in memory."""

    def __init__(self):
        self.file, self.state = io.BytesIO(), ""

    def begin(self):
        return self.file

    def commit(self):
        self.state = "complete"

    def rollback(self):
        self.state = "deleted"


@both
def test_a_download_has_its_own_limits(name):
    """A file may be of any size, and take longer; not without end."""
    kept = Kept()
    with serve_pieces(zeros) as url:
        runner(name, url, max_response_bytes=1, request_timeout=0.001)(get(into=kept))
    assert kept.state == "complete"
    kept = Kept()
    with serve_pieces(lambda _: dripping(endless())) as url, pytest.raises(Unreachable, match="transfer_timeout"):
        runner(name, url, transfer_timeout=0.3)(get(into=kept))
    assert kept.state == "deleted"


@both
def test_one_request_may_have_a_shorter_deadline(name):
    """And, by its read timeout, a longer one."""
    with (
        serve_pieces(lambda _: dripping(endless())) as url,
        pytest.raises(Unreachable, match="in all") as caught,
    ):
        runner(name, url)(get(max_duration=0.2))
    assert "of the connection" not in str(caught.value)
    with serve_pieces(lambda _: dripping(endless(), count=30)) as url:
        assert runner(name, url, request_timeout=0.05)(get(read_timeout=600.0)).status == 200


@both
def test_waiting_for_another_requests_token_ends(name):
    """While that one drips, too, for longer than this one may wait."""

    def fail():
        with pytest.raises(SluiceError):
            with_token(name, url)(get())

    with serve_pieces(lambda _: dripping(endless(), count=200)) as url:
        slow = threading.Thread(target=fail)
        auth = client_options(ConnectionFields("c", url, None, "id", f"secret of {url}"))["auth"]
        slow.start()
        while not auth.token_cache.lock.locked():
            time.sleep(0.001)
        with pytest.raises(Unreachable, match="another request of this process was getting a token") as caught:
            with_token(name, url, request_timeout=0.2)(get())
        assert not caught.value.maybe_applied
    slow.join()
