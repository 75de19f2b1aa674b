"""What a test may turn, and the sandbox's clock, which is one of those things: nothing here ever needs a real wait."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, fields
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class InvalidControlInput(ValueError):
    """The control interface was asked for something it does not know; the text says what it does know."""


@dataclass
class Settings:
    """Each with its meaning; a number is never negative."""

    job_seconds: float = 3.0  # how long a remote job runs, on the sandbox's clock; fixed when the job is asked for
    rejected_rows: int = 0  # the first so many rows of each job asked for from now on are refused
    rate_limit: int = 0  # requests per second, beyond which a remote answers 429 with Retry-After; 0: no limit
    token_lifetime: int = 3600  # seconds an access token given out from now on is good for
    page_size: int = 100  # rows a listing gives unless asked for fewer; it never gives more
    first_page_number: int = 1  # what a remote whose documentation does not say calls its first page
    max_body_bytes: int = 1_048_576  # bytes; Fastify's own default
    clock_advance: float = 0.0  # seconds the sandbox's clock is ahead; posting a number adds it
    advance_per_poll: float = 0.0  # seconds the clock moves on at each look at one job
    running_import_status: str = "processing"  # Kaleidoscope: import_status of an import that has started
    fail_imports: int = 0  # Kaleidoscope: the next so many imports fail as a whole
    imports_not_found: bool = False  # Kaleidoscope: looking at an import answers 404
    accept_any_source: bool = False  # Kaleidoscope: any source_id will do
    create_unknown_key_fields: bool = False  # Kaleidoscope: an unknown key field is made instead of refused
    registrar: str = ""  # Kaleidoscope: what answers by itself after job_seconds: nobody, "completes" or "fails"
    results_processing_seconds: float = 0.0  # Kaleidoscope: how long a registrar's results are being processed
    accept_repeated_results: bool = False  # Kaleidoscope: results for what is over are taken, not refused
    staging_table: bool = True  # Kaleidoscope: the operation has a table in which drafts are staged
    webhook_url: str = ""  # Kaleidoscope: where registration events are sent; if empty, nowhere
    webhook_secret: str = ""  # Kaleidoscope: what the receiver knows too
    webhook_signing: str = "plain"  # Kaleidoscope: how a webhook proves itself: plain or hmac
    webhook_duplicates: int = 0  # Kaleidoscope: so many times more each webhook is sent
    webhook_retries: int = 8  # Kaleidoscope: so many times more a webhook is tried that nobody took
    webhook_retry_delay: float = 0.2  # Kaleidoscope: real seconds before the first of those, doubled for each other
    webhook_concurrency: int = 16  # Kaleidoscope: so many webhooks may be under way at the same time
    busy_flag_delay: float = 0.0  # Kili: seconds until a connection shows that it is checking or applying
    other_assets: int = 0  # Kili: assets of the project that did not come through a connection
    other_assets_per_count: int = 0  # Kili: so many more of them each time the project's assets are counted
    max_applied_differences: int = 0  # Kili: of the differences that are to be applied only so many are; 0: all
    ignore_validations: int = 0  # Kili: the next so many validations are accepted, and nothing comes of them
    extra_total_differences: int = 0  # Kili: so many differences more in total than there are to add and to remove
    reject_concurrent_checks: bool = False  # Kili: computing differences is refused while they are being computed
    legacy_schema: bool = False  # Kili: a server without isApplyingDataDifferences and lastCheck
    integration_status: str = ""  # Kili: the status of all integrations, if not their own
    max_upload_bytes: int = 1 << 30  # Liquid Decisions: bytes of one request
    reject_jobs: int = 0  # Liquid Decisions: the next so many jobs are rejected at once
    fail_jobs: int = 0  # Liquid Decisions: the next so many jobs fail in the end
    export_links: str = "links"  # Liquid Decisions: where links are: links, reason, email, or other_host
    export_rows_per_file: int = 1000  # Liquid Decisions: rows in one file of an export
    link_lifetime: float = 604_800.0  # Liquid Decisions: seconds a link is good for; a week
    running_changeset_status: str = "IN_PROGRESS"  # FinSpace: what a changeset that has started is called
    fail_changesets: int = 0  # FinSpace: the next so many changesets fail, with this errorType:
    changeset_error_type: str = "An internal error has occurred."
    changeset_not_found_polls: int = (
        0  # FinSpace: the first so many looks at each changeset asked for from now on answer 404
    )
    max_running_changesets: int = 10  # FinSpace: so many changesets of an environment may be under way
    denied_bucket: str = ""  # FinSpace: the bucket whose reading is not permitted
    signature_clock_skew: int = 0  # FinSpace: seconds that the remote's own clock is ahead when it judges signatures

    def change(self, changes: object) -> None:
        """All of the changes or, if one is wrong, none."""
        if not isinstance(changes, dict):
            raise InvalidControlInput("settings are a JSON object")
        checked = {name: self._checked(name, value) for name, value in changes.items()}
        for name, value in checked.items():
            setattr(self, name, self.clock_advance + value if name == "clock_advance" else value)

    def _checked(self, name: str, value: object) -> Any:
        kinds: Mapping[str, type] = {field.name: type(field.default) for field in fields(self)}
        if name not in kinds:
            raise InvalidControlInput(f"there is no setting {name!r}; there are {', '.join(kinds)}")
        kind = kinds[name]
        right = type(value) is kind or (kind is float and type(value) is int)
        if not right or (kind in (int, float) and not 0 <= value < _ENDLESS):  # type: ignore[operator]
            raise InvalidControlInput(f"{name} is {_KINDS[kind]}, not {value!r}")
        if value not in _WORDS.get(name, (value,)):
            raise InvalidControlInput(f"{name} is one of {', '.join(map(repr, _WORDS[name]))}, not {value!r}")
        return kind(value)

    def reset(self) -> None:
        """Back to the defaults, the clock included."""
        self.__init__()  # type: ignore[misc]

    def to_json(self) -> dict[str, Any]:
        """All settings by name."""
        return asdict(self)


_ENDLESS = 10_000_000_000  # as seconds some 300 years, which a date can still hold
_WORDS = {"registrar": ("", "completes", "fails"), "webhook_signing": ("plain", "hmac")}
_KINDS = {float: "a number from 0", int: "a whole number from 0", bool: "true or false", str: "a text"}


class Clock:
    """Real time, or that of another source, moved on by as much as the settings say."""

    def __init__(self, settings: Settings, source: Callable[[], float] = time.time) -> None:
        self._settings = settings
        self.source = source  # seconds since 1970, as clients know them

    def now(self) -> float:
        """Seconds since 1970."""
        return self.source() + self._settings.clock_advance

    def look(self) -> None:
        """Somebody looks at a job: the clock may be set to move on."""
        self._settings.clock_advance += self._settings.advance_per_poll


def iso(seconds: float | None) -> str | None:
    """ISO 8601 in UTC with milliseconds and a Z, as JavaScript writes it."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
