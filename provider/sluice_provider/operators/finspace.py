"""Tasks that change databases of Amazon FinSpace's Managed kdb."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sluice_provider.apis import finspace
from sluice_provider.apis import finspace_rules as rules
from sluice_provider.apis.finspace import ChangeRequest, delete, put
from sluice_provider.assets import dataset_of, uri
from sluice_provider.calls.flow import Age
from sluice_provider.errors import InvalidInput
from sluice_provider.journal import Entry, Story, digest
from sluice_provider.lineage import file_dataset, lineage
from sluice_provider.operators.asking import Asking, Phase
from sluice_provider.operators.base import JobOperator, times

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage

    from sluice_provider.journal import Intent

__all__ = ["ChangeRequest", "FinSpaceCreateChangesetOperator", "delete", "put"]


class FinSpaceCreateChangesetOperator(JobOperator):
    """Change a kdb database: files are put into it from S3, and deleted from it, in the order given.

    More requests than a changeset takes become several changesets, each awaited before the next. Whatever dies when,
    no changeset is asked for twice: it is asked for under a client token that stands in the task's journal, and when
    the service has forgotten the token (after ten minutes) it is looked for among the database's changesets.

    Returns `{"system", "state", "environment_id", "database_name", "changeset_ids", "put", "deleted", "changesets",
    "asked_at", "ended_at", "seconds"}`; `changesets` says what each changed: `{"id", "put": [database paths],
    "deleted": [database paths]}`. Outlets get the same as their event's extra.

    Rests on CreateKxChangeset and GetKxChangeset of API version 2021-03-12. AWS ended the hosted service on 2026-10-07;
    the connection's `endpoint_url` says who answers instead.

    :param environment_id: the kdb environment (templated)
    :param database_name: the database in it (templated)
    :param change_requests: dicts in the API's own spelling, `{"changeType": "PUT", "s3Path": "s3://bucket/db/sym",
        "dbPath": "/"}`, or what `put` and `delete` of this module make (templated)
    :param client_token: instead of the token that the task derives; within ten minutes the service answers the same
        token with the same changeset, also to another task or after a clear (templated)
    :param max_requests_per_changeset: 32 at the most, which is what the service takes
    :param ensure_database: make the database first if it is not there
    :param plan_only: judge the requests, write the plan into the log, and ask for nothing; `dry_run()` does the same
    :param aws_conn_id: Airflow connection id, of type `aws`
    :param region_name: instead of the connection's (templated)
    :raises InvalidInput: before anything is sent, naming the request's index and the rule
    :raises JobFailed: a changeset failed, in the service's words; not retried where a new one would fail the same way
    """

    system = "finspace"
    conn_arg = "aws_conn_id"
    template_fields: Sequence[str] = (
        "environment_id",
        "database_name",
        "change_requests",
        "client_token",
        "aws_conn_id",
        "region_name",
    )
    template_fields_renderers = {"change_requests": "json"}

    def __init__(
        self,
        *,
        environment_id: str,
        database_name: str,
        change_requests: Sequence[Mapping[str, Any]],
        client_token: str | None = None,
        max_requests_per_changeset: int = rules.MOST_REQUESTS,
        ensure_database: bool = False,
        plan_only: bool = False,
        aws_conn_id: str = "aws_default",
        region_name: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.environment_id = environment_id
        self.database_name = database_name
        self.change_requests = change_requests
        self.client_token = client_token
        self.max_requests_per_changeset = max_requests_per_changeset
        self.ensure_database = ensure_database
        self.plan_only = plan_only
        self.aws_conn_id = aws_conn_id
        self.region_name = region_name

    # --- before anything is sent

    def check(self) -> None:
        rules.check_database(self.environment_id, self.database_name)
        rules.check_requests(self.change_requests)
        if self.client_token is not None:
            rules.CLIENT_TOKEN.check("client_token", self.client_token)
        most = self.max_requests_per_changeset
        if isinstance(most, bool) or not isinstance(most, int) or not 1 <= most <= rules.MOST_REQUESTS:
            raise InvalidInput(f"max_requests_per_changeset must be 1 to {rules.MOST_REQUESTS}, not {most!r}")

    def fingerprint(self) -> str:
        requests = [dict(request) for request in self.change_requests]
        return digest([self.conn_id, dict(self.where), requests, self.client_token])

    def dry_run(self) -> None:
        """Judge the requests and write the plan into the log. Nothing is sent."""
        self.check()
        for number, start in enumerate(range(0, len(self.change_requests), self.max_requests_per_changeset), 1):
            chunk = self.change_requests[start : start + self.max_requests_per_changeset]
            self.log.info("changeset %d: %d changes of %s, in this order", number, len(chunk), self._database)
            for index, request in enumerate(chunk, start):
                source = f" from {request['s3Path']}" if request.get("s3Path") else ""
                self.log.info("  [%d] %s %s%s", index, request["changeType"], request["dbPath"], source)

    def execute(self, context: Any) -> dict[str, Any]:
        if not self.plan_only:
            return super().execute(context)
        self.dry_run()
        return {**self.manifest(Story("", [])), "state": "planned"}

    @property
    def where(self) -> Mapping[str, str]:
        return finspace.where(self.environment_id, self.database_name, self.region_name)

    @property
    def _database(self) -> str:
        return f"{self.environment_id}/{self.database_name}"

    # --- the phases

    def plan(self, story: Story) -> Phase | None:
        """One changeset after the other. Where each begins is told by what those before it took."""
        start, number = 0, 1
        while start < len(self.change_requests):
            entry = story.entry(f"changeset-{number}")
            size = self._size(entry)
            if not entry.ended:
                return self._phase(entry.phase, start, size)
            start, number = start + size, number + 1
        return None

    def _size(self, entry: Entry) -> int:
        """As it was asked for; the limit may have been changed since."""
        return entry.size or (entry.intent.size if entry.intent else 0) or self.max_requests_per_changeset

    def _phase(self, name: str, start: int, size: int) -> Phase:
        requests = list(self.change_requests[start : start + size])
        return Phase(
            name,
            "changeset",
            lambda asking: self._ask_for(asking, requests, start),
            lambda asking, intent: self._doubt(asking, intent, requests),
            self.where,
            last=start + size >= len(self.change_requests),
        )

    def _ask_for(self, asking: Asking, requests: Sequence[Mapping[str, Any]], start: int) -> None:
        if asking.entry.parts:
            return
        if self.ensure_database and asking.run(finspace.ensure_database(self.environment_id, self.database_name)):
            self.log.info("Made the database %s", self._database)
        token, intent = self._token(asking), asking.entry.intent
        age = Age(intent.at)() if intent is not None and intent.key == token else 0.0
        flow = finspace.create_changeset(self.environment_id, self.database_name, requests, token, age)
        changeset_id = asking.send(_id_of(flow), start, len(requests), token)
        self.log.info("FinSpace accepted %d changes of %s as changeset %s", len(requests), self._database, changeset_id)

    def _token(self, asking: Asking) -> str:
        """The author's own goes with the first asking only: used again, it would hand back the same changeset."""
        if not self.client_token:
            return asking.key
        first = asking.entry.phase == "changeset-1" and not asking.entry.round
        return self.client_token if first else digest([self.client_token, asking.entry.phase, asking.entry.round])[:32]

    def _doubt(self, asking: Asking, intent: Intent, requests: Sequence[Mapping[str, Any]]) -> None:
        """Within the token's life the same token gives the same changeset; after that it has to be looked for."""
        age = Age(intent.at)()
        if age < finspace.LAST_REPEAT:
            self.log.warning(
                "An earlier try asked for a changeset %.0f s ago and did not learn of the answer; asking again with "
                "the same client token, which gives the same changeset",
                age,
            )
            return
        found = asking.run(finspace.find_changeset(self.environment_id, self.database_name, requests, intent.at))
        if found is None:
            self.log.warning("An earlier try meant to ask for a changeset; it is not there, so it is asked for now")
            asking.not_found()
        else:
            self.log.warning("An earlier try asked for changeset %s and did not learn of it; going on with it", found)
            asking.found(found, intent.start, intent.size)

    # --- the end

    def manifest(self, story: Story) -> dict[str, Any]:
        entries = [entry for entry in story.entries if entry.parts]
        done = bool(entries) and self.plan(story) is None
        changesets = list(self._changed(entries))
        return {
            "system": self.system,
            "state": "succeeded" if done else "running",
            "environment_id": self.environment_id,
            "database_name": self.database_name,
            "changeset_ids": [each["id"] for each in changesets],
            "put": sum(len(each["put"]) for each in changesets),
            "deleted": sum(len(each["deleted"]) for each in changesets),
            "changesets": changesets,
            **times(entries),
        }

    def _changed(self, entries: Sequence[Entry]) -> Any:
        """What each changeset changed, by database path."""
        start = 0
        for entry in entries:
            requests = self.change_requests[start : start + self._size(entry)]
            start += len(requests)
            paths = {
                change: [request["dbPath"] for request in requests if request["changeType"] == change]
                for change in rules.CHANGE_TYPES
            }
            yield {"id": entry.ids[0], "put": paths["PUT"], "deleted": paths["DELETE"]}

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> OperatorLineage[Any, Any]:
        """OpenLineage asks for this by its name, once the task is over."""
        del task_instance
        address = self.hook.place(self.hook.fields()).base_url.rstrip("/")
        sources = sorted({file_dataset(request["s3Path"]) for request in self.change_requests if "s3Path" in request})
        place = uri("finspace", address, "environments", self.environment_id, "databases", self.database_name)
        return lineage(address, self.result.get("changeset_ids", ()), sources, [dataset_of(place)])


def _id_of(flow: Any) -> Any:
    return (yield from flow)["changesetId"]
