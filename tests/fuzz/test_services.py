"""Whatever the four services answer, their endpoints return a value or raise a `SluiceError`."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice_provider.apis.finspace import endpoints as finspace
from sluice_provider.apis.finspace.job_types import JOB_TYPES as FINSPACE_TYPES
from sluice_provider.apis.kaleidoscope import endpoints as kaleidoscope
from sluice_provider.apis.kaleidoscope import registration
from sluice_provider.apis.kili import endpoints as kili
from sluice_provider.apis.kili.job_types import job_types as kili_types
from sluice_provider.apis.liquid_decisions import endpoints as liquid_decisions
from sluice_provider.apis.liquid_decisions.job_types import JOB_TYPES as LIQUID_DECISIONS_TYPES
from sluice_provider.errors import SluiceError
from sluice_provider.http.drivers import drive
from sluice_provider.http.polling import one_attempt
from sluice_provider.jobs.polling import Wanted
from tests.fuzz.values import PROFILE, bodies, headers, json_values, statuses

pytestmark = pytest.mark.slow

NAMES = {
    "kaleidoscope": (
        *("id", "is_complete", "import_status", "import_result", "validation_result", "errors", "failed", "value"),
        *("records_created", "error_message", "error_details", "import_id", "status", "record_errors", "file_id"),
        *("submitted_record_ids", "created_at", "submission_type", "message", "code", "error"),
    ),
    "kili": (
        *("data", "errors", "message", "extensions", "code", "path", "id", "projectId", "numberOfAssets", "isChecking"),
        *("isApplyingDataDifferences", "lastCheck", "dataDifferencesSummary", "added", "removed", "total", "status"),
        *("dataIntegration", "platform", "azureIsUsingServiceCredentials", "azureConnectionURL", "azureSASToken"),
    ),
    "liquid_decisions": ("jobId", "status", "reason", "recordsProcessed", "runTime", "links", "message", "error"),
    "finspace": (
        *("changesetId", "status", "errorInfo", "errorType", "errorMessage", "changeRequests", "changeType"),
        *("createdTimestamp", "kxChangesets", "nextToken", "databaseName", "environments", "kxDatabases", "code"),
        *("message", "__type"),
    ),
}
KXDB = ("e1", "db")
LOCATOR = {"environment_id": "e1", "database_name": "db", "operation_id": "o"}
KILI_TYPES = kili_types(lambda _secret: None)
KILI_LOCATOR = {"last_check": "x", "type": "ADD", "expected": "3", "assets": "1", "status": "s", "minimum": "1"}
MANY = [Wanted(str(number), LOCATOR) for number in range(12)]
CHANGES: list[Any] = [{"changeType": "PUT", "s3Path": "s3://b/", "dbPath": "/"}]

FLOWS: dict[str, list[Any]] = {
    "kaleidoscope": [
        kaleidoscope.get_active_workspace,
        kaleidoscope.get_programs,
        lambda: kaleidoscope.push_by_field_name(["k"], []),
        lambda: kaleidoscope.JOB_TYPES["import"].get_status("i", {}),
        lambda: kaleidoscope.JOB_TYPES["import"].list_statuses(MANY),  # type: ignore[misc]
        lambda: kaleidoscope.get_imports(),
        lambda: registration.JOB_TYPES["registration"].get_status("i", LOCATOR),
        lambda: registration.JOB_TYPES["registered_file"].get_status("i", LOCATOR),
        lambda: registration.find_submissions("o", [], ["r"], validation=False),
        lambda: registration.find_registration("o", "f", []),
        lambda: registration.submit_drafts("o"),
    ],
    "kili": [
        kili.get_viewer,
        lambda: kili.get_project("p"),
        lambda: kili.count_assets("p"),
        lambda: kili.count_integrations("i"),
        lambda: kili.list_connections("p"),
        lambda: kili.add_connection("p", "i"),
        lambda: kili.compute_differences("c"),
        *[lambda name=name: KILI_TYPES[name].get_status("c", KILI_LOCATOR) for name in KILI_TYPES],
    ],
    "liquid_decisions": [
        liquid_decisions.validate_token,
        liquid_decisions.get_token_info,
        lambda: liquid_decisions.export("t", "n", "application/json"),
        *[
            lambda name=name: LIQUID_DECISIONS_TYPES[name].get_status("j", {"operation_id": "o"})
            for name in LIQUID_DECISIONS_TYPES
        ],
    ],
    "finspace": [
        lambda: finspace.create_changeset(*KXDB, CHANGES),
        lambda: finspace.list_changesets(*KXDB),
        lambda: finspace.find_changeset(*KXDB, CHANGES, 0.0),
        lambda: finspace.get_database(*KXDB),
        lambda: finspace.list_databases("e1"),
        finspace.list_environments,
        lambda: finspace.ensure_database(*KXDB),
        lambda: FINSPACE_TYPES["changeset"].get_status("c", LOCATOR),
        lambda: FINSPACE_TYPES["changeset"].list_statuses(MANY),  # type: ignore[misc]
    ],
}

ENVELOPES: dict[str, Any] = {
    "kaleidoscope": lambda value: [
        {"id": "i", "is_complete": True, "import_result": value},
        {"id": "i", "errors": value},
    ],
    "kili": lambda value: [{"data": {"data": value}}, {"data": {"data": [value]}}, {"errors": [value]}],
    "liquid_decisions": lambda value: [
        {"jobId": "j", "status": "completed", "links": value, "recordsProcessed": value}
    ],
    "finspace": lambda value: [
        {"kxChangesets": [value], "nextToken": "t"},
        {
            "changesetId": "c",
            "status": "FAILED",
            "errorInfo": value,
            "createdTimestamp": value,
            "changeRequests": value,
        },
    ],
}


class Answers(httpx.BaseTransport):
    """Answers each request with the next of these responses, in turn, and ends after some."""

    def __init__(self, answers: list[tuple[int, dict[str, str], bytes]]) -> None:
        self._answers = answers
        self._sent = 0

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self._sent += 1
        if self._sent > 12:
            raise httpx.ConnectError("enough", request=request)
        status, more, body = self._answers[self._sent % len(self._answers)]
        raw = [(name.encode(), text.encode("latin-1", "replace")) for name, text in more.items()]
        return httpx.Response(status, headers=raw, stream=httpx.ByteStream(body))


def shaped_bodies(service: str) -> st.SearchStrategy[bytes]:
    """Bodies of this service: without shape, and with its own around any value."""
    values = json_values(NAMES[service])
    shaped = values.flatmap(lambda value: st.sampled_from(ENVELOPES[service](value)))
    return bodies(NAMES[service]) | shaped.map(lambda value: json.dumps(value).encode())


@pytest.mark.parametrize("service", list(FLOWS))
def test_no_answer_is_more_than_a_sluice_error(service: str) -> None:
    """Through the real driver, with a transport that answers."""
    answers = st.lists(st.tuples(statuses, headers, shaped_bodies(service)), min_size=1, max_size=3)

    @PROFILE
    @given(st.sampled_from(FLOWS[service]), answers)
    def check(make: Any, found: list[tuple[int, dict[str, str], bytes]]) -> None:
        try:
            drive(one_attempt(make()), client(found), lambda _seconds: None)
        except SluiceError as error:
            str(error)

    check()


def client(found: list[tuple[int, dict[str, str], bytes]]) -> httpx.Client:
    """A client without a network."""
    return httpx.Client(base_url="https://service.example/", transport=Answers(found), verify=TLS)


TLS = httpx.create_ssl_context(verify=False)
