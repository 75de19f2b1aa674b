"""What the tasks for Kili share: computing the differences of a connection, and telling of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sluice_provider.apis import kili
from sluice_provider.assets import dataset_of, uri
from sluice_provider.errors import ClientError, OutcomeUnknown
from sluice_provider.hooks.base import mask
from sluice_provider.journal import Intent, Story
from sluice_provider.lineage import lineage
from sluice_provider.links import KiliLink
from sluice_provider.operators.asking import Asking, Phase
from sluice_provider.operators.base import JobOperator, times

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage

ROUNDS = 3
"""So often differences are computed and applied before it is an error that some stay."""


class KiliOperator(JobOperator):
    """What the tasks share: computing the differences of one connection."""

    system = "kili"
    operator_extra_links = (KiliLink(),)

    kili_conn_id: str

    def connection_of(self, story: Story) -> str:
        """The connection's id, once its phase has brought it."""
        raise NotImplementedError

    def project_of(self, story: Story) -> str:
        raise NotImplementedError

    def computing(self, story: Story, name: str, *, last: bool) -> Phase:
        """The phase in which Kili compares bucket and project."""
        connection_id, project_id = self.connection_of(story), self.project_of(story)

        def begun(asking: Asking) -> bool:
            look = self.hook.run(kili.look_at(connection_id))
            if not look.checking and look.last_check == asking.entry.note.get("last_check"):
                return False
            self.log.info("The differences of %s are being computed already", connection_id)
            asking.found(connection_id)
            return True

        def doubt(asking: Asking, intent: Intent) -> None:
            del intent
            begun(asking)

        def ask(asking: Asking) -> None:
            for attempt in range(ROUNDS):
                if asking.entry.parts or (attempt and begun(asking)):
                    return
                asking.note(last_check=self.hook.run(kili.look_at(connection_id)).last_check)
                try:
                    asking.send(kili.compute_differences(connection_id, mask))
                except (OutcomeUnknown, ClientError) as error:
                    # Whether it has begun can be seen; that it has is also why Kili may refuse to begin once more.
                    if attempt + 1 == ROUNDS or (isinstance(error, ClientError) and not begun(asking)):
                        raise
                    self.log.warning("%s; looking whether it was done", error)

        return Phase(name, "check", ask, doubt, {"project_id": project_id}, last=last)

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> OperatorLineage[Any, Any]:
        """OpenLineage asks for this by its name, once the task is over."""
        del task_instance
        address = self.hook.place(self.hook.fields()).base_url
        project = dataset_of(uri("kili", address, "projects", self.result["project_id"]))
        return lineage(address.rstrip("/"), [self.result["connection_id"]], [], [project])

    def told(self, story: Story, first: str) -> dict[str, Any]:
        """What the results of both tasks begin and end with."""
        ended = [entry.ended for entry in story.entries if entry.ended]
        over = bool(ended) and len(ended) == len(story.entries)
        return {
            "system": self.system,
            "state": "succeeded" if over else "running",
            "connection_id": self.connection_of(story),
            "project_id": self.project_of(story),
            **times([story.entry(first), *story.entries]),
            "url": self.job_url,
        }


def alike(connection: Mapping[str, Any], settings: Mapping[str, Any]) -> bool:
    """Whether a connection is as these settings say; Kili may write "not given" as null or as an empty list."""
    folders = settings["selected_folders"]
    if (None if folders is None else list(folders)) != connection.get("selectedFolders"):
        return False
    wanted = settings["is_json_processing_enabled"]
    if wanted is not None and wanted != bool(connection.get("isJsonProcessingEnabled")):
        return False
    return (settings["prefix"] or None) == (connection.get("prefix") or None) and all(
        sorted(settings[name] or ()) == sorted(connection.get(name) or ()) for name in ("include", "exclude")
    )
