"""The status page and the web pages of Kaleidoscope: contents and escaping."""

from __future__ import annotations

import httpx

EVIL = "<script>alert('&')</script>"
ESCAPED = "&lt;script&gt;"


def _page(sluice_sandbox, path=""):
    return httpx.get(f"{sluice_sandbox.url}/{path}")


def test_status_page(kal, sluice_sandbox):
    """Jobs with status and counts, the number of records, the latest requests."""
    import_id = kal.result({"symbol": "H"})["id"]
    page = _page(sluice_sandbox)
    assert page.headers["content-type"].startswith("text/html")
    for text in (import_id, "completed", "1 created", "records of Element: 1", "/kaleidoscope/push/imports", "refresh"):
        assert text in page.text


def test_empty_status_page(sluice_sandbox):
    """Without jobs and requests."""
    assert "No entries." in _page(sluice_sandbox).text


def test_web_pages_of_imports_and_operations(kal, sluice_sandbox):
    """With their records and rejected rows; no login is needed."""
    operation_id = sluice_sandbox.state()["kaleidoscope"]["ids"]["operation_id"]
    rows = {"symbol": "H", "name": "Hydrogen"}, {"symbol": "X", "atomic_number": "many"}
    import_id = kal.result(*rows, operation_id=operation_id)["id"]
    page = _page(sluice_sandbox, f"kaleidoscope/web/imports/{import_id}")
    assert page.status_code == 200
    assert all(text in page.text for text in ("Hydrogen", "invalid_format", f"../operations/{operation_id}"))
    page = _page(sluice_sandbox, f"kaleidoscope/web/operations/{operation_id}")
    assert all(text in page.text for text in ("Hydrogen", import_id))


def test_web_pages_of_registrations(kal, drafts, sluice_sandbox):
    """On the status page, on the operation's page, and one page each with history and results."""
    file = sluice_sandbox.register_file("compounds <1>.csv", "")["registration"]
    record = {"record_id": "r7", "status": "not_found", "error_message": "no such compound"}
    path = f"operations/{file['operation_id']}/register/{file['file_id']}/results"
    kal.post(path, {"status": "error", "message": "one is missing", "records": [record]})
    drafts.stage({"name": "Caffeine"})
    submission = drafts.submit().json()
    page = _page(sluice_sandbox)
    words = ("registration of compounds &lt;1&gt;.csv, one is missing", "submission of drafts", "files: 2", "drafts: 1")
    assert all(text in page.text for text in words)
    for path in (f"registrations/{file['id']}", f"registrations/{submission['id']}"):
        assert f'href="/kaleidoscope/web/{path}"' in page.text
    page = _page(sluice_sandbox, f"kaleidoscope/web/operations/{file['operation_id']}")
    assert all(text in page.text for text in (file["id"], submission["id"], "failed", "submitted", "Caffeine"))
    page = _page(sluice_sandbox, f"kaleidoscope/web/registrations/{file['id']}")
    assert all(text in page.text for text in ("r7", "no such compound", "pending", "failed", "one is missing"))
    assert 'http-equiv="refresh"' not in page.text
    page = _page(sluice_sandbox, f"kaleidoscope/web/registrations/{submission['id']}")
    assert all(text in page.text for text in ("submitted", 'http-equiv="refresh"'))


def test_unknown_pages(sluice_sandbox):
    """404 with a page."""
    for path in ("imports/other", "operations/other", "registrations/other"):
        page = _page(sluice_sandbox, f"kaleidoscope/web/{path}")
        assert (page.status_code, "Not found" in page.text) == (404, True)


def test_everything_is_escaped(kal, sluice_sandbox):
    """Keys, values, field names, rejected values and paths."""
    rows = {"symbol": EVIL, "name": EVIL, EVIL: EVIL}, {"symbol": "X", "atomic_number": EVIL}
    import_id = kal.result(*rows)["id"]
    kal.http.get(f"nowhere/{EVIL}")
    for path in ("", f"kaleidoscope/web/imports/{import_id}"):
        text = _page(sluice_sandbox, path).text
        assert "<script>" not in text
        assert ESCAPED in text
