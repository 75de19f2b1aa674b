"""What a person sees: jobs, what the remotes hold, the latest requests. Plain HTML made here, everything escaped."""

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

SHOWN = 50

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --quiet: #666 }
@media (prefers-color-scheme: dark) { :root { --quiet: #aaa } }
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 68rem; padding: 0 1rem }
h1 { font-size: 1.5rem; margin: 0 } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem }
p { color: var(--quiet); margin: .3rem 0 }
.scroll { overflow-x: auto }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }
th, td { text-align: left; padding: .3rem .9rem .3rem 0; border-bottom: 1px solid var(--line); white-space: nowrap }
th { color: var(--quiet); font-weight: 500 }
td:last-child { width: 100%; white-space: normal; overflow-wrap: anywhere }
a { color: LinkText }
"""


class Html(str):
    """Text that is HTML already and is not escaped again."""


def document(title: str, parts: Iterable[Html], *, refresh: int = 0) -> HTMLResponse:
    """A whole page; with `refresh`, one that loads itself again after so many seconds."""
    again = f'<meta http-equiv="refresh" content="{refresh}">' if refresh else ""
    text = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>{again}'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head>'
        f"<body><h1>{escape(title)}</h1>{''.join(parts)}</body></html>"
    )
    return HTMLResponse(text.encode(errors="replace"))


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> Html:
    """A table, or a word that there is nothing."""
    lines = ["".join(f"<td>{html(cell)}</td>" for cell in row) for row in rows]
    if not lines:
        return Html("<p>Nothing yet.</p>")
    names = "".join(f"<th>{html(name)}</th>" for name in head)
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return Html(f'<div class="scroll"><table><tr>{names}</tr>{body}</table></div>')


def html(value: object) -> str:
    """Escaped, unless it is HTML."""
    return value if isinstance(value, Html) else escape("" if value is None else str(value))


def heading(text: object) -> Html:
    """A section's heading."""
    return Html(f"<h2>{html(text)}</h2>")


def paragraph(text: object) -> Html:
    """A line of quiet text."""
    return Html(f"<p>{html(text)}</p>")


def link(href: str, text: object) -> Html:
    """A link, if there is somewhere to go."""
    return Html(f'<a href="{escape(href)}">{html(text)}</a>' if href else html(text))


def moment(seconds: float | None) -> str:
    """A time for reading: seconds, UTC."""
    return (iso(seconds) or "").replace("T", " ")[:19]


def route(context: Context, remotes: Sequence[MockService]) -> Route:
    """The page at `/`."""

    async def show(_request: Request) -> HTMLResponse:
        parts = [
            paragraph(f"The clock says {moment(context.clock.now())} UTC. Control: /control/state, /control/requests.")
        ]
        for remote in remotes:
            parts += _remote(remote)
        parts += [heading("Latest requests"), _requests(context.request_log.latest(SHOWN))]
        return document("Sluice sandbox", parts, refresh=3)

    return Route("/", show, methods=["GET"])


def _remote(remote: MockService) -> list[Html]:
    counts = ", ".join(f"{count} {what}" for what, count in remote.counts().items())
    return [heading(remote.title), paragraph(counts), _jobs(remote.jobs()[:SHOWN])]


def _jobs(jobs: Iterable[JobRow]) -> Html:
    head = ("Asked for", "Job", "State", "Rows", "Outcome")
    rows = ((moment(job.created_at), link(job.href, job.job_id), job.status, job.rows, job.outcome) for job in jobs)
    return table(head, rows)


def _requests(requests: Iterable[LoggedRequest]) -> Html:
    """The query is left out: it is the one part shown here that could hold a secret."""
    rows = (
        (moment(seen.time), seen.method, seen.status or "no answer", seen.body_size, seen.fault, seen.path)
        for seen in requests
    )
    return table(("Time", "Method", "Status", "Body bytes", "Fault", "Path"), rows)
