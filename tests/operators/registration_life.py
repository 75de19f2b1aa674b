"""Registrations in Kaleidoscope for the tests of tasks: both sides of the desk, and what a test sees of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from sluice_provider.operators import kaleidoscope as operators

if TYPE_CHECKING:
    from collections.abc import Callable

    from sluice_provider.testing import SandboxClient
    from tests.operators.airflow_harness import Airflow, TaskHarness

ROWS = [{"name": "Aspirin", "smiles": "CC(=O)O"}, {"name": "Caffeine", "smiles": "Cn1c"}]
RESULTS = [
    {"record_id": "r1", "status": "matched", "data": {"id": "7"}},
    {"record_id": "r2", "status": "not_found", "error_message": "no such compound"},
]


class Desk:
    """The sandbox's Kaleidoscope, as user, registrar and onlooker."""

    def __init__(self, sandbox: SandboxClient) -> None:
        self.sandbox = sandbox
        ids = sandbox.state(records=False)["kaleidoscope"]["ids"]
        self.operation_id, self.file_id = ids["operation_id"], ids["file_id"]
        self._hook: Any = None

    @property
    def hook(self) -> Any:
        """Another client of the same remote."""
        from sluice_provider.hooks.kaleidoscope import KaleidoscopeHook

        self._hook = self._hook or KaleidoscopeHook()
        return self._hook

    @property
    def state(self) -> dict[str, Any]:
        state: dict[str, Any] = self.sandbox.state()["kaleidoscope"]
        return state

    @property
    def registrations(self) -> list[dict[str, Any]]:
        """Of files, oldest first, with all that became of them."""
        found: list[dict[str, Any]] = self.state["registrations"]
        return found

    @property
    def submissions(self) -> list[dict[str, Any]]:
        """Of drafts, oldest first."""
        found: list[dict[str, Any]] = self.state["submissions"]
        return found

    @property
    def drafts(self) -> dict[str, str]:
        """Why each draft left the table, by its name; "" for one that is there."""
        return {each["key"]["name"]: each["archived"] for each in self.state["drafts"]}

    @property
    def draft_ids(self) -> list[str]:
        return [each["id"] for each in self.state["drafts"] if not each["archived"]]

    def register(self) -> str:
        """Somebody registers the file."""
        return str(self.hook.register_file(self.operation_id, self.file_id)["id"])

    def stage(self, rows: list[dict[str, Any]] = ROWS) -> list[str]:
        """Somebody stages drafts."""
        staging = self.hook.get_staging(self.operation_id)
        import_id = self.hook.create_draft_import(self.operation_id, rows)
        self.hook.run_draft_import(import_id, ["name"], ["smiles"], staging)
        self.sandbox.advance(10)
        return self.draft_ids

    def submit(self, *, validation: bool = False) -> str:
        """Somebody submits all drafts."""
        submit = self.hook.validate_drafts if validation else self.hook.submit_drafts
        return str(submit(self.operation_id)["id"])

    def answer(self, status: str = "success", submission_id: str | None = None, **more: Any) -> None:
        """The registrar sends results."""
        if submission_id:
            self.hook.submit_submission_results(self.operation_id, submission_id, status, **more)
        else:
            self.hook.submit_results(self.operation_id, self.file_id, status, **more)

    def trouble(self, path: str, *, times: int = 1, **fault: Any) -> None:
        """For the next requests of this kind."""
        self.sandbox.faults([{"method": "POST", "path": path, "times": times, **fault}])

    def asked(self, path: str) -> list[Any]:
        """Bodies of the requests of this kind, also of those that were refused or dropped."""
        posts = [each for each in self.sandbox.requests() if each["method"] == "POST"]
        return [each["json"] for each in posts if path in each["path"]]


@pytest.fixture
def desk(sluice_sandbox: SandboxClient, sluice_connections: dict[str, str]) -> Desk:
    """Both sides."""
    return Desk(sluice_sandbox)


def _beginner(airflow: Airflow, desk: Desk, name: str, **defaults: Any) -> Callable[..., TaskHarness]:
    def begin(**args: Any) -> TaskHarness:
        dag = args.pop("dag", None)
        operator = getattr(operators, name)
        args = {"operation_id": desk.operation_id, "retries": 3, **defaults, **args}
        return airflow.life(operator, task_id=args.pop("task_id", "task"), dag=dag, **args)

    return begin


@pytest.fixture
def register(airflow: Airflow, desk: Desk) -> Callable[..., TaskHarness]:
    """Registers the file."""
    return _beginner(airflow, desk, "KaleidoscopeRegisterFileOperator", file_id=desk.file_id)


@pytest.fixture
def report(airflow: Airflow, desk: Desk) -> Callable[..., TaskHarness]:
    """Reports results for the file."""
    more = {"file_id": desk.file_id, "status": "success", "records": RESULTS}
    return _beginner(airflow, desk, "KaleidoscopeSubmitRegistrationResultsOperator", **more)


@pytest.fixture
def tell(airflow: Airflow, desk: Desk) -> Callable[..., TaskHarness]:
    """Says that the file is validated."""
    more = {"file_id": desk.file_id, "status": "validated"}
    return _beginner(airflow, desk, "KaleidoscopePushRegistrationStatusOperator", **more)


@pytest.fixture
def stage(airflow: Airflow, desk: Desk) -> Callable[..., TaskHarness]:
    """Stages two drafts."""
    more = {"records": ROWS, "key_field_names": ["name"]}
    return _beginner(airflow, desk, "KaleidoscopeStageDraftsOperator", **more)


@pytest.fixture
def submit(airflow: Airflow, desk: Desk) -> Callable[..., TaskHarness]:
    """Submits all drafts."""
    return _beginner(airflow, desk, "KaleidoscopeSubmitDraftsOperator")
