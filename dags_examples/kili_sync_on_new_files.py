"""
### Label what arrives in a bucket

A task draws six plots into a bucket. Kili is connected to the bucket, a sensor waits until Kili finds new files, and
these become assets of a project, ready to be labelled. A plot that is gone from the bucket is removed from the project
too, unless that would be more than half of them: then something is wrong with the bucket, and the task fails.

Project and integration are parameters of the DAG; their defaults are the sandbox's, whose buckets are folders. The
bucket's address is read from Kili. With another kind of storage, write the files to its own address (`s3://...`).
"""

from __future__ import annotations

import logging
import math
import struct
import zlib
from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, ObjectStoragePath, task

from sluice_provider.hooks.kili import KiliHook
from sluice_provider.operators.kili import KiliAddCloudStorageConnectionOperator, KiliSyncCloudStorageOperator
from sluice_provider.sensors.kili import KiliCloudStorageDifferenceSensor

WIDTH, HEIGHT, PLOTS = 320, 200, 6
PAPER, AXIS, INK = b"\xff\xff\xff", b"\x99\x99\x99", b"\x1f\x6f\x8b"
log = logging.getLogger(__name__)


def plot(waves: int) -> list[bytes]:
    """A damped wave, as rows of pixels from top to bottom."""
    heights = [
        HEIGHT / 2 - math.exp(-x / WIDTH) * math.sin(x * waves * math.tau / WIDTH) * HEIGHT / 2.2 for x in range(WIDTH)
    ]

    def pixel(x: int, y: int) -> bytes:
        slope = abs(heights[x] - heights[x - 1]) / 2 if x else 0
        return INK if abs(y - heights[x]) <= 1 + slope else AXIS if y == HEIGHT // 2 or x == 0 else PAPER

    return [b"".join(pixel(x, y) for x in range(WIDTH)) for y in range(HEIGHT)]


def png(rows: list[bytes]) -> bytes:
    """The rows as a PNG file (RFC 2083): a header, the pixels, an end."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 2, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)))
    return b"\x89PNG\r\n\x1a\n" + header + pixels + chunk(b"IEND", b"")


@task
def draw(integration_id: str) -> int:
    """Draw the plots into the bucket."""
    found = KiliHook().get_cloud_storage_integration(integration_id, ["s3Endpoint", "s3BucketName"])
    folder = ObjectStoragePath(f"{found['s3Endpoint']}/{found['s3BucketName']}/plots")
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(1, PLOTS + 1):
        (folder / f"wave-{number}.png").write_bytes(png(plot(number)))
    log.info("%d plots are in %s", PLOTS, folder)
    return PLOTS


@task
def show(synchronised: dict[str, Any]) -> None:
    """Log the result."""
    log.info("%(added)s added, %(removed)s removed, %(assets_after)s assets now: %(url)s", synchronised)


with DAG(
    "kili_sync_on_new_files",
    schedule=None,
    default_args={"retries": 2, "retry_delay": timedelta(seconds=10)},
    params={"project_id": "c55ef2691040a576eb242dddd", "integration_id": "cc7b352db655d5e0ebe924feb"},
    tags=["sluice", "demo", "kili"],
    doc_md=__doc__,
) as dag:
    connect = KiliAddCloudStorageConnectionOperator(
        task_id="connect",
        project_id="{{ params.project_id }}",
        cloud_storage_integration_id="{{ params.integration_id }}",
        prefix="plots/",
        compute_differences=False,
        multiple_outputs=True,
    )
    connection_id = connect.output["connection_id"]
    wait = KiliCloudStorageDifferenceSensor(
        task_id="wait", cloud_storage_connection_id=connection_id, minimum=PLOTS, deferrable=True
    )
    sync = KiliSyncCloudStorageOperator(
        task_id="sync",
        cloud_storage_connection_id=connection_id,
        delete_extraneous_files=True,
        max_removed=0.5,
        deferrable=True,
    )
    draw("{{ params.integration_id }}")
    wait >> sync
    show(sync.output)


if __name__ == "__main__":
    dag.test()
