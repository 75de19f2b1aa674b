"""Uploads and downloads: streamed, blocking and awaiting; complete or not there at all."""

from __future__ import annotations

import email
import hashlib
import io
import tracemalloc
from pathlib import Path

import httpx
import pytest

from sluice_provider.errors import ClientError, InvalidInput, NotFound, OutcomeUnknown, UnexpectedResponse, Unreachable
from sluice_provider.http.bodies import CHUNK_SIZE, FilePart, Multipart
from sluice_provider.http.flow import Request
from sluice_provider.http.retry import send
from tests.flows import FlowRunner
from tests.http.sink import sink

MIB = 1 << 20


@pytest.fixture
def server():
    """Takes everything."""
    with sink() as state:
        yield state


@pytest.fixture(params=["worker", "triggerer"])
def client(request, server):
    """A blocking or an async client, whose credentials and headers must not reach other hosts."""
    return FlowRunner(
        request.param, {"base_url": f"{server.url}/api/", "auth": Badge(), "headers": {"X-Team": "canary-team"}}
    )


class Badge(httpx.Auth):
    """Shows a badge, and once more when it is refused."""

    def auth_flow(self, request):
        request.headers["Authorization"] = "Bearer canary-badge"
        response = yield request
        if response.status_code == 401:
            yield request


class Zeros(io.RawIOBase):
    """So many bytes, which are not kept in memory."""

    def __init__(self, size):
        self.left = size

    def readable(self):
        return True

    def read(self, count=-1):
        piece = min(count, self.left)
        self.left -= piece
        return bytes(piece)


def part(content=b"a,b\n1,2\n", *, size=..., name="file", opened=None):
    """A file part; `opened` is called each time it is opened."""

    def open_():
        if opened is not None:
            opened.append(1)
        return content() if callable(content) else io.BytesIO(content)

    known = len(content) if size is ... else size
    return FilePart(name, "data.csv", "plain/text", open_, known, "file: data.csv", {"Expires": "0"})


def upload(*parts, fields=None, **more):
    """A call that sends these."""
    return Request("POST", "batch/import", body=Multipart(fields or {}, parts), **more)


# --- uploads


def test_a_form_with_files(client, server):
    """Any MIME parser finds the fields, the files, and their headers; the length is announced."""
    call = upload(part(), part(b"{}", name="template"), fields={"jobName": "Nächtlich", "merge": "False"})
    client(send(call))
    (arrived,) = server.arrived
    assert arrived["headers"]["content-length"] == str(arrived["size"])
    assert "transfer-encoding" not in arrived["headers"]
    head = f"Content-Type: {arrived['headers']['content-type']}\r\n\r\n".encode()
    parts = email.message_from_bytes(head + arrived["body"]).get_payload()
    sent = [(each.get_param("name", header="content-disposition"), each.get_payload(decode=True)) for each in parts]
    assert sent == [
        ("jobName", "Nächtlich".encode()),
        ("merge", b"False"),
        ("file", b"a,b\n1,2\n"),
        ("template", b"{}"),
    ]
    assert (parts[2]["Content-Type"], parts[2]["Expires"], parts[2].get_filename()) == ("plain/text", "0", "data.csv")


def test_names_are_escaped(client, server):
    """They can neither end their line nor their quotes."""
    evil = part()._replace(filename='x"\r\nX-Evil: 1\r\n\r\n.csv')
    client(send(upload(evil, fields={'a"b': "1"})))
    body = server.arrived[0]["body"].decode()
    assert 'filename="x%22%0D%0AX-Evil: 1%0D%0A%0D%0A.csv"' in body
    assert 'name="a%22b"' in body


def test_text_that_cannot_be_encoded(client, server):
    """A lone surrogate is the author's error, and nothing is sent."""
    with pytest.raises(InvalidInput, match="cannot be encoded as UTF-8"):
        upload(part(), fields={"jobName": "\ud800"})
    assert server.arrived == []


def test_any_size_in_constant_memory(client, server):
    """128 MiB are sent with less than 16 in memory."""
    size = 128 * MIB
    call = upload(part(lambda: Zeros(size), size=size))
    tracemalloc.start()
    client(send(call))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert server.arrived[0]["size"] > size
    assert peak < 16 * MIB


def test_an_unknown_length(client, server):
    """Is not announced."""
    client(send(upload(part(b"x" * (3 * CHUNK_SIZE + 1), size=None))))
    (arrived,) = server.arrived
    assert arrived["headers"]["transfer-encoding"] == "chunked"
    assert arrived["size"] > 3 * CHUNK_SIZE


def test_a_rejected_token_sends_the_file_again(client, server):
    """From its start, opened again."""
    server.statuses, opened = [401], []
    client(send(upload(part(b"x" * 10_000, opened=opened))))
    first, second = server.arrived
    assert (first["sha256"], len(opened)) == (second["sha256"], 2)


@pytest.mark.parametrize("after", [1, 5 * CHUNK_SIZE])
def test_an_incomplete_upload_is_sent_again(client, server, after):
    """A request without its end cannot have been applied: it is sent again, from the start, even if not idempotent."""
    server.hang_up_after, opened = [after, after], []
    # Larger than what sockets on the way may hold.
    client(send(upload(part(b"x" * (32 * MIB), opened=opened))))
    assert [each["size"] > 32 * MIB for each in server.arrived] == [False, False, True]
    assert (len(opened), len(client.pauses)) == (3, 2)


def test_an_incomplete_second_upload_is_sent_again(client, server):
    """The complete first one was rejected for its token; the second was never complete."""
    server.statuses, server.hang_up_after = [401], [..., 1]
    client(send(upload(part(b"x" * (32 * MIB)))))
    assert [each["size"] > 32 * MIB for each in server.arrived] == [True, False, True]


def test_a_complete_upload_without_a_response(client, server):
    """The outcome is unknown: a request that is not idempotent is not sent twice."""
    server.hang_up_after = [None]
    with pytest.raises(OutcomeUnknown, match="POST batch/import got no usable response"):
        client(send(upload(part())))
    assert len(server.arrived) == 1


def test_a_complete_idempotent_upload_without_a_response(client, server):
    """Is sent again."""
    server.hang_up_after = [None]
    client(send(upload(part(), idempotent=True)))
    assert len(server.arrived) == 2


@pytest.mark.parametrize("size", [3, 100], ids=["longer", "shorter"])
def test_a_file_that_changes_while_it_is_sent(client, server, size):
    """The request was incomplete, and it is not retried."""
    with pytest.raises(InvalidInput, match=rf"data\.csv changed while it was sent: it no longer has {size} bytes"):
        client(send(upload(part(b"x" * 10, size=size))))
    assert client.pauses == []
    assert not any(each["size"] == int(each["headers"]["content-length"]) for each in server.arrived)


def test_a_file_that_is_gone(client, server):
    """Is the author's, or an upstream task's, error."""

    def gone():
        raise FileNotFoundError("/canary/path")

    with pytest.raises(InvalidInput, match=r"file: data\.csv cannot be read: FileNotFoundError"):
        client(send(upload(part(gone, size=10))))


def test_storage_that_fails_for_a_while(client, server):
    """Reading is retried like every transient failure."""
    moods = [OSError("slow down"), None]

    def moody():
        mood = moods.pop(0)
        if mood:
            raise mood
        return io.BytesIO(b"x" * 10)

    client(send(upload(part(moody, size=10))))
    assert (len(client.pauses), moods) == (1, [])


def test_a_form_without_files(client, server):
    """Is URL-encoded."""
    client(send(Request("POST", "batch/status", form={"jobId": "a b&c", "ü": "1"})))
    (arrived,) = server.arrived
    assert arrived["headers"]["content-type"] == "application/x-www-form-urlencoded"
    assert arrived["body"] == b"jobId=a+b%26c&%C3%BC=1"


def test_a_longer_read_timeout(client, server, monkeypatch):
    """For responses that are known to take long."""
    seen = []
    for client_class in (httpx.Client, httpx.AsyncClient):
        original = client_class.build_request
        monkeypatch.setattr(
            client_class, "build_request", lambda *a, o=original, **k: seen.append(k["timeout"]) or o(*a, **k)
        )
    client(send(Request("GET", "x", read_timeout=600)))
    client(send(Request("GET", "x")))
    assert [(each.read, each.connect) for each in seen] == [(600, 5.0), (5.0, 5.0)]


# --- downloads


class LocalFile:
    """A file in a folder of this machine, complete or not there at all."""

    def __init__(self, folder: Path) -> None:
        self.path, self.part = folder / "export.csv", folder / "export.csv.part"
        self.begun = 0

    def begin(self):
        self.begun += 1
        return self.part.open("wb")

    def commit(self):
        self.part.rename(self.path)

    def rollback(self):
        self.part.unlink(missing_ok=True)

    @property
    def names(self):
        return sorted(each.name for each in self.path.parent.iterdir())


@pytest.fixture
def download(tmp_path):
    """Empty."""
    return LocalFile(tmp_path)


def get(url, download):
    """A call that fetches."""
    return send(Request("GET", url, into=download, idempotent=True))


def test_a_download(client, server, download):
    """Is complete, and not held in memory."""
    content = b"0123456789abcdef" * (2 * MIB)
    server.answer = lambda _path: (200, {}, content)
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    reply = client(get("results", download))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (reply.status, reply.body, download.names) == (200, b"", ["export.csv"])
    assert hashlib.sha256(download.path.read_bytes()).digest() == hashlib.sha256(content).digest()
    assert peak - before < 8 * MIB


def test_an_incomplete_download_is_repeated(client, server, download):
    """Under a temporary name until it is complete."""
    lengths = [{"Content-Length": "100"}, {"Content-Length": "100"}, {}]
    server.answer = lambda _path: (200, lengths.pop(0), b"x" * 50)
    client(get("results", download))
    assert (download.begun, download.names, download.path.read_bytes()) == (3, ["export.csv"], b"x" * 50)


def test_a_download_that_is_never_complete(client, server, download):
    """Leaves no file."""
    server.answer = lambda _path: (200, {"Content-Length": "100"}, b"x" * 50)
    with pytest.raises(Unreachable):
        client(get("results", download))
    assert (download.begun, download.names) == (5, [])


def test_a_disk_that_is_full(client, server, download):
    """The error is the operating system's; no file remains."""

    class Full(io.BytesIO):
        def write(self, _piece):
            raise OSError(28, "No space left on device")

    download.begin = lambda: download.part.touch() or Full()
    with pytest.raises(OSError, match="No space left"):
        client(get("results", download))
    assert download.names == []


def test_an_error_is_not_a_file(client, server, download):
    """It is read as an error as usual."""
    server.answer = lambda _path: (404, {}, b'{"message": "expired"}')
    with pytest.raises(NotFound, match="expired"):
        client(get("results", download))
    assert (download.begun, download.names) == (0, [])


@pytest.mark.parametrize("status", [202, 203, 206])
def test_only_a_complete_file_is_kept(client, server, download, status):
    """It is not ready, or only a part, or was changed on the way."""
    server.answer = lambda _path: (status, {"Content-Type": "application/json"}, b'{"state": "preparing"}')
    with pytest.raises(UnexpectedResponse, match=f"returned {status} with application/json instead of the file"):
        client(get("results", download))
    assert (download.begun, download.names) == (0, [])


def test_a_login_page_is_not_a_file(client, server, download):
    """An expired session at a proxy redirects every request there; a file may itself be an HTML page, though."""
    html = {"Content-Type": "text/html; charset=utf-8"}
    server.answer = lambda path: (200, html, b"<form>") if "login" in path else (302, {"Location": "/login"}, b"")
    with pytest.raises(UnexpectedResponse, match="if a login page or proxy is in front of the service"):
        client(get("results", download))
    assert (download.begun, download.names) == (0, [])
    server.answer = lambda _path: (200, html, b"<p>")
    client(get("results", download))
    assert download.path.read_bytes() == b"<p>"


# --- links to elsewhere


def test_the_connections_host_gets_the_credentials(client, server, download):
    """A whole URL of the connection's own host is a request like any other."""
    client(get(f"{server.url}/files/1", download))
    headers = server.arrived[0]["headers"]
    assert (headers["authorization"], headers["x-team"]) == ("Bearer canary-badge", "canary-team")


@pytest.mark.parametrize("foreign", ["http://localhost:{port}", "http://user:pass@localhost:{port}"])
def test_other_hosts_get_no_credentials(client, server, download, foreign):
    """Neither credentials nor the connection's headers; only what the link itself holds."""
    client.result_hosts = "localhost 127.0.0.1"
    address = foreign.format(port=server.url.rpartition(":")[2])
    client(get(f"{address}/files/1?signature=s", download))
    (arrived,) = server.arrived
    assert arrived["path"] == "/files/1?signature=s"
    assert "canary" not in repr(arrived["headers"])
    assert set(arrived["headers"]) <= {"host", "accept", "accept-encoding", "connection", "user-agent", "authorization"}


def test_another_port_is_another_host(client, server, download):
    """As in browsers: scheme, host and port."""
    client.result_hosts = "127.0.0.1"
    with sink() as other:
        client(get(f"{other.url}/files/1", download))
        assert "canary" not in repr(other.arrived[0]["headers"])


def test_a_redirect_to_another_host(client, server, download):
    """A file may be stored elsewhere: the second request has no credentials."""
    client.result_hosts = "localhost 127.0.0.1"
    port = server.url.rpartition(":")[2]
    moved = {"/files/1": (302, {"Location": f"http://localhost:{port}/store/1?s=1"}, b"")}
    server.answer = lambda path: moved.get(path, (200, {}, b"content"))
    client(get(f"{server.url}/files/1", download))
    at_home, elsewhere = (each["headers"] for each in server.arrived)
    assert ("authorization" in at_home, "canary" in repr(elsewhere)) == (True, False)
    assert download.path.read_bytes() == b"content"


def test_endless_redirects(client, server, download):
    """End after a few."""
    server.answer = lambda _path: (302, {"Location": "/again"}, b"")
    with pytest.raises(ClientError, match="302"):
        client(get(f"{server.url}/files/1", download))
    assert (len(server.arrived), download.names) == (6, [])


def test_a_link_is_shown_without_secrets():
    """Without user, password and query."""
    call = Request("GET", "https://me:canary@files.example.com:8443/a/b?signature=canary")
    assert str(call) == "GET https://files.example.com:8443/a/b"
