"""Kaleidoscope's hook has every endpoint that the API modules describe, blocking and awaiting."""

from __future__ import annotations

import asyncio
import inspect

import pytest

from sluice_provider.apis.kaleidoscope import drafts as kaleidoscope_drafts
from sluice_provider.apis.kaleidoscope import endpoints as kaleidoscope
from sluice_provider.apis.kaleidoscope import files as kaleidoscope_files
from sluice_provider.apis.kaleidoscope import registration as kaleidoscope_registration
from sluice_provider.hooks.base import Endpoint
from sluice_provider.hooks.kaleidoscope import KaleidoscopeHook
from sluice_provider.sources.output_files import AtomicFile

MODULES = (kaleidoscope, kaleidoscope_drafts, kaleidoscope_files, kaleidoscope_registration)
ONLY_FOR_TASKS = {"find_registration", "find_submissions", "find_run", "get_drafts"}


def test_every_flow_is_an_endpoint():
    """By the same name, except those that reconcile an unknown outcome or poll a job."""
    flows = {
        name: thing
        for module in MODULES
        for name, thing in inspect.getmembers(module, inspect.isgeneratorfunction)
        if thing.__module__ == module.__name__ and not name.startswith("_")
    }
    endpoints = {name: each.flow for name, each in vars(KaleidoscopeHook).items() if isinstance(each, Endpoint)}
    assert endpoints == {name: flow for name, flow in flows.items() if name not in ONLY_FOR_TASKS}


def test_every_job_type_is_known():
    """All job types of the API modules; none hides another."""
    kinds = [kind for module in MODULES for kind in getattr(module, "JOB_TYPES", {})]
    assert sorted(KaleidoscopeHook().job_types) == sorted(kinds)


@pytest.mark.parametrize("client", ["worker", "triggerer"])
def test_a_registration_through_the_hook(sluice_sandbox, sluice_connections, tmp_path, client):
    """As a user without this package's operators would do it."""
    hook = KaleidoscopeHook()
    ids = sluice_sandbox.state()["kaleidoscope"]["ids"]
    op, file_id = ids["operation_id"], ids["file_id"]

    async def session():
        await hook.register_file.aio(op, file_id)
        await hook.download_file.aio(file_id, AtomicFile(str(tmp_path), "a.csv"), op)
        await hook.submit_results.aio(op, file_id, "success")
        return await hook.get_registration.aio(op, file_id)

    if client == "triggerer":
        found = asyncio.run(session())
    else:
        hook.register_file(op, file_id)
        hook.download_file(file_id, AtomicFile(str(tmp_path), "a.csv"), op)
        hook.submit_results(op, file_id, "success")
        found = hook.get_registration(op, file_id)
        hook.close()
    assert found["status"] == "completed"
    assert (tmp_path / "a.csv").read_text().startswith("name,")
