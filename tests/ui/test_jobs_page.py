"""The Remote jobs page with many jobs, one, and none, in both themes, below a base path."""

from __future__ import annotations

import os
import random
import time
from urllib.parse import parse_qs, urlsplit

import pytest

from airflow_api_server import ApiServer
from seeded_jobs import DAY, add_dags, add_job, record_values, seed, summary
from sluice_provider.jobs.storage import KEY

pytestmark = [pytest.mark.standalone, pytest.mark.ui]

EVIL = '<img src=x onerror="globalThis.evil = 1">'


def fill(session):
    """Sixty jobs of twelve hours in four DAGs, and older ones: a manipulated one, a mapped one, one with all events."""
    seed(session, int(os.environ.get("SLUICE_UI_JOBS", "60")), span=DAY / 2)
    add_dags(session, ["tampered", "mapped", "eventful", "unsent"])
    fields = summary("kaleidoscope", "import", "failed", time.time() - 8 * 86_400, 60, random.Random(1))
    add_job(session, ("mapped", "run", "push", 3), record_values(fields), "failed")
    unsent = record_values({**fields, "ids": [], "url": "", "message": "nothing was submitted: no such file"})
    unsent[KEY]["summary"]["submitted_at"] = None
    add_job(session, ("unsent", "run", "push", -1), unsent, "failed")
    fields |= {
        "ids": [EVIL],
        "noun": EVIL,
        "message": EVIL,
        "service_status": EVIL,
        "url": "javascript:globalThis.evil=1",
    }
    add_job(session, ("tampered", "run", "push", -1), record_values(fields), "failed")
    at = fields["submitted_at"]
    written = {f"{KEY}_history_0": [[at + n, event, "text"] for n, event in enumerate(EVENTS)]}
    add_job(session, ("eventful", "run", "push", -1), {**record_values(fields), **written}, "failed")


@pytest.fixture(scope="module")
def server(browser):
    """Airflow below a base path."""
    with ApiServer(fill=fill, path="/airflow") as server:
        yield server


@pytest.fixture
def show(page, server):
    """Logs in as a viewer and opens the page."""

    def open_page(query="", theme="light", width=1400, until=".sluice-counts"):
        page.goto(f"{server.url}/auth/login")
        page.fill("input[name=username]", "vera")
        page.fill("input[name=password]", server.users["vera"])
        page.keyboard.press("Enter")
        page.wait_for_url("**/airflow/")
        page.evaluate(f"localStorage.setItem('theme', '{theme}')")
        page.set_viewport_size({"width": width, "height": 900})
        page.goto(f"{server.url}/plugin/sluice-jobs{query}")
        page.locator(until).wait_for()
        return page

    return open_page


def query_of(page):
    """The filters in the URL."""
    return parse_qs(urlsplit(page.url).query)


def wait_for_all(page, selector, text):
    """Wait until all of these elements have this text."""
    every = f"[...document.querySelectorAll('{selector}')].every((each) => each.textContent === '{text}')"
    page.wait_for_function(every)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1400, 800])
def test_layout(show, picture, theme, width):
    """Nothing overflows, and the colours are those of Airflow's theme."""
    page = show(theme=theme, width=width)
    assert page.locator("tbody tr").count() == 50
    assert page.evaluate(
        "document.querySelector('.sluice').scrollWidth <= document.querySelector('.sluice').clientWidth"
    )
    assert theme in page.locator("html").get_attribute("class")
    color = "getComputedStyle(document.querySelector('%s')).color"
    assert page.evaluate(color % ".sluice") == page.evaluate(color % "body")
    assert page.locator(".sluice-timeline .sluice-timeline-bar").count() == 60
    picture(f"jobs-{theme}-{width}")


def test_filters_are_kept_in_the_url(show):
    """State, service, DAG and time: reloading shows the same, and the browser's back button works."""
    page = show()
    page.locator(".sluice-count.sluice-succeeded").click()
    page.wait_for_url("**state=succeeded*")
    wait_for_all(page, ".sluice-table .sluice-state", "Succeeded")
    page.get_by_label("Service", exact=True).select_option("finspace")
    page.get_by_label("Time", exact=True).select_option("24h")
    page.get_by_label("DAG", exact=True).select_option("daily_partition")
    page.wait_for_url("**dag=daily_partition*")
    wait_for_all(page, ".sluice-c-task > span > a:first-child", "daily_partition")
    query = {"state": ["succeeded"], "service": ["finspace"], "within": ["24h"], "dag": ["daily_partition"]}
    assert query_of(page) == query
    count = page.locator("tbody tr").count()
    page.reload()
    page.locator("tbody tr").first.wait_for()
    assert page.locator("tbody tr").count() == count > 3
    assert page.get_by_label("Service", exact=True).input_value() == "finspace"
    page.go_back()
    page.wait_for_function("!location.search.includes('dag=')")
    page.get_by_role("button", name="Clear filters").click()
    page.wait_for_function("location.search === ''")


def test_pages(show):
    """The second page has the rest; selecting a filter returns to the first."""
    page = show()
    assert "1 to 50 of 60 jobs" in page.locator(".sluice-footer").inner_text()
    page.get_by_role("button", name="Next page").click()
    page.get_by_text("51 to 60 of 60 jobs").wait_for()
    assert query_of(page) == {"page": ["2"]}
    page.get_by_label("Time", exact=True).select_option("30d")
    page.wait_for_url("**within=30d")
    assert "page" not in query_of(page)


def test_a_manipulated_record(show):
    """Its values are shown as text: they run no script and are no link."""
    page = show("?within=30d&dag=tampered")
    row = page.locator("tbody tr")
    row.wait_for()
    assert row.inner_text().count(EVIL) == 4
    assert row.locator("img").count() == 0
    assert row.locator("a[href^='javascript']").count() == 0
    assert page.evaluate("globalThis.evil") is None


def test_no_job_matches(show):
    """The page says so, and its button clears the filters."""
    page = show("?state=cancelling")
    page.get_by_text("No jobs match these filters").wait_for()
    assert page.locator("tbody tr").count() == 0
    page.locator(".sluice-notice").get_by_role("button", name="Clear filters").click()
    page.locator("tbody tr").first.wait_for()
    assert query_of(page) == {}


def test_an_invalid_url(show):
    """The page says what is wrong with it."""
    page = show("?within=soon", until=".sluice-error")
    assert "within must be a duration like 90m" in page.get_by_role("alert").inner_text()


def test_links_to_airflow_work_below_the_base_path(show, server):
    """To the DAG, the run and the task."""
    page = show()
    links = {each.get_attribute("href") for each in page.locator("tbody a.sluice-link:not([target])").all()}
    assert links
    assert all(link.startswith("/airflow/dags/") for link in links)
    page.locator("tbody tr").first.locator("td.sluice-c-task a").nth(1).click()
    page.wait_for_url(f"{server.url}/dags/**/plugin/sluice-job")
    page.locator(".sluice-panel").first.wait_for()
    assert page.locator(".sluice-panel").count() == 2


def test_a_mapped_task(show, server):
    """It has its index in the list, and a tab of its own."""
    page = show("?within=30d&dag=mapped")
    page.get_by_role("link", name="push [3]").click()
    page.wait_for_url(f"{server.url}/dags/mapped/runs/run/tasks/push/mapped/3/plugin/sluice-job")
    page.locator(".sluice-state").wait_for()
    assert page.locator(".sluice-state").inner_text() == "Failed"


def test_a_task_that_failed_before_submitting(show, server):
    """Has a reason, and neither a time of a submission nor a bar."""
    page = show("?within=30d&dag=unsent")
    row = page.locator("tbody tr")
    row.wait_for()
    assert "Not submitted" in row.inner_text()
    assert "nothing was submitted: no such file" in row.inner_text()
    assert page.locator(".sluice-timeline-bar").count() == 0
    row.get_by_role("link", name="push").click()
    page.wait_for_url(f"{server.url}/dags/unsent/**/plugin/sluice-job")
    page.get_by_text("Nothing was submitted", exact=True).wait_for()


def set_visibility(page, hidden):
    """Let the browser report that its tab is hidden or visible."""
    page.evaluate(
        "(value) => Object.defineProperty(document, 'hidden', { value, configurable: true }) && "
        "document.dispatchEvent(new Event('visibilitychange'))",
        hidden,
    )


def is_jobs_request(request):
    """Whether a request is for our API."""
    return "/sluice/api/jobs" in request.url


def test_it_refreshes_only_while_visible_and_active(show):
    """It repeats its request while jobs are active; not in a hidden tab, and not if no job is active."""
    page = show()
    with page.expect_request(is_jobs_request):
        pass
    requests = []
    page.on("request", lambda request: requests.append(request.url) if is_jobs_request(request) else None)
    set_visibility(page, hidden=True)
    requests.clear()
    page.wait_for_timeout(6500)
    assert requests == []
    with page.expect_request(is_jobs_request):
        set_visibility(page, hidden=False)
    with page.expect_response("**/sluice/api/jobs?service=finspace") as response:
        page.get_by_label("Service", exact=True).select_option("finspace")
    assert response.value.json()["active"] is False
    requests.clear()
    page.wait_for_timeout(6500)
    assert requests == []


def test_labels(show):
    """The states, the columns and the facts of a job are labelled as in the documentation."""
    page = show("?within=30d")
    states = [each.inner_text() for each in page.locator(".sluice-count span").all()]
    assert states == ["Running", "Outcome unknown", "Failed", "Orphaned", "Cancelled", "Succeeded"]
    columns = [each.inner_text() for each in page.locator("thead th").all()]
    assert columns == ["State", "Job", "Progress", "Submitted", "Task", "Try", "Last message"]
    page.locator("tbody tr", has_text="in progress").get_by_role("link").nth(-2).click()
    page.locator(".sluice-facts").wait_for()
    facts = [each.inner_text() for each in page.locator(".sluice-facts dt").all()]
    assert facts[:6] == ["Job ID", "Submitted", "Running for", "Last update", "Try", "Connection"]
    page.locator(".sluice-history li").first.wait_for()
    assert "Submitting" in page.locator(".sluice-history li").first.inner_text()


EVENTS = {
    "submitting": "Submitting",
    "submitted": "Submitted",
    "deferred": "Deferred",
    "status": "Status",
    "reconnected": "Reconnected",
    "outcome_unknown": "Outcome unknown",
    "trigger_restarted": "Trigger restarted",
    "rejected": "Row rejected",
    "ended": "Ended",
    "error": "Error",
    "cancel": "Cancelling",
    "cleared": "Task cleared",
    "replaced": "Resubmitting",
    "of_a_newer_version": "of a newer version",
}


def test_labels_of_the_history(show, server):
    """Each type of event has a label; the name of an unknown one is shown."""
    page = show()
    page.goto(f"{server.url}/dags/eventful/runs/run/tasks/push/plugin/sluice-job")
    page.locator(".sluice-history li").first.wait_for()
    assert [each.inner_text() for each in page.locator(".sluice-history b").all()] == list(EVENTS.values())


def test_an_expired_session(show):
    """It leads to Airflow's login, and from there back."""
    page = show()
    page.context.clear_cookies()
    page.get_by_role("button", name="Refresh").click()
    page.wait_for_url("**/auth/login**")
    assert "sluice-jobs" in page.url
