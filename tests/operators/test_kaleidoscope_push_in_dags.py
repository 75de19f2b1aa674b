"""What is around a push: templates, upstream tasks, mapping, assets, links, lineage, and nothing secret anywhere."""

from __future__ import annotations

import json

import pytest

from sluice_provider.http import auth
from sluice_provider.operators.kaleidoscope import KaleidoscopePushOperator
from sluice_sandbox.kaleidoscope.fields import stable_id
from tests.operators.airflow_harness import ELEMENTS, SECRET

pytestmark = pytest.mark.airflow

OPERATION, SOURCE, VIEW = stable_id("operation"), stable_id("source"), stable_id("record_view")


# --- templates and upstream tasks


def test_templates_are_rendered_before_validation(push, service, tmp_path):
    """Path, ids, names and connection id may be templates."""
    (tmp_path / "h.csv").write_text("symbol\nH\n")
    task = push(
        dag={"params": {"file": "h", "operation": OPERATION, "conn": "default"}},
        records=f"{tmp_path}/{{{{ params.file }}}}.csv",
        key_field_names=["{{ 'symbol' }}"],
        operation_id="{{ params.operation }}",
        source_id=f"{{{{ '{SOURCE}' }}}}",
        set_name="Elements of {{ run_id }}",
        kaleidoscope_conn_id="kaleidoscope_{{ params.conn }}",
        deferrable=True,
    ).run()
    [sent] = service.pushes
    assert task.state == "success"
    assert sent["key_field_names"] == ["symbol"]
    assert (sent["operation_id"], sent["set_name"]) == (OPERATION, "Elements of run")
    assert task.result["url"].endswith(f"/operations/{OPERATION}")


def test_a_template_that_renders_to_an_empty_string_is_rejected(push, service):
    """Before anything is sent."""
    task = push(operation_id="{{ '' }}").run()
    assert "operation_id must be a non-empty id" in str(task.error)
    assert service.requests() == []


def test_the_output_of_an_upstream_task_is_pushed(airflow, service):
    """A list of dicts, passed by XCom."""
    from airflow.sdk import task

    @task
    def elements():
        return ELEMENTS

    dag_run = airflow.dag_run(
        lambda: KaleidoscopePushOperator(task_id="push", records=elements(), key_field_names=["symbol"])
    )
    dag_run.task("elements").run()
    assert dag_run.task("push").run().result["created"] == 3


def test_error_for_a_list_rendered_to_a_string(airflow, service):
    """The usual mistake: a template makes text of it."""
    task = airflow.task(
        KaleidoscopePushOperator,
        dag={"params": {"rows": ELEMENTS}},
        records="{{ params.rows }}",
        key_field_names=["symbol"],
    ).run()
    assert "render_template_as_native_obj" in str(task.error)
    assert service.requests() == []


# --- mapping


def test_mapped_tasks_have_their_own_jobs(airflow, service, clock):
    """Record, ids, link and result belong to a map index."""
    dag_run = airflow.dag_run(
        lambda: KaleidoscopePushOperator.partial(
            task_id="push", key_field_names=["symbol"], deferrable=True, retries=1
        ).expand(records=[[element] for element in ELEMENTS])
    )
    tasks = [dag_run.task("push", map_index=index) for index in range(3)]
    for task in tasks:
        task.defer()
    ids = service.imports
    assert [task.xcom("job_ids") for task in tasks] == [[each] for each in ids]
    assert [task.xcom("_link_KaleidoscopeLink").rpartition("/")[2] for task in tasks] == ids
    for task in tasks:
        task.fire().worker_run()
    assert [task.result["import_ids"] for task in tasks] == [[each] for each in ids]
    assert service.sent == [["H"], ["He"], ["Li"]]
    tasks[1].clear().run()
    assert service.sent[3:] == [["He"]]


# --- assets


@pytest.mark.parametrize("deferrable", [False, True], ids=["plain", "deferrable"])
def test_an_outlet_gets_the_result(push, deferrable):
    """The asset's event says what the XCom says."""
    from airflow.models.asset import AssetEvent, AssetModel
    from airflow.sdk import Asset
    from airflow.utils.session import create_session
    from sqlalchemy import select

    uri = f"x-sluice://elements/{deferrable}"
    task = push(outlets=[Asset(uri)], deferrable=deferrable).run()
    with create_session() as session:
        asset = session.scalars(select(AssetModel).filter_by(uri=uri)).one()
        [extra] = session.scalars(select(AssetEvent.extra).filter_by(asset_id=asset.id)).all()
    assert extra == task.result


# --- links


def test_the_link_is_set_whenever_the_task_defers_or_ends(push, service):
    """While deferred, when done, and on the try after a failure."""
    service.settings(fail_imports=1)
    task = push(deferrable=True).defer()
    assert task.xcom("_link_KaleidoscopeLink").endswith(f"/imports/{service.imports[0]}")
    task.fire().worker_run()
    assert task.xcom("_link_KaleidoscopeLink").endswith(f"/imports/{service.imports[0]}")
    task.retry()
    assert task.xcom("_link_KaleidoscopeLink").endswith(f"/imports/{service.imports[1]}")


def test_no_link_without_web_url(push, service, sluice_connections, monkeypatch):
    """The API names none, so the connection must."""
    connection = json.loads(sluice_connections["kaleidoscope_default"])
    monkeypatch.setenv("AIRFLOW_CONN_KALEIDOSCOPE_DEFAULT", json.dumps({**connection, "extra": {}}))
    task = push().run()
    assert (task.state, task.result["url"]) == ("success", "")


# --- lineage


@pytest.mark.parametrize("deferrable", [False, True], ids=["plain", "deferrable"])
def test_openlineage_datasets(push, service, tmp_path, sluice_sandbox, deferrable):
    """The job ids, the input file and the output; also from the resumed operator."""
    path = tmp_path / "h.csv"
    path.write_text("symbol\nH\nHe\n")
    task = push(records=str(path), operation_id=OPERATION, batch_size=1, deferrable=deferrable).run()
    facets = task.operator.get_openlineage_facets_on_complete(None)
    host = sluice_sandbox.url.removeprefix("http://")
    assert [(each.namespace, each.name) for each in facets.inputs] == [("file", str(path))]
    assert [(each.namespace, each.name) for each in facets.outputs] == [
        (f"kaleidoscope://{host}", f"operations/{OPERATION}")
    ]
    assert facets.run_facets["externalQuery"].externalQueryId == ",".join(service.imports)
    assert facets.run_facets["externalQuery"].source == f"{sluice_sandbox.url}/kaleidoscope"


# --- nothing secret


def everything(task):
    """All that Airflow keeps of a task instance, and all that was logged, as one text."""
    from airflow.models.renderedtifields import RenderedTaskInstanceFields
    from airflow.models.task_state_store import TaskStateStoreModel
    from airflow.models.trigger import Trigger
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        kept = [
            *session.scalars(select(XComModel.value)),
            *session.scalars(select(TaskStateStoreModel.value)),
            *session.scalars(select(RenderedTaskInstanceFields.rendered_fields)),
            *(trigger.kwargs for trigger in session.scalars(select(Trigger))),
        ]
    return "\n".join([*map(str, kept), *task.log, repr(task.error), str(vars(task.operator))])


def test_no_secret_is_stored_logged_or_returned(push, service, sluice_sandbox):
    """Client secret and tokens are in no XCom, record, trigger, event, rendered field, error or log."""
    task = push(deferrable=True).defer()
    event = task.event()
    task.fire(event).worker_run()
    tokens = [cache.get() for cache in auth._caches.values() if cache.get()]
    service.inject_fault("GET", "imports/", status=401)
    service.settings(fail_imports=1)
    failed = push(deferrable=True).run()
    text = "\n".join([everything(task), everything(failed), json.dumps(event)])
    assert task.result["import_ids"][0] in text
    assert tokens
    for secret in [SECRET, *tokens]:
        assert secret not in text
