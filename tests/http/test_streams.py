"""Files on their way out and in: streamed on both faces, opened anew for each attempt, there whole or not at all."""

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
def face(request, server):
    """A client on each face, whose credentials and headers must not go astray."""
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
    """So many bytes that nobody keeps."""

    def __init__(self, size):
        self.left = size

    def readable(self):
        return True

    def read(self, count=-1):
        piece = min(count, self.left)
        self.left -= piece
        return bytes(piece)


def part(content=b"a,b\n1,2\n", *, size=..., name="file", opened=None):
    """A file part; `opened` is told each time it is opened."""

    def open_():
        if opened is not None:
            opened.append(1)
        return content() if callable(content) else io.BytesIO(content)

    known = len(content) if size is ... else size
    return FilePart(name, "data.csv", "plain/text", open_, known, "file: data.csv", {"Expires": "0"})


def upload(*parts, fields=None, **more):
    """A call that sends these."""
    return Request("POST", "batch/import", body=Multipart(fields or {}, parts), **more)


# --- out


def test_a_form_with_files(face, server):
    """Any MIME reader finds the fields, the files, and their headers; the length is announced."""
    call = upload(part(), part(b"{}", name="template"), fields={"jobName": "Nächtlich", "merge": "False"})
    face(send(call))
    (arrived,) = server.arrived
    assert arrived["headers"]["content-length"] == str(arrived["size"])
    assert "transfer-encoding" not in arrived["headers"]
    head = f"Content-Type: {arrived['headers']['content-type']}\r\n\r\n".encode()
    parts = email.message_from_bytes(head + arrived["body"]).get_payload()
    told = [(each.get_param("name", header="content-disposition"), each.get_payload(decode=True)) for each in parts]
    assert told == [
        ("jobName", "Nächtlich".encode()),
        ("merge", b"False"),
        ("file", b"a,b\n1,2\n"),
        ("template", b"{}"),
    ]
    assert (parts[2]["Content-Type"], parts[2]["Expires"], parts[2].get_filename()) == ("plain/text", "0", "data.csv")


def test_names_cannot_break_out(face, server):
    """Of their line, or of their quotes."""
    evil = part()._replace(filename='x"\r\nX-Evil: 1\r\n\r\n.csv')
    face(send(upload(evil, fields={'a"b': "1"})))
    body = server.arrived[0]["body"].decode()
    assert 'filename="x%22%0D%0AX-Evil: 1%0D%0A%0D%0A.csv"' in body
    assert 'name="a%22b"' in body


def test_text_that_is_none(face, server):
    """Half a surrogate pair is the author's fault, and nothing is sent."""
    with pytest.raises(InvalidInput, match="cannot be encoded as UTF-8"):
        upload(part(), fields={"jobName": "\ud800"})
    assert server.arrived == []


def test_any_size_in_constant_memory(face, server):
    """128 MiB go through in less than 16."""
    size = 128 * MIB
    call = upload(part(lambda: Zeros(size), size=size))
    tracemalloc.start()
    face(send(call))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert server.arrived[0]["size"] > size
    assert peak < 16 * MIB


def test_a_length_that_is_not_known(face, server):
    """Is not announced."""
    face(send(upload(part(b"x" * (3 * CHUNK_SIZE + 1), size=None))))
    (arrived,) = server.arrived
    assert arrived["headers"]["transfer-encoding"] == "chunked"
    assert arrived["size"] > 3 * CHUNK_SIZE


def test_a_refused_token_sends_the_file_again(face, server):
    """From its start, opened anew."""
    server.statuses, opened = [401], []
    face(send(upload(part(b"x" * 10_000, opened=opened))))
    first, second = server.arrived
    assert (first["sha256"], len(opened)) == (second["sha256"], 2)


@pytest.mark.parametrize("after", [1, 5 * CHUNK_SIZE])
def test_broken_off_in_the_middle_is_no_doubt(face, server, after):
    """A request whose end never left us cannot have been acted on: it is sent again, from the start, also an order."""
    server.hang_up_after, opened = [after, after], []
    # Larger than what sockets on the way may hold.
    face(send(upload(part(b"x" * (32 * MIB), opened=opened))))
    assert [each["size"] > 32 * MIB for each in server.arrived] == [False, False, True]
    assert (len(opened), len(face.pauses)) == (3, 2)


def test_broken_off_in_the_middle_of_the_second_time(face, server):
    """What went through whole was refused for its token; what would have been acted on never did: no doubt."""
    server.statuses, server.hang_up_after = [401], [..., 1]
    face(send(upload(part(b"x" * (32 * MIB)))))
    assert [each["size"] > 32 * MIB for each in server.arrived] == [True, False, True]


def test_broken_off_at_the_end_is_doubt(face, server):
    """All of it arrived, and no answer came: an order is not sent twice."""
    server.hang_up_after = [None]
    with pytest.raises(OutcomeUnknown, match="POST batch/import got no usable response"):
        face(send(upload(part())))
    assert len(server.arrived) == 1


def test_broken_off_at_the_end_of_what_is_repeatable(face, server):
    """Is sent again."""
    server.hang_up_after = [None]
    face(send(upload(part(), idempotent=True)))
    assert len(server.arrived) == 2


@pytest.mark.parametrize("size", [3, 100], ids=["longer", "shorter"])
def test_a_file_that_changes_while_it_is_sent(face, server, size):
    """Nothing whole was sent, and nothing is tried again."""
    with pytest.raises(InvalidInput, match=rf"data\.csv changed while it was sent: it no longer has {size} bytes"):
        face(send(upload(part(b"x" * 10, size=size))))
    assert face.pauses == []
    assert not any(each["size"] == int(each["headers"]["content-length"]) for each in server.arrived)


def test_a_file_that_is_gone(face, server):
    """Is the author's, or an upstream task's, fault."""

    def gone():
        raise FileNotFoundError("/canary/path")

    with pytest.raises(InvalidInput, match=r"file: data\.csv cannot be read: FileNotFoundError"):
        face(send(upload(part(gone, size=10))))


def test_storage_that_fails_for_a_while(face, server):
    """Reading is tried again like everything else that passes."""
    moods = [OSError("slow down"), None]

    def moody():
        mood = moods.pop(0)
        if mood:
            raise mood
        return io.BytesIO(b"x" * 10)

    face(send(upload(part(moody, size=10))))
    assert (len(face.pauses), moods) == (1, [])


def test_a_form_without_files(face, server):
    """Is encoded as every form is."""
    face(send(Request("POST", "batch/status", form={"jobId": "a b&c", "ü": "1"})))
    (arrived,) = server.arrived
    assert arrived["headers"]["content-type"] == "application/x-www-form-urlencoded"
    assert arrived["body"] == b"jobId=a+b%26c&%C3%BC=1"


def test_a_longer_wait_for_one_answer(face, server, monkeypatch):
    """Where the remote is known to take its time."""
    seen = []
    for client in (httpx.Client, httpx.AsyncClient):
        original = client.build_request
        monkeypatch.setattr(
            client, "build_request", lambda *a, o=original, **k: seen.append(k["timeout"]) or o(*a, **k)
        )
    face(send(Request("GET", "x", read_timeout=600)))
    face(send(Request("GET", "x")))
    assert [(each.read, each.connect) for each in seen] == [(600, 5.0), (5.0, 5.0)]


# --- in


class Shelf:
    """A landing in a folder of this machine."""

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
def shelf(tmp_path):
    """Empty."""
    return Shelf(tmp_path)


def get(url, shelf):
    """A call that fetches."""
    return send(Request("GET", url, into=shelf, idempotent=True))


def test_an_answer_goes_into_a_file(face, server, shelf):
    """Whole, and not into memory."""
    content = b"0123456789abcdef" * (2 * MIB)
    server.answer = lambda _path: (200, {}, content)
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    reply = face(get("results", shelf))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (reply.status, reply.body, shelf.names) == (200, b"", ["export.csv"])
    assert hashlib.sha256(shelf.path.read_bytes()).digest() == hashlib.sha256(content).digest()
    assert peak - before < 8 * MIB


def test_an_answer_that_breaks_off_is_fetched_again(face, server, shelf):
    """Under a temporary name all the while."""
    lengths = [{"Content-Length": "100"}, {"Content-Length": "100"}, {}]
    server.answer = lambda _path: (200, lengths.pop(0), b"x" * 50)
    face(get("results", shelf))
    assert (shelf.begun, shelf.names, shelf.path.read_bytes()) == (3, ["export.csv"], b"x" * 50)


def test_an_answer_that_never_comes_whole(face, server, shelf):
    """Leaves nothing that could be mistaken for it."""
    server.answer = lambda _path: (200, {"Content-Length": "100"}, b"x" * 50)
    with pytest.raises(Unreachable):
        face(get("results", shelf))
    assert (shelf.begun, shelf.names) == (5, [])


def test_a_disk_that_is_full(face, server, shelf):
    """The error is the system's own; nothing remains."""

    class Full(io.BytesIO):
        def write(self, _piece):
            raise OSError(28, "No space left on device")

    shelf.begin = lambda: shelf.part.touch() or Full()
    with pytest.raises(OSError, match="No space left"):
        face(get("results", shelf))
    assert shelf.names == []


def test_an_error_is_not_a_file(face, server, shelf):
    """It is read and judged as ever."""
    server.answer = lambda _path: (404, {}, b'{"message": "expired"}')
    with pytest.raises(NotFound, match="expired"):
        face(get("results", shelf))
    assert (shelf.begun, shelf.names) == (0, [])


@pytest.mark.parametrize("status", [202, 203, 206])
def test_only_a_whole_file_is_one(face, server, shelf, status):
    """It is not ready, or this is a part of it, or something on the way has changed it."""
    server.answer = lambda _path: (status, {"Content-Type": "application/json"}, b'{"state": "preparing"}')
    with pytest.raises(UnexpectedResponse, match=f"returned {status} with application/json instead of the file"):
        face(get("results", shelf))
    assert (shelf.begun, shelf.names) == (0, [])


def test_the_page_of_a_login_is_no_file(face, server, shelf):
    """Where a session at a proxy has ended, every call leads there; a file may be a page itself, though."""
    html = {"Content-Type": "text/html; charset=utf-8"}
    server.answer = lambda path: (200, html, b"<form>") if "login" in path else (302, {"Location": "/login"}, b"")
    with pytest.raises(UnexpectedResponse, match="if a login page or proxy is in front of the service"):
        face(get("results", shelf))
    assert (shelf.begun, shelf.names) == (0, [])
    server.answer = lambda _path: (200, html, b"<p>")
    face(get("results", shelf))
    assert shelf.path.read_bytes() == b"<p>"


# --- links to elsewhere


def test_at_home_we_show_who_we_are(face, server, shelf):
    """A whole URL of the connection's own host is a call like any other."""
    face(get(f"{server.url}/files/1", shelf))
    headers = server.arrived[0]["headers"]
    assert (headers["authorization"], headers["x-team"]) == ("Bearer canary-badge", "canary-team")


@pytest.mark.parametrize("foreign", ["http://localhost:{port}", "http://user:pass@localhost:{port}"])
def test_elsewhere_we_do_not(face, server, shelf, foreign):
    """Neither credentials nor the connection's headers; what the link itself holds is the link's affair."""
    address = foreign.format(port=server.url.rpartition(":")[2])
    face(get(f"{address}/files/1?signature=s", shelf))
    (arrived,) = server.arrived
    assert arrived["path"] == "/files/1?signature=s"
    assert "canary" not in repr(arrived["headers"])
    assert set(arrived["headers"]) <= {"host", "accept", "accept-encoding", "connection", "user-agent", "authorization"}


def test_another_port_is_elsewhere(face, server, shelf):
    """As browsers see it: scheme, host and port."""
    with sink() as other:
        face(get(f"{other.url}/files/1", shelf))
        assert "canary" not in repr(other.arrived[0]["headers"])


def test_a_redirect_to_elsewhere(face, server, shelf):
    """A file may be kept elsewhere: the second request shows no badge."""
    port = server.url.rpartition(":")[2]
    moved = {"/files/1": (302, {"Location": f"http://localhost:{port}/store/1?s=1"}, b"")}
    server.answer = lambda path: moved.get(path, (200, {}, b"content"))
    face(get(f"{server.url}/files/1", shelf))
    at_home, elsewhere = (each["headers"] for each in server.arrived)
    assert ("authorization" in at_home, "canary" in repr(elsewhere)) == (True, False)
    assert shelf.path.read_bytes() == b"content"


def test_redirects_without_end(face, server, shelf):
    """End after a few."""
    server.answer = lambda _path: (302, {"Location": "/again"}, b"")
    with pytest.raises(ClientError, match="302"):
        face(get(f"{server.url}/files/1", shelf))
    assert (len(server.arrived), shelf.names) == (6, [])


def test_words_about_a_link_hold_no_secret():
    """User, password and query stay out."""
    call = Request("GET", "https://me:canary@files.example.com:8443/a/b?signature=canary")
    assert str(call) == "GET https://files.example.com:8443/a/b"
