"""Runs in a separate process with boto3 and botocore 1.43.116: uses FinSpace as its users would.

Not a test: `test_finspace_vendor.py` starts it and checks its output. It imports nothing of the provider.
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
    """Change settings of the sandbox, mainly its clock."""
    body = json.dumps(changes).encode()
    request = urllib.request.Request(f"{ROOT}/control/settings", body, {"Content-Type": "application/json"})
    urllib.request.urlopen(request, timeout=5).read()


def client(**changes):
    """A client without retries."""
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
    """Exception name, code and status of a call that must fail."""
    try:
        call(**arguments)
    except Exception as error:  # noqa: BLE001 - which one is what we want to know
        response = getattr(error, "response", {})
        meta = response.get("ResponseMetadata", {})
        return [type(error).__name__, response.get("Error", {}).get("Code"), meta.get("HTTPStatusCode")]
    return None


def main():
    """All eight operations, then errors."""
    finspace = client()
    paginator = finspace.get_paginator("list_kx_environments")
    [environment] = [each for page in paginator.paginate() for each in page["environments"]]
    where = {"environmentId": environment["environmentId"]}
    report = {"environment": finspace.get_kx_environment(**where)["status"]}
    report["made"] = [finspace.create_kx_database(**where, databaseName=f"db{n}")["databaseArn"] for n in range(3)]
    databases, pages = paged(finspace.list_kx_databases, "kxDatabases", **where, maxResults=3)
    report["databases"] = [[each["databaseName"] for each in databases], pages]
    where["databaseName"] = "db0"
    request = {**where, "changeRequests": CHANGES, "clientToken": "token-1"}
    made = finspace.create_kx_changeset(**request)
    report["same"] = finspace.create_kx_changeset(**request)["changesetId"] == made["changesetId"]
    report["first"] = [made["status"], made["changeRequests"] == CHANGES]
    settings(clock_advance=3)
    one = {**where, "changesetId": made["changesetId"]}
    found = finspace.get_kx_changeset(**one)
    seconds = (found["activeFromTimestamp"] - found["createdTimestamp"]).total_seconds()
    report["then"] = [found["status"], round(seconds, 1)]
    for number in range(2):
        finspace.create_kx_changeset(**where, changeRequests=CHANGES[number : number + 1])
    changesets, pages = paged(finspace.list_kx_changesets, "kxChangesets", **where, maxResults=1)
    report["changesets"] = [len(changesets), pages]
    report["database"] = [finspace.get_kx_database(**where)[name] for name in ("numFiles", "numChangesets")]
    report["failures"] = {
        "other body": failure(finspace.create_kx_changeset, **{**request, "changeRequests": CHANGES[:1]}),
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
    report["failures"]["skew"] = failure(finspace.list_kx_environments)
    sys.stdout.write("report:" + json.dumps(report, default=str))


main()
