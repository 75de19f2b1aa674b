"""Registrations in the sandbox's Kaleidoscope, for the tests of operators and sensors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from sluice_provider.operators import kaleidoscope as operators

if TYPE_CHECKING:
    from collections.abc import Callable

    from sluice_provider.testing import SandboxClient
    from tests.operators.airflow_harness import Airflow, TaskHarness

ROWS = [{"name": "Aspirin", "smiles": "CC(=O)O"}, {"name": "Caffeine", "smiles": "Cn1c"}]
RESULTS: list[dict[str, Any]] = [
    {"record_id": "r1", "status": "matched", "data": {"id": "7"}},
    {"record_id": "r2", "status": "not_found", "error_message": "no such compound"},
]


class Workspace:
    """The sandbox's Kaleidoscope: what other users and the registrar do there, and what a test sees of it."""

    def __init__(self, sandbox: SandboxClient) -> None:
        self.sandbox = sandbox
        ids = sandbox.state(records=False)["kaleidoscope"]["ids"]
        self.operation_id, self.file_id = ids["operation_id"], ids["file_id"]
        self._hook: Any = None

    @property
    def hook(self) -> Any:
        """A hook with the same connection as the tasks."""
        from sluice_provider.hooks.kaleidoscope import KaleidoscopeHook

        self._hook = self._hook or KaleidoscopeHook()
        return self._hook

    @property
    def state(self) -> dict[str, Any]:
        state: dict[str, Any] = self.sandbox.state()["kaleidoscope"]
        return state

    @property
    def registrations(self) -> list[dict[str, Any]]:
        """Of files, oldest first."""
        found: list[dict[str, Any]] = self.state["registrations"]
        return found

    @property
    def submissions(self) -> list[dict[str, Any]]:
        """Of drafts, oldest first."""
        found: list[dict[str, Any]] = self.state["submissions"]
        return found

    @property
    def drafts(self) -> dict[str, str]:
        """By its name, why each draft was archived; "" if it was not."""
        return {each["key"]["name"]: each["archived"] for each in self.state["drafts"]}

    @property
    def draft_ids(self) -> list[str]:
        return [each["id"] for each in self.state["drafts"] if not each["archived"]]

    def register_file(self) -> str:
        """Another user registers the file."""
        return str(self.hook.register_file(self.operation_id, self.file_id)["id"])

    def stage_drafts(self, rows: list[dict[str, Any]] = ROWS) -> list[str]:
        """Another user stages drafts."""
        staging = self.hook.get_staging(self.operation_id)
        import_id = self.hook.create_draft_import(self.operation_id, rows)
        self.hook.run_draft_import(import_id, ["name"], ["smiles"], staging)
        self.sandbox.advance(10)
        return self.draft_ids

    def submit_drafts(self, *, validation: bool = False) -> str:
        """Another user submits all drafts."""
        submit = self.hook.validate_drafts if validation else self.hook.submit_drafts
        return str(submit(self.operation_id)["id"])

    def submit_results(self, status: str = "success", submission_id: str | None = None, **more: Any) -> None:
        """The registrar reports results."""
        if submission_id:
            self.hook.submit_submission_results(self.operation_id, submission_id, status, **more)
        else:
            self.hook.submit_results(self.operation_id, self.file_id, status, **more)

    def inject_fault(self, path: str, *, times: int = 1, **fault: Any) -> None:
        """Let the next POST requests to a path fail."""
        self.sandbox.faults([{"method": "POST", "path": path, "times": times, **fault}])

    def request_bodies(self, path: str) -> list[Any]:
        """Bodies of the POST requests to a path, also of those that were rejected or dropped."""
        posts = [each for each in self.sandbox.requests() if each["method"] == "POST"]
        return [each["json"] for each in posts if path in each["path"]]


@pytest.fixture
def workspace(sluice_sandbox: SandboxClient, sluice_connections: dict[str, str]) -> Workspace:
    """The sandbox's Kaleidoscope."""
    return Workspace(sluice_sandbox)


def _task_factory(airflow: Airflow, workspace: Workspace, name: str, **defaults: Any) -> Callable[..., TaskHarness]:
    def make_task(**args: Any) -> TaskHarness:
        dag = args.pop("dag", None)
        operator = getattr(operators, name)
        args = {"operation_id": workspace.operation_id, "retries": 3, **defaults, **args}
        return airflow.task(operator, task_id=args.pop("task_id", "task"), dag=dag, **args)

    return make_task


@pytest.fixture
def register_file(airflow: Airflow, workspace: Workspace) -> Callable[..., TaskHarness]:
    """A task that registers the file."""
    return _task_factory(airflow, workspace, "KaleidoscopeRegisterFileOperator", file_id=workspace.file_id)


@pytest.fixture
def submit_results(airflow: Airflow, workspace: Workspace) -> Callable[..., TaskHarness]:
    """A task that reports results of the file."""
    more = {"file_id": workspace.file_id, "status": "success", "records": RESULTS}
    return _task_factory(airflow, workspace, "KaleidoscopeSubmitRegistrationResultsOperator", **more)


@pytest.fixture
def push_status(airflow: Airflow, workspace: Workspace) -> Callable[..., TaskHarness]:
    """A task that reports that the file is validated."""
    more = {"file_id": workspace.file_id, "status": "validated"}
    return _task_factory(airflow, workspace, "KaleidoscopePushRegistrationStatusOperator", **more)


@pytest.fixture
def stage_drafts(airflow: Airflow, workspace: Workspace) -> Callable[..., TaskHarness]:
    """A task that stages two drafts."""
    more = {"records": ROWS, "key_field_names": ["name"]}
    return _task_factory(airflow, workspace, "KaleidoscopeStageDraftsOperator", **more)


@pytest.fixture
def submit_drafts(airflow: Airflow, workspace: Workspace) -> Callable[..., TaskHarness]:
    """A task that submits all drafts."""
    return _task_factory(airflow, workspace, "KaleidoscopeSubmitDraftsOperator")
