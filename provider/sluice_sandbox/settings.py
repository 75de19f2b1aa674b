"""Settings that tests change (`POST /control/settings`), and the clock that follows them instead of real waiting."""

from __future__ import annotations

import time
from dataclasses import Field, asdict, dataclass, field, fields
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class InvalidControlInput(ValueError):
    """The control API or the command line got something it does not accept; the message says what it accepts."""


def _setting(default: Any, meaning: str, *, choices: tuple[str, ...] = ()) -> Any:
    return field(default=default, metadata={"meaning": meaning, "choices": choices})


@dataclass
class Settings:
    """All settings. Numbers must not be negative. `python -m sluice_sandbox --list-settings` prints this table."""

    # all services
    job_seconds: float = _setting(3.0, "seconds a new job runs, on the sandbox's clock")
    rate_limit: int = _setting(0, "requests per second; more are answered 429 with Retry-After; 0: no limit")
    token_lifetime: int = _setting(3600, "seconds a new access token is valid")
    page_size: int = _setting(100, "maximum and default number of rows in one page of a listing")
    clock_advance: float = _setting(0.0, "seconds the sandbox's clock is ahead of real time; posted values are added")
    advance_per_poll: float = _setting(0.0, "seconds the clock advances each time the status of a job is read")
    # Kaleidoscope
    rejected_rows: int = _setting(0, "Kaleidoscope: number of rows at the start of each new import that are rejected")
    first_page_number: int = _setting(1, "Kaleidoscope: number of the first page of imports (not documented)")
    max_body_bytes: int = _setting(1_048_576, "Kaleidoscope: maximum size of a JSON body in bytes (Fastify's default)")
    running_import_status: str = _setting("processing", "Kaleidoscope: import_status of a running import")
    fail_imports: int = _setting(0, "Kaleidoscope: number of next imports that fail as a whole")
    imports_not_found: bool = _setting(False, "Kaleidoscope: reading an import answers 404")
    accept_any_source: bool = _setting(False, "Kaleidoscope: accept any source_id")
    create_unknown_key_fields: bool = _setting(False, "Kaleidoscope: create unknown key fields instead of rejecting")
    registrar: str = _setting(
        "",
        "Kaleidoscope: result of the automatic registrar after job_seconds; empty: no automatic registrar",
        choices=("", "completes", "fails"),
    )
    results_processing_seconds: float = _setting(0.0, "Kaleidoscope: seconds until a registrar's results take effect")
    accept_repeated_results: bool = _setting(False, "Kaleidoscope: accept results for a closed registration")
    staging_table: bool = _setting(True, "Kaleidoscope: the operation has a staging table for drafts")
    webhook_url: str = _setting("", "Kaleidoscope: URL that registration events are posted to; empty: none")
    webhook_secret: str = _setting("", "Kaleidoscope: secret shared with the webhook receiver; empty: not signed")
    webhook_format: str = _setting(
        "standard",
        "Kaleidoscope: sign webhooks as Standard Webhooks (the secret is then base64), or send the secret in a header",
        choices=("standard", "plain"),
    )
    webhook_duplicates: int = _setting(0, "Kaleidoscope: number of extra copies of each webhook")
    webhook_retries: int = _setting(8, "Kaleidoscope: maximum retries of a webhook that was not accepted")
    webhook_retry_delay: float = _setting(0.2, "Kaleidoscope: real seconds before the first retry, then doubled")
    webhook_concurrency: int = _setting(16, "Kaleidoscope: maximum number of webhooks sent at the same time")
    # Kili
    busy_flag_delay: float = _setting(0.0, "Kili: seconds until a connection shows that it is checking or applying")
    other_assets: int = _setting(0, "Kili: assets of the project that did not come through a connection")
    other_assets_per_count: int = _setting(0, "Kili: such assets added each time the project's assets are counted")
    max_applied_differences: int = _setting(0, "Kili: maximum number of differences that are applied; 0: all")
    ignore_validations: int = _setting(0, "Kili: number of next validations that are accepted but have no effect")
    extra_total_differences: int = _setting(0, "Kili: added to the reported total of differences")
    reject_concurrent_checks: bool = _setting(False, "Kili: computing differences is rejected while it is running")
    legacy_schema: bool = _setting(False, "Kili: schema without isApplyingDataDifferences and lastCheck")
    integration_status: str = _setting("", "Kili: status of all integrations; empty: their own")
    # Liquid Decisions
    max_upload_bytes: int = _setting(1 << 30, "Liquid Decisions: maximum size of a request in bytes")
    reject_jobs: int = _setting(0, "Liquid Decisions: number of next jobs that are rejected at once")
    fail_jobs: int = _setting(0, "Liquid Decisions: number of next jobs that fail at their end")
    export_links: str = _setting(
        "links",
        "Liquid Decisions: where download links are: field `links`, text of `reason`, e-mail, or another host",
        choices=("links", "reason", "email", "other_host"),
    )
    export_rows_per_file: int = _setting(1000, "Liquid Decisions: rows in one file of an export; 0: all")
    link_lifetime: float = _setting(604_800.0, "Liquid Decisions: seconds a download link is valid")
    # FinSpace
    running_changeset_status: str = _setting("IN_PROGRESS", "FinSpace: status of a running changeset")
    fail_changesets: int = _setting(0, "FinSpace: number of next changesets that fail, with changeset_error_type")
    changeset_error_type: str = _setting("An internal error has occurred.", "FinSpace: errorType of these changesets")
    changeset_not_found_polls: int = _setting(0, "FinSpace: number of first reads of a new changeset that answer 404")
    max_running_changesets: int = _setting(10, "FinSpace: maximum number of unfinished changesets of the environment")
    denied_bucket: str = _setting("", "FinSpace: S3 bucket that must not be read; empty: none")
    signature_clock_skew: int = _setting(0, "FinSpace: seconds the service's clock is ahead when it checks signatures")

    def change(self, changes: object) -> None:
        """Apply all changes, or none if one is invalid.

        :raises InvalidControlInput: with the name of the setting and what it accepts
        """
        if not isinstance(changes, dict):
            raise InvalidControlInput('settings must be a JSON object, as {"job_seconds": 5}')
        by_name = {each.name: each for each in fields(self)}
        checked = {name: _checked(name, value, by_name) for name, value in changes.items()}
        for name, value in checked.items():
            setattr(self, name, self.clock_advance + value if name == "clock_advance" else value)

    def reset(self) -> None:
        """Restore all defaults, including the clock."""
        self.__init__()  # type: ignore[misc]

    def to_json(self) -> dict[str, Any]:
        """All settings by name."""
        return asdict(self)


def describe_settings() -> str:
    """One line per setting: name, default and meaning with its unit."""
    lines = []
    for each in fields(Settings):
        choices = ", ".join(map(repr, each.metadata["choices"]))
        meaning = each.metadata["meaning"] + (f" (one of {choices})" if choices else "")
        lines.append(f"{each.name:26} {each.default!r:36} {meaning}")
    return "\n".join(lines)


_MAX_NUMBER = 10_000_000_000  # as seconds about 300 years, which a datetime can still hold
_TYPES = {
    float: "a number, 0 or greater",
    int: "an integer, 0 or greater",
    bool: "true or false",
    str: "a string",
}


def _checked(name: str, value: Any, by_name: Mapping[str, Field[Any]]) -> Any:
    if name not in by_name:
        raise InvalidControlInput(f"unknown setting {name!r}; known settings: {', '.join(by_name)}")
    expected: Any = type(by_name[name].default)
    valid = type(value) is expected or (expected is float and type(value) is int)
    if not valid or (expected in (int, float) and not 0 <= value < _MAX_NUMBER):
        raise InvalidControlInput(f"{name} must be {_TYPES[expected]}, not {value!r}")
    choices = by_name[name].metadata["choices"]
    if choices and value not in choices:
        raise InvalidControlInput(f"{name} must be one of {', '.join(map(repr, choices))}, not {value!r}")
    return expected(value)


class Clock:
    """Real time (or that of `source`) plus the setting `clock_advance`. All times are seconds since 1970, UTC."""

    def __init__(self, settings: Settings, source: Callable[[], float] = time.time) -> None:
        self._settings = settings
        self.source = source  # what the clients' own clocks say

    def now(self) -> float:
        """The sandbox's time."""
        return self.source() + self._settings.clock_advance

    def on_poll(self) -> None:
        """The status of a job was read: advance by the setting `advance_per_poll`."""
        self._settings.clock_advance += self._settings.advance_per_poll


def iso(seconds: float | None) -> str | None:
    """ISO 8601 in UTC with milliseconds and a Z, as JavaScript formats it."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
