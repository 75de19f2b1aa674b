"""The Remote jobs page with many jobs, one, and none, in both themes, below a base path, and what it never does."""

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
    """Sixty jobs of twelve hours in four DAGs; older ones: one that somebody has tampered with, and a mapped one."""
    seed(session, int(os.environ.get("SLUICE_UI_JOBS", "60")), span=DAY / 2)
    add_dags(session, ["tampered", "mapped", "eventful"])
    short = summary("kaleidoscope", "import", "failed", time.time() - 8 * 86_400, 60, random.Random(1))
    add_job(session, ("mapped", "run", "push", 3), record_values(short), "failed")
    short |= {
        "ids": [EVIL],
        "noun": EVIL,
        "message": EVIL,
        "service_status": EVIL,
        "url": "javascript:globalThis.evil=1",
    }
    add_job(session, ("tampered", "run", "push", -1), record_values(short), "failed")
    at = short["submitted_at"]
    written = {f"{KEY}_history_0": [[at + n, what, "text"] for n, what in enumerate(EVENTS)]}
    add_job(session, ("eventful", "run", "push", -1), {**record_values(short), **written}, "failed")


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


def chosen(page):
    """What the address keeps."""
    return parse_qs(urlsplit(page.url).query)


def only(page, selector, text):
    """Wait until all of these say the same."""
    every = f"[...document.querySelectorAll('{selector}')].every((each) => each.textContent === '{text}')"
    page.wait_for_function(every)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1400, 800])
def test_it_fits(show, picture, theme, width):
    """Nothing sticks out; the theme is Airflow's; each line has its state as a word."""
    page = show(theme=theme, width=width)
    assert page.locator("tbody tr").count() == 50
    assert page.evaluate(
        "document.querySelector('.sluice').scrollWidth <= document.querySelector('.sluice').clientWidth"
    )
    assert theme in page.locator("html").get_attribute("class")
    ink = "getComputedStyle(document.querySelector('%s')).color"
    assert page.evaluate(ink % ".sluice") == page.evaluate(ink % "body")
    assert page.locator(".sluice-timeline .sluice-mark").count() == 60
    picture(f"jobs-{theme}-{width}")


def test_filters_are_kept_in_the_address(show):
    """By state, service, DAG and time; whoever opens the address sees the same, and the browser goes back."""
    page = show()
    page.locator(".sluice-count.sluice-succeeded").click()
    page.wait_for_url("**state=succeeded*")
    only(page, ".sluice-table .sluice-state", "Succeeded")
    page.get_by_label("Service", exact=True).select_option("finspace")
    page.get_by_label("Time", exact=True).select_option("24h")
    page.get_by_label("DAG", exact=True).select_option("daily_partition")
    page.wait_for_url("**dag=daily_partition*")
    only(page, ".sluice-c-task > span > a:first-child", "daily_partition")
    query = {"state": ["succeeded"], "service": ["finspace"], "within": ["24h"], "dag": ["daily_partition"]}
    assert chosen(page) == query
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
    """The second page has the rest; choosing a filter goes back to the first."""
    page = show()
    assert "1 to 50 of 60 jobs" in page.locator(".sluice-foot").inner_text()
    page.get_by_role("button", name="Next page").click()
    page.get_by_text("51 to 60 of 60 jobs").wait_for()
    assert chosen(page) == {"page": ["2"]}
    page.get_by_label("Time", exact=True).select_option("30d")
    page.wait_for_url("**within=30d")
    assert "page" not in chosen(page)


def test_one_job_that_somebody_tampered_with(show):
    """What is written in a record is text: it runs nothing and leads nowhere."""
    page = show("?within=30d&dag=tampered")
    row = page.locator("tbody tr")
    row.wait_for()
    assert row.inner_text().count(EVIL) == 4
    assert row.locator("img").count() == 0
    assert row.locator("a[href^='javascript']").count() == 0
    assert page.evaluate("globalThis.evil") is None


def test_no_job_matches(show):
    """What was chosen has no jobs: the page says so and offers the way out."""
    page = show("?state=cancelling")
    page.get_by_text("No job matches these filters").wait_for()
    page.locator(".sluice-notice").get_by_role("button", name="Clear filters").click()
    page.locator("tbody tr").first.wait_for()


def test_a_bad_address(show):
    """Is told what is wrong with it."""
    page = show("?within=soon", until=".sluice-bad")
    assert "within must be a time like 90m" in page.get_by_role("alert").inner_text()


def test_links_into_airflow_hold_below_the_base_path(show, server):
    """To the DAG, the run and the task."""
    page = show()
    links = {each.get_attribute("href") for each in page.locator("tbody a.sluice-link:not([target])").all()}
    assert links
    assert all(link.startswith("/airflow/dags/") for link in links)
    page.locator("tbody tr").first.locator("td.sluice-c-task a").nth(1).click()
    page.wait_for_url(f"{server.url}/dags/**/plugin/sluice-job")
    page.locator(".sluice-panel").first.wait_for()


def test_one_of_many_mapped_tasks(show, server):
    """Has its index in the list, and a tab of its own."""
    page = show("?within=30d&dag=mapped")
    page.get_by_role("link", name="push [3]").click()
    page.wait_for_url(f"{server.url}/dags/mapped/runs/run/tasks/push/mapped/3/plugin/sluice-job")
    page.locator(".sluice-state", has_text="Failed").wait_for()


def test_it_refreshes_only_while_it_is_visible(show):
    """While jobs run it sends a request every few seconds; hidden, or when no job is active, it does not."""
    page = show()
    requests = []
    page.on("request", lambda request: requests.append(request.url) if "/sluice/api/" in request.url else None)
    page.wait_for_timeout(6000)
    assert len(requests) >= 1
    hide = "Object.defineProperty(document, 'hidden', {value: %s, configurable: true});"
    page.evaluate(hide % "true" + "document.dispatchEvent(new Event('visibilitychange'))")
    requests.clear()
    page.wait_for_timeout(6500)
    assert requests == []
    page.evaluate(hide % "false" + "document.dispatchEvent(new Event('visibilitychange'))")
    page.wait_for_timeout(1000)
    assert len(requests) == 1
    page.get_by_label("Service", exact=True).select_option("finspace")
    page.wait_for_url("**service=finspace")
    page.wait_for_timeout(1000)
    requests.clear()
    page.wait_for_timeout(6000)
    assert requests == []


def test_the_words(show):
    """Each state, and each fact of a job, by the words of the documentation."""
    page = show("?within=30d")
    shown = [each.inner_text() for each in page.locator(".sluice-count span").all()]
    assert shown == ["Running", "Outcome unknown", "Failed", "Orphaned", "Cancelled", "Succeeded"]
    heads = [each.inner_text() for each in page.locator("thead th").all()]
    assert heads == ["State", "Job", "Progress", "Submitted", "Task", "Try", "Last message"]
    page.locator("tbody tr", has_text="still running").get_by_role("link").nth(-2).click()
    page.locator(".sluice-facts").wait_for()
    facts = [each.inner_text() for each in page.locator(".sluice-facts dt").all()]
    assert facts[:6] == ["Job ID", "Submitted", "Running for", "Last update", "Try", "Connection"]
    page.locator(".sluice-history li", has_text="Submitting").first.wait_for()


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
    "replaced": "Submitted again",
    "of_a_newer_version": "of a newer version",
}


def test_the_words_of_a_history(show, server):
    """Each kind of event has a label; one that this version does not know is shown as it is."""
    page = show()
    page.goto(f"{server.url}/dags/eventful/runs/run/tasks/push/plugin/sluice-job")
    page.locator(".sluice-history li").first.wait_for()
    assert [each.inner_text() for each in page.locator(".sluice-history b").all()] == list(EVENTS.values())


def test_a_login_that_ended(show):
    """Leads to Airflow's login, and from there back."""
    page = show()
    page.context.clear_cookies()
    page.get_by_role("button", name="Refresh").click()
    page.wait_for_url("**/auth/login**")
    assert "sluice-jobs" in page.url
