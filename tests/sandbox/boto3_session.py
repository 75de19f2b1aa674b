"""Run in a process of its own, with boto3 and botocore 1.43.116 on the path: use FinSpace as its users would.

Not a test: `test_finspace_vendor.py` starts it and judges what it tells. Nothing of ours is imported here.
"""

from __future__ import annotations

import json
import sys
import urllib.request

import boto3
from botocore.config import Config

ROOT, KEYS = sys.argv[1], json.loads(sys.argv[2])
BUCKET = "s3://sluice-market-data/hdb"
CHANGES = [
    {"changeType": "PUT", "s3Path": f"{BUCKET}/2026.03.02/", "dbPath": "/2026.03.02/"},
    {"changeType": "PUT", "s3Path": f"{BUCKET}/sym", "dbPath": "/"},
    {"changeType": "DELETE", "dbPath": "/2026.03.01/"},
]


def settings(**changes):
    """Turn the sandbox, its clock above all."""
    body = json.dumps(changes).encode()
    urllib.request.urlopen(urllib.request.Request(f"{ROOT}/control/settings", body), timeout=5).read()


def client(**changes):
    """A client that gives up at once."""
    known = {**KEYS, **changes}
    return boto3.client(
        "finspace",
        region_name=known["region"],
        aws_access_key_id=known["access_key"],
        aws_secret_access_key=known["secret_key"],
        endpoint_url=f"{ROOT}/finspace",
        config=Config(retries={"max_attempts": 0}),
    )


def paged(call, member, **arguments):
    """All pages of a listing that has no paginator."""
    found, token, pages = [], {}, 0
    while True:
        answer = call(**arguments, **token)
        found, pages = found + answer[member], pages + 1
        if "nextToken" not in answer:
            return found, pages
        token = {"nextToken": answer["nextToken"]}


def failure(call, **arguments):
    """What a call comes to that cannot work: the exception boto3 made of it, its code and status."""
    try:
        call(**arguments)
    except Exception as error:  # noqa: BLE001 - which one is what we want to know
        response = getattr(error, "response", {})
        meta = response.get("ResponseMetadata", {})
        return [type(error).__name__, response.get("Error", {}).get("Code"), meta.get("HTTPStatusCode")]
    return None


def main():
    """All eight operations, then what goes wrong."""
    finspace = client()
    paginator = finspace.get_paginator("list_kx_environments")
    [environment] = [each for page in paginator.paginate() for each in page["environments"]]
    where = {"environmentId": environment["environmentId"]}
    told = {"environment": finspace.get_kx_environment(**where)["status"]}
    told["made"] = [finspace.create_kx_database(**where, databaseName=f"db{n}")["databaseArn"] for n in range(3)]
    databases, pages = paged(finspace.list_kx_databases, "kxDatabases", **where, maxResults=3)
    told["databases"] = [[each["databaseName"] for each in databases], pages]
    where["databaseName"] = "db0"
    asked = {**where, "changeRequests": CHANGES, "clientToken": "token-1"}
    made = finspace.create_kx_changeset(**asked)
    told["same"] = finspace.create_kx_changeset(**asked)["changesetId"] == made["changesetId"]
    told["first"] = [made["status"], made["changeRequests"] == CHANGES]
    settings(clock_advance=3)
    one = {**where, "changesetId": made["changesetId"]}
    found = finspace.get_kx_changeset(**one)
    seconds = (found["activeFromTimestamp"] - found["createdTimestamp"]).total_seconds()
    told["then"] = [found["status"], round(seconds, 1)]
    for number in range(2):
        finspace.create_kx_changeset(**where, changeRequests=CHANGES[number : number + 1])
    changesets, pages = paged(finspace.list_kx_changesets, "kxChangesets", **where, maxResults=1)
    told["changesets"] = [len(changesets), pages]
    told["database"] = [finspace.get_kx_database(**where)[name] for name in ("numFiles", "numChangesets")]
    told["failures"] = {
        "other body": failure(finspace.create_kx_changeset, **{**asked, "changeRequests": CHANGES[:1]}),
        "unknown": failure(finspace.get_kx_changeset, **{**one, "changesetId": "unknown"}),
        "bad path": failure(
            finspace.create_kx_changeset, **{**where, "changeRequests": [{**CHANGES[1], "dbPath": "x"}]}
        ),
        "there": failure(finspace.create_kx_database, **where),
        "secret": failure(client(secret_key="wrong").list_kx_environments),
        "key": failure(client(access_key="AKIAWRONG").list_kx_environments),
        "region": failure(client(region="us-east-1").list_kx_environments),
    }
    settings(signature_clock_skew=600)
    told["failures"]["skew"] = failure(finspace.list_kx_environments)
    sys.stdout.write("told:" + json.dumps(told, default=str))


main()
