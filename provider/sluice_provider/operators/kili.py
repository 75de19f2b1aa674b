"""Tasks that bring cloud storage into Kili projects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from sluice_provider.apis import kili
from sluice_provider.errors import Conflict, InvalidInput, JobFailed, NotFound, OutcomeUnknown, SafetyLimitExceeded
from sluice_provider.journal import Entry, Intent, Story, digest
from sluice_provider.operators.asking import Asking, Phase
from sluice_provider.operators.kili_phases import ROUNDS, KiliOperator, alike

if TYPE_CHECKING:
    from sluice_provider.jobs import Work


class KiliAddCloudStorageConnectionOperator(KiliOperator):
    """Use a cloud storage integration in a Kili project. Safe to run again.

    Returns `{"system", "state", "connection_id", "project_id", "integration_id", "reused", "to_add", "to_remove",
    "total", "assets", "asked_at", "ended_at", "seconds", "url"}`; the counts are missing when the differences were not
    computed, or not waited for.

    Rests on `add_cloud_storage_connection` of the vendor's client (kili `use_cases/cloud_storage/__init__.py`).

    :param project_id: the project (templated)
    :param cloud_storage_integration_id: the integration (templated)
    :param selected_folders: folders to use; None is all of them, an empty list none (templated)
    :param prefix: use only what lies below this one path, which ends in a slash (templated)
    :param include: patterns of what to use: a beginning, or a whole name with `*` for anything (templated)
    :param exclude: patterns of what not to use; wins over `include` (templated)
    :param is_json_processing_enabled: let Kili read JSON files as descriptions of assets
    :param if_exists: when the project has a connection of this integration with these very settings: `reuse` it,
        `fail`, or `add` another one
    :param compute_differences: compute what there is to add, and wait for it; nothing is added yet
    :param kili_conn_id: Airflow connection id
    :raises NotFound: the integration does not exist
    :raises Conflict: there is such a connection, and `if_exists` is `fail`
    """

    template_fields: Sequence[str] = (
        "project_id",
        "cloud_storage_integration_id",
        "selected_folders",
        "prefix",
        "include",
        "exclude",
        "kili_conn_id",
    )

    def __init__(
        self,
        *,
        project_id: str,
        cloud_storage_integration_id: str,
        selected_folders: Sequence[str] | None = None,
        prefix: str | None = None,
        include: Sequence[str] | None = None,
        exclude: Sequence[str] | None = None,
        is_json_processing_enabled: bool | None = None,
        if_exists: Literal["reuse", "fail", "add"] = "reuse",
        compute_differences: bool = True,
        kili_conn_id: str = "kili_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.kili_conn_id = kili_conn_id
        self.project_id = project_id
        self.cloud_storage_integration_id = cloud_storage_integration_id
        self.selected_folders = selected_folders
        self.prefix = prefix
        self.include = include
        self.exclude = exclude
        self.is_json_processing_enabled = is_json_processing_enabled
        self.if_exists = if_exists
        self.compute_differences = compute_differences

    def check(self) -> None:
        kili.given(self.project_id, "project_id")
        kili.given(self.cloud_storage_integration_id, "cloud_storage_integration_id")
        for name in ("selected_folders", "include", "exclude"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, str) or not all(isinstance(each, str) for each in value)):
                raise InvalidInput(f"{name} must be a list of texts, not {value!r}")
        if self.prefix is not None and (not self.prefix.endswith("/") or "*" in self.prefix):
            raise InvalidInput(f"prefix must be one path that ends in a slash, without a star, not {self.prefix!r}")
        if self.if_exists not in ("reuse", "fail", "add"):
            raise InvalidInput(f"if_exists must be 'reuse', 'fail' or 'add', not {self.if_exists!r}")

    @property
    def _settings(self) -> dict[str, Any]:
        """What the connection is to be like, by the names of `add_connection`."""
        return {
            "selected_folders": self.selected_folders,
            "prefix": self.prefix,
            "include": self.include,
            "exclude": self.exclude,
            "is_json_processing_enabled": self.is_json_processing_enabled,
        }

    def fingerprint(self) -> str:
        return digest([self.conn_id, "add", self.project_id, self.cloud_storage_integration_id, self._settings])

    def plan(self, story: Story) -> Phase | None:
        if not story.entry("add").ended:
            where = {"project_id": self.project_id}
            return Phase("add", "connection", self._add, self._doubt, where, last=not self.compute_differences)
        if self.compute_differences and not story.entry("check").ended:
            return self.computing(story, "check", last=True)
        return None

    def connection_of(self, story: Story) -> str:
        return story.entry("add").ids[0]

    def project_of(self, story: Story) -> str:
        del story
        return self.project_id

    # --- adding

    def _add(self, asking: Asking) -> None:
        if asking.entry.parts:
            return
        there = self._list()
        same = [each for each in there if alike(each, self._settings)]
        if same and self.if_exists != "add":
            self._reuse(asking, str(same[0]["id"]))
            return
        self._know()
        asking.note(before=" ".join(str(each["id"]) for each in there))
        arguments = (self.project_id, self.cloud_storage_integration_id)
        try:
            asking.send(kili.add_connection(*arguments, **self._settings))
        except OutcomeUnknown as error:
            self.log.warning("%s; looking whether it was done", error)
            if not self._find(asking):
                raise

    def _know(self) -> None:
        """:raises NotFound: in words that help, as Kili itself has none"""
        try:
            found = self.hook.run(kili.get_integration(self.cloud_storage_integration_id))
        except NotFound as error:
            there = self.hook.run(kili.list_integrations())
            known = ", ".join(f"{each['id']} ({each['name']})" for each in there[:10]) or "none"
            raise NotFound(f"{error}; those it may see: {known}") from None
        if found.get("status") != "CONNECTED":
            self.log.warning("The integration %s is %s", found.get("name"), found.get("status"))

    def _reuse(self, asking: Asking, connection_id: str) -> None:
        if self.if_exists == "fail":
            raise Conflict(
                f"project {self.project_id} has the connection {connection_id} of this integration with these settings"
            )
        self.log.info("The project has such a connection already: %s", connection_id)
        asking.note(reused="yes")
        asking.found(connection_id)

    def _doubt(self, asking: Asking, intent: Intent) -> None:
        """A connection that was not there before, and is as ours was to be, is ours."""
        del intent
        self._find(asking)

    def _find(self, asking: Asking) -> bool:
        before = asking.entry.note.get("before", "").split()
        for each in self._list():
            if str(each["id"]) not in before and alike(each, self._settings):
                self.log.info("It was done: %s", each["id"])
                asking.found(str(each["id"]))
                return True
        return False

    def _list(self) -> list[Mapping[str, Any]]:
        found = self.hook.run(kili.list_connections(self.project_id, self.cloud_storage_integration_id))
        return [each for each in found if each.get("projectId") == self.project_id]

    # --- the end

    def manifest(self, story: Story) -> dict[str, Any]:
        ended = story.entry("check").ended if self.compute_differences else None
        return {
            **self.told(story, "add"),
            "integration_id": self.cloud_storage_integration_id,
            "reused": "reused" in story.entry("add").note,
            **(ended["counts"] if ended else {}),
        }


class KiliSyncCloudStorageOperator(KiliOperator):
    """Bring a Kili project in line with its bucket: add what is new and, if wanted, remove what is gone.

    Kili computes the differences, then adds, then removes; each is a phase of its own, in which a task that died goes
    on, and each is waited for as long as `timeout` allows, judged by the connection's own numbers.

    Returns `{"system", "state", "connection_id", "project_id", "dry_run", "total", "to_add", "to_remove", "added",
    "removed", "left", "assets_before", "assets_after", "asked_at", "ended_at", "seconds", "url"}`: `total`, `to_add`
    and `to_remove` are the differences found first, `left` is how many of them there still are at the end.

    Rests on `synchronize_cloud_storage_connection` of the vendor's client (kili `use_cases/cloud_storage/__init__.py`).

    :param cloud_storage_connection_id: the connection (templated)
    :param project_id: instead of the connection, its project ... (templated)
    :param cloud_storage_integration_id: ... and its integration (templated)
    :param delete_extraneous_files: also remove assets whose files are gone
    :param dry_run: compute and report the differences, and change nothing
    :param max_removed: remove at the most so many assets, or such a fraction of them (a float up to 1.0); if more files
        are gone, as when the bucket is empty or cannot be reached, the task fails before anything is changed
    :param verify: compute the differences once more at the end, so that `left` is what Kili found then
    :param kili_conn_id: Airflow connection id
    :raises SafetyLimitExceeded: more would be removed than `max_removed` allows
    :raises JobFailed: Kili does not apply all that it found, though asked three times
    """

    template_fields: Sequence[str] = (
        "cloud_storage_connection_id",
        "project_id",
        "cloud_storage_integration_id",
        "kili_conn_id",
    )

    def __init__(
        self,
        *,
        cloud_storage_connection_id: str | None = None,
        project_id: str | None = None,
        cloud_storage_integration_id: str | None = None,
        delete_extraneous_files: bool = False,
        dry_run: bool = False,
        max_removed: float | None = None,
        verify: bool = False,
        kili_conn_id: str = "kili_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.kili_conn_id = kili_conn_id
        self.cloud_storage_connection_id = cloud_storage_connection_id
        self.project_id = project_id
        self.cloud_storage_integration_id = cloud_storage_integration_id
        self.delete_extraneous_files = delete_extraneous_files
        self._dry = dry_run  # `dry_run` itself is a method of all operators
        self.max_removed = max_removed
        self.verify = verify

    # --- bad input

    def check(self) -> None:
        pair = (self.project_id, self.cloud_storage_integration_id)
        if self.cloud_storage_connection_id is not None:
            kili.given(self.cloud_storage_connection_id, "cloud_storage_connection_id")
            if pair != (None, None):
                raise InvalidInput("give a cloud_storage_connection_id, or project_id and cloud_storage_integration_id")
        else:
            for name in ("project_id", "cloud_storage_integration_id"):
                kili.given(getattr(self, name), name)
        limit = self.max_removed
        if limit is None:
            return
        if isinstance(limit, bool) or not isinstance(limit, (int, float)) or not limit >= 0:
            raise InvalidInput(f"max_removed must be a number from 0, or a fraction from 0.0 to 1.0, not {limit!r}")
        if isinstance(limit, float) and limit > 1:
            raise InvalidInput(
                f"max_removed as a fraction is at the most 1.0, not {limit!r}; a number of assets is whole"
            )

    def fingerprint(self) -> str:
        ids = (self.cloud_storage_connection_id, self.project_id, self.cloud_storage_integration_id)
        return digest([self.conn_id, "sync", ids, self.delete_extraneous_files, self._dry])

    # --- the phases

    def plan(self, story: Story) -> Phase | None:
        """Rounds of computing, adding and removing. One is enough, unless Kili did less than it was asked for."""
        if not story.entry("find").ended:
            return Phase("find", "idle", self._find, _no_doubt, last=False)
        for number in range(1, ROUNDS + 1):
            phase = self._in_round(story, number)
            if phase is not None or not self._again(story, number):
                return phase
        return None

    def _in_round(self, story: Story, number: int) -> Phase | None:
        check = story.entry("check" + _suffix(number))
        if not check.ended:
            return self.computing(story, check.phase, last=self._dry)
        steps = self._steps(check.ended["counts"]) if number == 1 or self._short(story, number - 1) else []
        for step in steps:
            entry = story.entry(step + _suffix(number))
            if not entry.ended:
                return self._applying(story, entry.phase, last=step == steps[-1])
            if _short(entry):
                break
        return None

    def _steps(self, counts: Mapping[str, int]) -> list[str]:
        """What a computation leads to."""
        steps = {"add": counts["to_add"], "remove": counts["to_remove"] if self.delete_extraneous_files else 0}
        return [] if self._dry else [step for step, count in steps.items() if count]

    def _again(self, story: Story, number: int) -> bool:
        """Whether to compute once more: Kili did not do all it was asked for, or the author wants a proof."""
        return self._short(story, number) or (self.verify and bool(_applied(story, number)))

    def _short(self, story: Story, number: int) -> bool:
        return any(_short(entry) for entry in _applied(story, number))

    def _find(self, asking: Asking) -> None:
        if not asking.entry.parts:
            connection_id = self.cloud_storage_connection_id or self._connection_of_pair()
            asking.note(project_id=self.hook.run(kili.look_at(connection_id)).project_id)
            asking.found(connection_id)

    def _connection_of_pair(self) -> str:
        pair = f"integration {self.cloud_storage_integration_id} in project {self.project_id}"
        found = self.hook.run(kili.list_connections(self.project_id, self.cloud_storage_integration_id))
        ids = [str(each["id"]) for each in found if each.get("projectId") == self.project_id]
        if not ids:
            raise NotFound(f"there is no cloud storage connection of {pair}")
        if len(ids) > 1:
            raise InvalidInput(f"there are {len(ids)} connections of {pair}: choose one of {', '.join(ids[:10])}")
        return ids[0]

    def _applying(self, story: Story, name: str, *, last: bool) -> Phase:
        """The phase in which Kili adds, or removes. It cannot be told twice from once, so it is never asked for again
        before it was seen to come to nothing, and the differences were computed anew."""
        connection_id, kind = self.connection_of(story), "ADD" if name.startswith("add") else "REMOVE"

        def ask(asking: Asking) -> None:
            if asking.entry.parts:
                return
            look = self.hook.run(kili.look_at(connection_id))
            expected = look.to_add if kind == "ADD" else look.to_remove
            if kind == "REMOVE":
                self._guard(expected, self._first(story)["assets"])
            asking.note(assets=str(look.assets), expected=str(expected))
            if not expected:
                self.log.warning("Somebody else has done it meanwhile: nothing is left to %s", kind.lower())
                asking.found(connection_id)
                return
            try:
                asking.send(kili.validate_differences(connection_id, kind))
            except OutcomeUnknown as error:
                self.log.warning("%s; watching whether it was done", error)
                asking.found(connection_id)

        def doubt(asking: Asking, intent: Intent) -> None:
            del intent
            self.log.warning("An earlier try asked for this and did not hear of it; watching whether it was done")
            asking.found(connection_id)

        return Phase(name, "apply", ask, doubt, {"type": kind, "project_id": self.project_of(story)}, last=last)

    def connection_of(self, story: Story) -> str:
        return story.entry("find").ids[0]

    def project_of(self, story: Story) -> str:
        return story.entry("find").note["project_id"]

    def _first(self, story: Story) -> dict[str, int]:
        """What the first computation brought."""
        counts: dict[str, int] = (story.entry("check").ended or {})["counts"]
        return counts

    # --- judging

    def judge(self, phase: Phase, work: Work) -> None:
        counts = work.counts
        if phase.kind == "check" and self.delete_extraneous_files:
            self._guard(counts["to_remove"], counts["assets"])
        left = counts["expected"] - counts["applied"] if phase.kind == "apply" else 0
        if left and phase.name.endswith(_suffix(ROUNDS)):
            asked = f"Kili was asked {ROUNDS} times to {phase.where['type']}"
            error = JobFailed(f"{asked} and did not do all of it: {work}, {left} left")
            error.hopeless = True  # a retry would find the same; clearing the task begins anew
            raise error

    def _guard(self, removed: int, assets: int) -> None:
        """:raises SafetyLimitExceeded: unless nothing is going to be removed anyway"""
        limit = self.max_removed
        if limit is None or not removed:
            return
        allowed = limit * assets if isinstance(limit, float) else limit
        if removed <= allowed:
            return
        words = f"{removed} of {assets} assets would be removed, and max_removed is {limit!r}"
        if not self._dry:
            raise SafetyLimitExceeded(f"{words}: nothing was removed. Is the bucket complete, and can Kili reach it?")
        self.log.warning("%s: without dry_run this would fail", words)

    # --- the end

    def manifest(self, story: Story) -> dict[str, Any]:
        result = {**self.told(story, "find"), "dry_run": self._dry}
        ended = [(entry.phase, entry.ended["counts"]) for entry in story.entries if entry.ended]
        checks = [(index, counts) for index, (phase, counts) in enumerate(ended) if phase.startswith("check")]
        if not checks:
            return result
        (_, first), (since, latest), (_, now) = checks[0], checks[-1], ended[-1]
        return {
            **result,
            **{name: first[name] for name in ("total", "to_add", "to_remove")},
            "added": _sum(ended, "add"),
            "removed": _sum(ended, "remove"),
            "left": latest["to_add"] + latest["to_remove"] - _sum(ended[since:], ""),
            "assets_before": first["assets"],
            "assets_after": now["assets"],
        }


def _suffix(number: int) -> str:
    """Of the phases of a round; the first round's have none."""
    return f" {number}" if number > 1 else ""


def _applied(story: Story, number: int) -> list[Entry]:
    names = [step + _suffix(number) for step in ("add", "remove")]
    return [entry for entry in story.entries if entry.phase in names]


def _short(entry: Entry) -> bool:
    """It ended with less than was asked for."""
    return bool(entry.ended) and entry.ended["counts"]["applied"] < int(entry.note["expected"])  # type: ignore[index]


def _sum(ended: Sequence[tuple[str, Mapping[str, int]]], step: str) -> int:
    return sum(counts.get("applied", 0) for phase, counts in ended if phase.startswith(step))


def _no_doubt(asking: Asking, intent: Intent) -> None:
    """To find a connection is to ask for nothing."""
