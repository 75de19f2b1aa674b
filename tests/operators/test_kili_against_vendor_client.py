"""Our task and the vendor's own client, on the same bucket."""

from __future__ import annotations

import pytest

from tests.kili_vendor import session

pytestmark = [pytest.mark.airflow, pytest.mark.vendor]


def test_both_end_in_the_same_assets(sync, add, kili, sluice_sandbox, tmp_path):
    """Two connections with the same filters, one synchronised by each, before and after the bucket changes."""
    filters = {"prefix": None, "include": ["cats", "dogs/*"], "exclude": ["*two*"]}
    ours = add(if_exists="add", **filters).run().result["connection_id"]
    theirs = add(if_exists="add", **filters).run().result["connection_id"]
    kili.settings(job_seconds=1)
    for _ in range(2):
        session(sluice_sandbox.url, tmp_path, theirs)
        task = sync(cloud_storage_connection_id=ours, delete_extraneous_files=True).run()
        assert task.state == "success"
        assert sorted(kili.connection(ours)["assets"]) == sorted(kili.connection(theirs)["assets"]) != []
        (kili.bucket / "cats" / "one.png").unlink(missing_ok=True)
        kili.put("cats/three.png", "birds/one.png", "dogs/two.png")
    assert sorted(kili.connection(ours)["assets"]) == ["cats/three.png", "dogs/one.png"]
