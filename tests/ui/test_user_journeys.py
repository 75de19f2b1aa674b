"""What users do, in a real browser, with a whole Airflow and the sandbox."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import httpx
import pytest

from airflow_standalone import Standalone

pytestmark = [pytest.mark.standalone, pytest.mark.ui]

ROOT = Path(__file__).parents[2]
EXAMPLE = "liquid_decisions_roundtrip"
JOB_SECONDS = 600.0
"""So long that no job ends by itself: a test lets them end with `end_jobs`."""


@pytest.fixture(scope="module")
def sandbox(_sluice_server):
    """One sandbox for this module."""
    _sluice_server.reset()
    _sluice_server.settings(job_seconds=JOB_SECONDS)
    return _sluice_server


@pytest.fixture(scope="module")
def airflow(browser, sandbox, tmp_path_factory):
    """One Airflow for this module, with an example DAG, and without the connection that a test adds."""
    folder = tmp_path_factory.mktemp("ui")
    dags, data = folder / "dags", folder / "data"
    shutil.copytree(Path(__file__).parent / "dags", dags)
    shutil.copytree(ROOT / "dags_examples/data", dags / "data")
    shutil.copy(ROOT / f"dags_examples/{EXAMPLE}.py", dags)
    data.mkdir()
    (data / "elements.csv").write_text("symbol,name\n" + "".join(f"E{n},Element {n}\n" for n in range(200)))
    (data / "accounts.csv").write_text("id,name\n1,First\n2,Second\n")
    env = {
        "AIRFLOW_CONN_KALEIDOSCOPE_DEFAULT": sandbox.connections()["kaleidoscope_default"],
        "AIRFLOW__CORE__TEST_CONNECTION": "Enabled",
        "SLUICE_UI_DATA": str(data),
    }
    with Standalone(dags, env=env) as airflow:
        airflow.wait_dags()
        yield airflow


@pytest.fixture
def jobs(page, airflow):
    """Opens the Remote jobs page by Airflow's menu."""

    def open_page():
        page.goto(f"{airflow.url}/")
        page.get_by_role("button", name="Browse").click()
        page.get_by_role("menuitem", name="Remote jobs").click()
        page.get_by_role("heading", name="Remote jobs").wait_for()
        return page

    return open_page


def start_run(airflow, dag_id):
    """Trigger a DAG and wait until its task is deferred or over; return the run id."""
    airflow.unpause(dag_id)
    run_id = airflow.trigger(dag_id)

    def deferred_or_over():
        states = {each["state"] for each in airflow.task_instances(dag_id, run_id)}
        return states & {"deferred", "success", "failed"} or None

    airflow.wait(f"{dag_id} to be deferred", deferred_or_over)
    return run_id


def end_jobs(sandbox):
    """Let all jobs of the sandbox end now, and later ones after a second."""
    sandbox.settings(job_seconds=1)
    sandbox.advance(JOB_SECONDS)


def job_row(page, run_id, state):
    """The row of a run's job, once the page shows this state without being reloaded."""
    row = page.get_by_role("row").filter(has_text=run_id).filter(has=page.locator(".sluice-state", has_text=state))
    row.first.wait_for()
    return row.first


def test_a_connection_is_added_and_tested(page, airflow, sandbox):
    """With the form, with a URL as host and an empty port; then tested from the list."""
    fields = json.loads(sandbox.connections()["liquid_decisions_default"])
    page.goto(f"{airflow.url}/connections")
    page.get_by_role("button", name="Add Connection").click()
    page.locator("[name=connection_id]").fill("liquid_decisions_default")
    page.get_by_role("combobox").first.click()
    page.keyboard.type("Liquid")
    page.keyboard.press("Enter")
    page.locator("[name=host]").fill(f"{sandbox.url}/liquid-decisions")
    page.locator("[name=login]").fill(fields["login"])
    page.locator("[name=password]").fill(fields["password"])
    page.get_by_role("button", name="Extra Fields", exact=True).click()
    for name, value in fields["extra"].items():
        page.locator(f"[name=element_{name}]").fill(value)
    page.get_by_role("button", name="Save").click()
    row = page.get_by_role("row").filter(has_text="liquid_decisions_default")
    row.wait_for()
    assert airflow.get("connections/liquid_decisions_default")["port"] is None
    with page.expect_response("**/connections/test") as response:
        row.get_by_role("button", name="Test Connection").click()
    assert response.value.status == httpx.codes.OK
    assert response.value.json() == {
        "status": True,
        "message": "Connected to community 'Sluice' as 'sluice@example.com'.",
    }


@pytest.mark.parametrize(
    ("title", "standard", "extra"),
    [
        ("Kaleidoscope", ("Client ID", "Client secret", "Port"), ("Web UI URL", "IAP audience", "Verify TLS")),
        ("Kili", ("Endpoint", "API key", "Port"), ("Web UI URL", "Proxy")),
        ("Liquid Decisions", ("Host", "Login", "Password"), ("Community", "Client ID", "Client secret")),
    ],
)
def test_the_form_of_each_type(page, airflow, title, standard, extra):
    """Has fields by the names that the service uses. Of its two sections only one is open at a time."""
    page.goto(f"{airflow.url}/connections")
    page.get_by_role("button", name="Add Connection").click()
    page.get_by_role("combobox").first.click()
    page.keyboard.type(title)
    page.keyboard.press("Enter")
    form = page.get_by_role("dialog")
    for label in standard:
        form.get_by_text(label, exact=True).wait_for()
    assert form.get_by_text("Schema", exact=True).count() == 0
    form.get_by_role("button", name="Extra Fields", exact=True).click()
    for label in extra:
        form.get_by_text(label, exact=True).wait_for()


def test_no_jobs_yet(jobs):
    """The page says when jobs are listed."""
    page = jobs()
    page.locator(".sluice-notice", has_text="No remote jobs").wait_for()
    assert "A job is listed as soon as a task submits it" in page.locator(".sluice-notice").inner_text()
    assert page.locator("tbody tr").count() == 0


def test_the_page_follows_a_running_dag(jobs, airflow, sandbox, picture):
    """Its jobs appear while they run, and their ends are shown without reloading the page."""
    page = jobs()
    airflow.unpause(EXAMPLE)
    page.get_by_role("button", name="Refresh").wait_for()
    run = airflow.wait("the run of the example", lambda: next(iter(airflow.runs(EXAMPLE)), None))
    airflow.wait("its tasks", lambda: deferred_tasks(airflow, run["dag_run_id"]) or None)
    page.get_by_role("button", name="Refresh").click()
    row = job_row(page, run["dag_run_id"], "Running")
    assert "Liquid Decisions import" in row.inner_text()
    picture("jobs-running")
    end_jobs(sandbox)
    job_row(page, run["dag_run_id"], "Succeeded")
    airflow.wait_run(EXAMPLE, run["dag_run_id"])


def deferred_tasks(airflow, run_id):
    """The deferred task instances of a run of the example."""
    return [each for each in airflow.task_instances(EXAMPLE, run_id) if each["state"] == "deferred"]


def test_a_link_to_the_service(jobs, airflow, sandbox):
    """In the list and in the tab; it opens a new browser tab."""
    sandbox.settings(job_seconds=JOB_SECONDS)
    run_id = start_run(airflow, "compounds")
    page = jobs()
    row = job_row(page, run_id, "Running")
    [*_, job] = sandbox.state()["kaleidoscope"]["imports"]
    link = row.get_by_role("link", name=re.compile("Open in Kaleidoscope"))
    with page.expect_popup() as popup:
        link.click()
    popup.value.wait_for_load_state()
    assert popup.value.url.startswith(sandbox.url)
    assert job["id"] in popup.value.title()
    row.get_by_role("link", name="push", exact=True).click()
    page.locator(".sluice-panel").first.wait_for()
    with page.expect_popup() as popup:
        page.get_by_role("link", name=re.compile("Open in Kaleidoscope")).click()
    assert popup.value.url.endswith(job["id"])


def test_the_history_of_a_job(page, airflow, sandbox, picture):
    """From the submission to the end, without reloading the page."""
    [run] = airflow.runs("compounds")
    [*_, job] = sandbox.state()["kaleidoscope"]["imports"]
    page.goto(f"{airflow.url}/dags/compounds/runs/{run['dag_run_id']}/tasks/push")
    page.get_by_role("link", name="Remote job").click()
    page.locator(".sluice-state", has_text="Running").wait_for()
    end_jobs(sandbox)
    page.locator(".sluice-state", has_text="Succeeded").wait_for()  # written by the trigger, then by the task
    page.locator(".sluice-history li", has_text="Ended").wait_for()
    events = [each.inner_text() for each in page.locator(".sluice-history li").all()]
    assert "Submitting" in events[0]
    assert "Submitted" in events[1]
    assert job["id"] in events[1]
    assert "Deferred" in " ".join(events)
    assert "Ended" in events[-1]
    picture("job-tab")


def test_a_task_without_a_remote_job(page, airflow):
    """The tab says so. Its process has loaded the plugin, and nothing that only the API server needs."""
    airflow.unpause("plain")
    run_id = airflow.trigger("plain")
    assert airflow.wait_run("plain", run_id)["state"] == "success"
    page.goto(f"{airflow.url}/dags/plain/runs/{run_id}/tasks/loaded_modules/plugin/sluice-job")
    assert page.locator(".sluice-notice", has_text="remote job").inner_text() == (
        "This task instance has not submitted a remote job."
    )
    modules = airflow.xcom("plain", run_id, "loaded_modules")
    assert modules == ["sluice_provider.plugin", "sluice_provider.plugin.connection_test"]


def test_why_a_job_failed(jobs, airflow, sandbox):
    """The service's message is in the list, so nobody has to read a log."""
    sandbox.settings(fail_imports=1, job_seconds=1)
    run_id = start_run(airflow, "compounds")
    airflow.wait_run("compounds", run_id)
    row = job_row(jobs(), run_id, "Failed")
    assert "could not be processed" in row.inner_text()


def test_marking_a_deferred_task_as_failed(page, airflow, sandbox):
    """The trigger asks Liquid Decisions to cancel the job, and the tab shows it."""
    sandbox.settings(fail_imports=0, job_seconds=JOB_SECONDS)
    run_id = start_run(airflow, "accounts")
    page.goto(f"{airflow.url}/dags/accounts/runs/{run_id}/tasks/import_accounts/plugin/sluice-job")
    page.locator(".sluice-state", has_text="Running").wait_for()
    page.get_by_role("button", name="Mark Task Instance as").click()
    page.get_by_role("menuitem", name="Failed").click()
    page.get_by_role("dialog").get_by_role("button", name="Confirm").click()

    def cancelled():
        jobs = sandbox.state()["liquid_decisions"]["jobs"]
        return any(each["status"].startswith("Cancel") for each in jobs) or None

    airflow.wait("Liquid Decisions to be asked to cancel", cancelled)
    state = page.locator(".sluice-state", has_text=re.compile("Cancel"))
    state.wait_for()
    event = page.locator(".sluice-event-cancel")
    event.first.wait_for()
    assert state.inner_text() in ("Cancelling", "Cancelled")
    assert event.locator("b").first.inner_text() == "Cancelling"


def open_question(page, airflow, sandbox):
    """Let an import get no response; open what the task then asks, and return the run id."""
    sandbox.settings(job_seconds=JOB_SECONDS)
    sandbox.faults([{"method": "POST", "path": "batch/import", "drop": "after"}])
    airflow.unpause("asked")
    run_id = airflow.trigger("asked")
    wait_for(airflow, run_id, {"awaiting_input"})
    page.goto(f"{airflow.url}/dags/asked/runs/{run_id}/tasks/import_accounts")
    page.get_by_role("link", name="Required Action").click()
    page.get_by_text("Liquid Decisions: was the import accepted?").wait_for()
    return run_id


def wait_for(airflow, run_id, states):
    """Wait until the import is in one of these states; it must not fail."""

    def seen():
        return {each["state"] for each in airflow.task_instances("asked", run_id)} & {*states, "failed"}

    assert airflow.wait(f"the import to be {states}", lambda: seen() or None) <= states


def imports(sandbox):
    """The jobs that the DAG has submitted."""
    jobs = sandbox.state()["liquid_decisions"]["jobs"]
    return [job for job in jobs if job["fields"]["jobName"].startswith("Asked")]


def test_a_person_finds_the_job(page, airflow, sandbox, picture):
    """The task asks in Required Actions; with the id that is entered it waits for the job, and submits nothing."""
    run_id = open_question(page, airflow, sandbox)
    picture("unknown-outcome")
    (job,) = imports(sandbox)
    page.get_by_role("textbox").last.fill(job["id"])
    page.get_by_role("button", name="It is there").click()
    wait_for(airflow, run_id, {"deferred"})
    end_jobs(sandbox)
    wait_for(airflow, run_id, {"success"})
    assert [each["id"] for each in imports(sandbox)] == [job["id"]]


def test_a_person_finds_no_job(page, airflow, sandbox):
    """And lets the task submit again."""
    before = len(imports(sandbox))
    run_id = open_question(page, airflow, sandbox)
    page.get_by_role("button", name="It is not there").click()
    wait_for(airflow, run_id, {"deferred"})
    end_jobs(sandbox)
    wait_for(airflow, run_id, {"success"})
    assert len(imports(sandbox)) == before + 2
