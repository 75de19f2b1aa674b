"""The status page at `/`: jobs and data of each service, and the latest requests. Values are escaped."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from starlette.responses import HTMLResponse
from starlette.routing import Route

from sluice_sandbox.settings import iso

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from starlette.requests import Request

    from sluice_sandbox.context import Context
    from sluice_sandbox.request_log import LoggedRequest
    from sluice_sandbox.service import JobRow, MockService

MAX_ROWS = 50

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --muted: #666 }
@media (prefers-color-scheme: dark) { :root { --muted: #aaa } }
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 68rem; padding: 0 1rem }
h1 { font-size: 1.5rem; margin: 0 } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem }
p { color: var(--muted); margin: .3rem 0 }
.scroll { overflow-x: auto }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }
th, td { text-align: left; padding: .3rem .9rem .3rem 0; border-bottom: 1px solid var(--line); white-space: nowrap }
th { color: var(--muted); font-weight: 500 }
td:last-child { width: 100%; white-space: normal; overflow-wrap: anywhere }
a { color: LinkText }
"""


class Html(str):
    """Text that is HTML already and must not be escaped."""


def document(title: str, parts: Iterable[Html], *, refresh: int = 0) -> HTMLResponse:
    """A whole page; it reloads every `refresh` seconds, 0: never."""
    reload = f'<meta http-equiv="refresh" content="{refresh}">' if refresh else ""
    text = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>{reload}'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head>'
        f"<body><h1>{escape(title)}</h1>{''.join(parts)}</body></html>"
    )
    return HTMLResponse(text.encode(errors="replace"))


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> Html:
    """A table, or a note that it is empty."""
    lines = ["".join(f"<td>{html(cell)}</td>" for cell in row) for row in rows]
    if not lines:
        return Html("<p>No entries.</p>")
    names = "".join(f"<th>{html(name)}</th>" for name in head)
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return Html(f'<div class="scroll"><table><tr>{names}</tr>{body}</table></div>')


def html(value: object) -> str:
    """Escaped, unless it is `Html`."""
    return value if isinstance(value, Html) else escape("" if value is None else str(value))


def heading(text: object) -> Html:
    """The heading of a section."""
    return Html(f"<h2>{html(text)}</h2>")


def paragraph(text: object) -> Html:
    """A line of muted text."""
    return Html(f"<p>{html(text)}</p>")


def link(href: str, text: object) -> Html:
    """A link, or only its text if `href` is empty."""
    return Html(f'<a href="{escape(href)}">{html(text)}</a>' if href else html(text))


def format_time(seconds: float | None) -> str:
    """Date and time in UTC, to the second; seconds since 1970."""
    return (iso(seconds) or "").replace("T", " ")[:19]


def route(context: Context, services: Sequence[MockService]) -> Route:
    """The page at `/`."""

    async def show(_request: Request) -> HTMLResponse:
        now = format_time(context.clock.now())
        parts = [paragraph(f"Sandbox time: {now} UTC. Control API: /control/state, /control/requests.")]
        for service in services:
            parts += _service(service)
        parts += [heading("Latest requests"), _requests(context.request_log.latest(MAX_ROWS))]
        return document("Sluice sandbox", parts, refresh=3)

    return Route("/", show, methods=["GET"])


def _service(service: MockService) -> list[Html]:
    counts = ", ".join(f"{name}: {count}" for name, count in service.counts().items())
    return [heading(service.title), paragraph(counts), _jobs(service.jobs()[:MAX_ROWS])]


def _jobs(jobs: Iterable[JobRow]) -> Html:
    head = ("Submitted", "Job", "Status", "Rows", "Details")
    rows = (
        (format_time(job.created_at), link(job.href, job.job_id), job.status, job.rows, job.outcome) for job in jobs
    )
    return table(head, rows)


def _requests(requests: Iterable[LoggedRequest]) -> Html:
    """Without the query, which could contain a secret."""
    rows = (
        (format_time(each.time), each.method, each.status or "no response", each.body_size, each.fault, each.path)
        for each in requests
    )
    return table(("Time", "Method", "Status", "Body bytes", "Fault", "Path"), rows)
