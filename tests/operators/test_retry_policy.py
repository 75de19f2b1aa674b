"""What a failed try means for the next one."""

from __future__ import annotations

from datetime import timedelta

import pytest
from airflow.sdk import RetryPolicy
from airflow.sdk.definitions.retry_policy import RetryDecision

from tests.operators.airflow_harness import ELEMENTS

pytestmark = pytest.mark.airflow

DEFAULT_DELAY = 300.0


class Stubborn(RetryPolicy):
    """Tries again after a minute, whatever it was."""

    def evaluate(self, exception, try_number, max_tries, context=None):
        """Again."""
        return RetryDecision.retry(timedelta(seconds=60), "again")

    def serialize(self):
        """It has no settings."""
        return {}

    @classmethod
    def deserialize(cls, data):
        """It has no settings."""
        return cls()


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 422])
def test_what_the_service_refuses_is_not_tried_again(push, service, status):
    """The same request would be refused again, whatever `retries` says."""
    service.inject_fault("POST", "push/imports", status=status)
    assert push().run().state == "failed"


def test_wrong_credentials_are_not_tried_again(push, service):
    """Nor are they for the token."""
    service.inject_fault("POST", "oauth/token", status=401)
    assert push().run().state == "failed"


def test_bad_input_is_not_tried_again(push):
    """The same records would be as bad."""
    assert push(records=[{"name": "Hydrogen"}]).run().state == "failed"


def test_rejected_rows_are_not_tried_again(push, service):
    """The same rows would be rejected again."""
    service.settings(rejected_rows=1)
    assert push().run().state == "failed"


def test_a_failed_import_is_tried_again(push, service):
    """It may have been the service's bad day."""
    service.settings(fail_imports=1)
    task = push().run()
    assert (task.state, task.retry_seconds) == ("up_for_retry", DEFAULT_DELAY)


def test_a_service_that_is_away_is_tried_again(push, service):
    """With the delay that the author set."""
    service.inject_fault("POST", "push/imports", status=503)
    task = push(retry_delay=timedelta(seconds=40)).run()
    assert (task.state, task.retry_seconds) == ("up_for_retry", 40.0)


def test_retry_after_becomes_the_delay_of_the_next_try(push, service):
    """If `Retry-After` exceeds what a request may wait, Airflow waits instead."""
    service.inject_fault("POST", "push/imports", status=429, headers={"Retry-After": "1234"})
    task = push().run()
    assert (task.state, task.retry_seconds) == ("up_for_retry", 1234.0)


def test_retries_still_count(push, service):
    """The policy gives no try that the author did not."""
    service.inject_fault("POST", "push/imports", status=429, headers={"Retry-After": "1234"})
    assert push(retries=0).run().state == "failed"


def test_the_authors_policy_wins(push, service):
    """As an argument."""
    service.inject_fault("POST", "push/imports", status=403)
    task = push(retry_policy=Stubborn()).run()
    assert (task.state, task.retry_seconds) == ("up_for_retry", 60.0)


def test_no_policy_is_a_policy(push, service):
    """None means Airflow's own way: every error is tried again."""
    service.inject_fault("POST", "push/imports", status=403)
    task = push(retry_policy=None).run()
    assert (task.state, task.retry_seconds) == ("up_for_retry", DEFAULT_DELAY)


def test_the_policy_of_the_dag_wins(push, service):
    """As one of the DAG's default_args."""
    service.inject_fault("POST", "push/imports", status=403)
    task = push(dag={"default_args": {"retry_policy": Stubborn()}}).run()
    assert (task.state, task.retry_seconds) == ("up_for_retry", 60.0)


@pytest.mark.parametrize(
    ("policy", "state"), [({}, "failed"), ({"retry_policy": Stubborn()}, "up_for_retry")], ids=["default", "own"]
)
def test_mapped_tasks_have_it_too(airflow, service, policy, state):
    """By `.partial()`, and by default."""
    from sluice_provider.operators.kaleidoscope import KaleidoscopePushOperator

    service.inject_fault("POST", "push/imports", status=403)
    dag_run = airflow.dag_run(
        lambda: KaleidoscopePushOperator.partial(
            task_id="push", key_field_names=["symbol"], retries=3, **policy
        ).expand(records=[ELEMENTS])
    )
    assert dag_run.task("push", map_index=0).run().state == state


def test_the_policy_survives_serialisation():
    """Airflow may store it with the DAG."""
    from sluice_provider.runtime.retry import SluiceRetryPolicy

    policy = SluiceRetryPolicy.deserialize(SluiceRetryPolicy().serialize())
    assert isinstance(policy, SluiceRetryPolicy)
