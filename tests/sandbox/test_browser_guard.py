"""What web pages of other sites, and other machines, cannot do to a sandbox on this one."""

from __future__ import annotations

import httpx
import pytest

from sluice_sandbox import Sandbox, __main__
from sluice_sandbox.loopback import is_loopback

JSON = {"Content-Type": "application/json"}
SETTINGS = '{"job_seconds": 77}'


@pytest.fixture
def http(sluice_sandbox):
    """A client without a header of its own, as a browser's page that chooses them."""
    with httpx.Client(base_url=sluice_sandbox.url, trust_env=False) as client:
        yield client


def post(http, **headers):
    """A change of a setting, with these headers (`_` is a dash)."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return http.post("/control/settings", content=SETTINGS, headers=sent)


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        {"Sec_Fetch_Site": "cross-site", "Origin": "https://evil.example"},
    ],
    ids=str,
)
def test_a_page_of_another_site(http, sluice_sandbox, headers):
    """Is refused, also where it only reads, and nothing changes."""
    answer = post(http, Content_Type="application/json", **headers)
    assert (answer.status_code, "other sites" in answer.json()["error"]) == (403, True)
    read = {name.replace("_", "-"): value for name, value in headers.items()}
    assert http.get("/control/state", headers=read).status_code == 403
    assert sluice_sandbox.settings()["job_seconds"] == 3
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    "headers", [{}, {"Sec_Fetch_Site": "none"}, {"Sec_Fetch_Site": "same-origin", "Origin": "{own}"}], ids=str
)
def test_programs_and_the_sandboxs_own_pages(http, sluice_sandbox, headers):
    """Programs send no such header; a page of the sandbox and a user's own request name its origin or none."""
    sent = {name: value.format(own=sluice_sandbox.url) for name, value in headers.items()}
    assert post(http, Content_Type="application/json; charset=utf-8", **sent).status_code == 200
    assert sluice_sandbox.settings()["job_seconds"] == 77


@pytest.mark.parametrize(
    "content_type", ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=json"]
)
@pytest.mark.parametrize("path", ["settings", "faults", "reset", "requests", "kaleidoscope/burst"])
def test_what_is_not_json(http, sluice_sandbox, path, content_type):
    """A form of another site can be sent without asking the sandbox: it is refused, and nothing changes."""
    sluice_sandbox.settings(job_seconds=5)
    headers = {"Content-Type": content_type} if content_type else {}
    answer = http.post(f"/control/{path}", content=SETTINGS, headers=headers)
    assert (answer.status_code, "application/json" in answer.json()["error"]) == (415, True)
    assert sluice_sandbox.settings()["job_seconds"] == 5


@pytest.mark.parametrize("path", ["/control/state", "/", "/kaleidoscope/web/", "/%63ontrol/state"])
@pytest.mark.parametrize("host", ["evil.example", "evil.example:8765", "127.0.0.1.evil.example", "[::1", ""])
def test_a_name_that_leads_to_this_machine(http, path, host):
    """DNS rebinding: the page's own name has become an address of this machine."""
    assert http.get(path, headers={"Host": host}).status_code in (400, 403)  # 400: uvicorn's own, for no name at all


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:99", "127.0.0.1", "[::1]:8765"])
def test_names_of_this_machine(http, host):
    """With any port: a tunnel may have another one."""
    assert http.get("/control/state", headers={"Host": host}).status_code == 200


def test_reading_does_not_change_anything(http, kal, sluice_sandbox):
    """Only a POST clears the log of requests."""
    kal.get("programs")
    assert http.get("/control/requests?clear=1").json() == http.get("/control/requests").json() != []
    assert http.post("/control/requests", headers=JSON).json() != []
    assert sluice_sandbox.requests() == []


# --- listening and sending


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("", False),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.0.1", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example", False),
    ],
)
def test_loopback(host, expected):
    """Names other than localhost are not this machine, whatever they lead to."""
    assert is_loopback(host) is expected


def test_other_machines_may_use_any_name():
    """If the sandbox listens for them, they know it by names that it does not know. Pages of other sites stay out."""
    with Sandbox("0.0.0.0") as sandbox, httpx.Client(base_url=sandbox.url, trust_env=False) as http:
        assert http.get("/control/state", headers={"Host": "sandbox:8765"}).status_code == 200
        sent = {"Host": "sandbox:8765", **JSON}
        assert post(http, **sent, Origin="http://sandbox:8765").status_code == 200
        assert post(http, **sent, Origin="http://evil.example").status_code == 403


def test_the_command_warns(monkeypatch, capsys):
    """Of an address that other machines may reach, and of no other."""
    monkeypatch.setattr(Sandbox, "serve", lambda _self: None)
    __main__.main(["--port", "0", "--host", "0.0.0.0"])
    assert "Warning: the sandbox listens on 0.0.0.0, where other machines may reach it." in capsys.readouterr().err
    __main__.main(["--port", "0"])
    assert "Warning" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "url",
    [
        "http://receiver.example/hook",
        "http://169.254.169.254/latest",
        "http://10.0.0.1:8080/",
        "http://127.0.0.1@evil.example/",
        "http://127.0.0.1.evil.example/",
        "https://[2001:db8::1]/",
        "HTTP://EVIL.EXAMPLE/",
    ],
)
def test_webhooks_stay_on_this_machine(sluice_sandbox, capsys, url):
    """Another host is refused by the control API and by the command, which say what permits it."""
    with pytest.raises(ValueError, match=r"webhooks are sent to this machine only.*--webhooks-anywhere"):
        sluice_sandbox.settings(webhook_url=url)
    assert sluice_sandbox.settings()["webhook_url"] == ""
    with pytest.raises(SystemExit):
        __main__.main(["--port", "0", "--settings", f'{{"webhook_url": "{url}"}}'])
    assert "--webhooks-anywhere" in capsys.readouterr().err


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1/x", "https://localhost/x", "http://[::1]:9/x", "http://127.1.2.3/"]
)
def test_webhooks_to_this_machine(sluice_sandbox, url):
    """Under each of its names."""
    assert sluice_sandbox.settings(webhook_url=url)["webhook_url"] == url


def test_webhooks_to_other_hosts():
    """If the sandbox was started so; a reset does not change that, nor can the control API."""
    with Sandbox(webhooks_anywhere=True) as sandbox:
        sandbox.control("POST", "reset")
        status, settings = sandbox.control("POST", "settings", content={"webhook_url": "http://receiver.example/"})
    assert (status, settings["webhook_url"]) == (200, "http://receiver.example/")
    with pytest.raises(ValueError, match="unknown setting"):
        Sandbox(settings={"webhooks_anywhere": True}, bind=False)
