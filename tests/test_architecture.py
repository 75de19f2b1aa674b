"""The architecture test: who may import whom, what there is for each service, what is cheap, what can be read."""

from __future__ import annotations

import ast
import io
import json
import pkgutil
import re
import subprocess
import sys
import tokenize
from functools import cache
from importlib import import_module
from importlib.metadata import distribution
from pathlib import Path

import pytest

import sluice_provider
from sluice_provider.services import SERVICES

HOME = Path(sluice_provider.__file__).parent
SANDBOX = HOME.parent / "sluice_sandbox"
MODULES = sorted(HOME.rglob("*.py"))
LONGEST_FUNCTION = 50

# --- the layers

MAY_IMPORT = {
    "redaction": set(),
    "errors": {"redaction"},
    "services": set(),
    "connection_fields": set(),
    "__init__": {"services", "connection_fields"},
    "http": {"redaction", "connection_fields", "errors"},
    "jobs": {"redaction", "http", "errors"},
    "records": set(),
    "compat": {"redaction"},  # imports Airflow inside functions only
    "sources": {"records", "compat", "errors"},
    "apis": {"redaction", "sources", "jobs", "http", "errors"},
    "testing": set(),
    # Airflow is imported from here on
    "assets": {"compat"},
    "lineage": {"assets"},
    "links": set(),
    "metrics": {"compat", "jobs"},
    "files": {"sources", "apis", "http", "errors"},
    "webhooks": {"sources", "errors"},
    "events": {"webhooks", "errors"},
    "hooks": {"redaction", "metrics", "compat", "apis", "jobs", "http", "connection_fields", "services", "errors"},
    "progress": {"metrics", "compat", "jobs", "http"},
    "shared_poller": {"hooks", "jobs", "http", "errors"},
    "triggers": {"shared_poller", "progress", "hooks", "compat", "jobs", "http", "errors"},
    "watchers": {"hooks", "webhooks", "compat", "errors"},
    "runtime": {"redaction", "triggers", "progress", "hooks", "lineage", "metrics", "compat", "jobs", "http", "errors"},
    "operators": {
        "runtime",
        "records",
        "sources",
        "links",
        "lineage",
        "compat",
        "apis",
        "jobs",
        "http",
        "errors",
    },
    "sensors": {"runtime", "links", "apis", "jobs", "errors"},
    "plugin": {"progress", "hooks", "webhooks", "links", "compat", "jobs", "http", "services", "errors"},
}
"""Layer by layer, from the bottom up, what each may import besides itself: what it needs, and nothing above it."""

LAZILY = {
    ("runtime", "triggers"),
    *((layer, "jobs") for layer in ("operators", "sensors", "hooks")),
    ("operators", "http"),
    *((layer, "apis") for layer in ("sensors", "hooks")),
    *(("operators", below) for below in ("lineage", "sources")),
}
"""For which no DAG file must pay: imported inside functions only."""

PARSED = {
    *("operators", "sensors", "links", "metrics", "compat"),
    *(f"hooks.{module}" for module in ("base", *(service.name for service in SERVICES))),
    *("errors", "redaction", "services", "connection_fields", "records"),
    *(f"runtime.{module}" for module in ("operator", "sensor", "retry", "task")),
    "apis.finspace.change_requests",  # `put` and `delete`, which DAG files use
}
"""Layers and modules that a DAG file may load: what describes a task, and not what runs it."""

WITHOUT = {
    "airflow": {"errors", "redaction", "services", "connection_fields", "http", "jobs", "apis", "webhooks", "testing"},
    "httpx": set(MAY_IMPORT) - {"http", "hooks", "testing"},
    "fastapi": set(MAY_IMPORT) - {"plugin"},
    "starlette": set(MAY_IMPORT) - {"plugin"},
}
"""Libraries that these layers never import, not even inside a function."""

COMPAT = "compat/"
OTHER_PROVIDERS = ("airflow.providers.amazon.", "airflow.providers.openlineage.")

DECIDING = ("events", "evidence", "lifecycle", "model", "question", "record", "state_line", "storage")
"""Modules of `jobs` that decide, and so are tested by running them: without clock and I/O."""
MAY_DECIDE_WITH = {
    *("__future__", "collections", "datetime", "enum", "hashlib", "itertools", "json", "re", "types", "typing"),
    "sluice_provider.errors",
    *(
        f"sluice_provider.jobs.{name}"
        for name in ("events", "lifecycle", "model", "question", "record", "spec", "state_line")
    ),
}
IMPURE = {"now", "utcnow", "today", "open", "print", "input", "__import__"}

LAYERS_OF_SERVICES = ("apis", "hooks", "operators", "sensors")


def layer_of(path):
    """The layer of a module of the package: the first part of its name below it."""
    return path.relative_to(HOME).with_suffix("").parts[0]


def dotted(path):
    """The name by which a module is imported; not for packages."""
    return ".".join(("sluice_provider", *path.relative_to(HOME).with_suffix("").parts))


def shown(path, line):
    """Where a rule was broken."""
    return f"{path.relative_to(HOME.parent)}:{line}"


@cache
def tree_of(path):
    """A module, parsed."""
    return ast.parse(path.read_text())


@cache
def nodes_of(path):
    """Everything in a module."""
    return list(ast.walk(tree_of(path)))


def imports_of(path):
    """Every module that is imported anywhere in this one, with its line; also inside functions and type checking."""
    for node in nodes_of(path):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{shown(path, node.lineno)}: imports are absolute here"
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


@cache
def arrows():
    """Every import of one layer by another: from, to, where, and whether at the top of the module."""
    found = []
    for path in MODULES:
        top = {node.lineno for node in tree_of(path).body if isinstance(node, (ast.Import, ast.ImportFrom))}
        for name, line in imports_of(path):
            package, *rest = name.split(".")
            if package == "sluice_provider" and rest and rest[0] != "__version__":
                found.append((layer_of(path), rest[0], f"{shown(path, line)} imports {name}", line in top))
    return [arrow for arrow in found if arrow[0] != arrow[1]]


def test_every_module_is_in_a_layer():
    """A new layer needs its allowed imports here. Every layer exists."""
    assert {layer_of(path) for path in MODULES} == set(MAY_IMPORT)


def test_layers_only_know_layers_below():
    """So there is no cycle among them."""
    layers = list(MAY_IMPORT)
    for number, layer in enumerate(layers):
        assert MAY_IMPORT[layer] <= set(layers[:number]), layer


def test_no_arrow_goes_up():
    """Each layer imports only what it may."""
    assert [where for source, target, where, _ in arrows() if target not in MAY_IMPORT[source]] == []


def test_every_allowed_import_is_used():
    """An unused permission would allow imports that were never reviewed."""
    used = {(source, target) for source, target, _, _ in arrows()}
    assert {(layer, below) for layer in MAY_IMPORT for below in MAY_IMPORT[layer]} == used


def test_what_is_imported_late_stays_late():
    """Inside functions, or for types only."""
    assert [where for source, target, where, top in arrows() if (source, target) in LAZILY and top] == []


def impurities(name):
    """Everything in this module of `jobs` that could read a clock, or have an effect."""
    path = HOME / "jobs" / f"{name}.py"
    for module, line in imports_of(path):
        if MAY_DECIDE_WITH.isdisjoint({module, module.rpartition(".")[0], module.split(".")[0]}):
            yield f"{shown(path, line)} imports {module}"
    for node in nodes_of(path):
        called = node.func if isinstance(node, ast.Call) else None
        word = getattr(called, "id", getattr(called, "attr", ""))
        if word in IMPURE:
            yield f"{shown(path, node.lineno)} calls {word}"


@pytest.mark.parametrize("name", DECIDING)
def test_what_decides_has_no_clock_and_no_effects(name):
    """What happens next is decided by the record and the event alone, so that it can be tested by running it."""
    assert list(impurities(name)) == []
    assert list(impurities("execution")), "the rule sees nothing"


@pytest.mark.parametrize("library", WITHOUT)
def test_libraries_stay_where_they_belong(library):
    """HTTP is for `http` and hooks, web frameworks serve, and Airflow is not known at the bottom."""
    found = [
        shown(path, line)
        for path in MODULES
        for name, line in imports_of(path)
        if name.split(".")[0] == library and layer_of(path) in WITHOUT[library]
    ]
    assert found == []


def test_imports_are_read_right():
    """The reader of imports sees what is there: a rule that never finds anything would hold always."""
    found = {name for path in MODULES for name, _ in imports_of(path)}
    assert {"airflow.sdk.BaseHook", "httpx", "sluice_provider.errors.SluiceError"} <= found
    assert len(MODULES) > 30


def unpromised_by_airflow(path):
    """Every import of what is Airflow's and not a name of `airflow.sdk`, also by its name in a text."""
    promised = {f"airflow.sdk.{name}" for name in import_module("airflow.sdk").__all__}
    texts = [(n.value, n.lineno) for n in nodes_of(path) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
    modules = [(text, line) for text, line in texts if re.fullmatch(r"airflow(\.\w+)+", text)]
    for name, line in [*imports_of(path), *modules]:
        if name.split(".")[0] == "airflow" and name not in promised and not name.startswith(OTHER_PROVIDERS):
            yield name, line


def version_checks(path):
    """Every place that tries an import of Airflow, or inspects one of its signatures."""
    for node in nodes_of(path):
        if isinstance(node, ast.Try) and any("ImportError" in ast.dump(each) for each in node.handlers):
            for statement in node.body:
                if isinstance(statement, ast.ImportFrom) and (statement.module or "").startswith("airflow."):
                    yield statement.module, node.lineno
        if isinstance(node, ast.Attribute) and ast.unparse(node) == "inspect.signature":
            yield "inspect.signature", node.lineno


@pytest.mark.parametrize("rule", [unpromised_by_airflow, version_checks])
def test_one_place_depends_on_the_version_of_airflow(rule):
    """A new one changes only that. Other providers promise what they promise."""
    broken = {
        (shown(path, line), name)
        for path in MODULES
        for name, line in rule(path)
        if not path.relative_to(HOME).as_posix().startswith(COMPAT) and not name.startswith(OTHER_PROVIDERS)
    }
    assert broken == set()
    assert any(list(rule(path)) for path in (HOME / COMPAT).glob("*.py")), "the rule sees nothing"


def test_layers_without_airflow_do_not_import_what_depends_on_it():
    """By no way around: not by way of a layer that imports it. What webhooks take from the sources is without it."""
    for layer in WITHOUT["airflow"]:
        assert MAY_IMPORT[layer] - {"sources"} <= WITHOUT["airflow"], layer
    below = loaded_by(*(f"import {name}" for name in ("sluice_provider.webhooks.kaleidoscope", *_without_airflow())))
    assert "sluice_provider.jobs.execution" in below
    assert {name for name in below if name.split(".")[0] == "airflow"} == set()


def _without_airflow():
    return [dotted(path) for path in MODULES if layer_of(path) in ("jobs", "apis") and path.stem != "__init__"]


def test_only_airflow_loads_operators():
    """Nor sensors; and only the fixtures for tests start the sandbox."""
    for known in MAY_IMPORT.values():
        assert known.isdisjoint({"operators", "sensors", "plugin", "testing"})
    found = [(layer_of(path), name) for path in MODULES for name, _ in imports_of(path)]
    starting = {layer for layer, name in found if name.startswith("sluice_sandbox")}
    assert starting == {"testing"}


def test_the_sandbox_knows_nothing_of_the_provider():
    """So it cannot share a misreading of ours. It needs no Airflow, and a client only for webhooks that it sends."""
    imported = {(path, name) for path in SANDBOX.rglob("*.py") for name, _ in imports_of(path)}
    found = {name for _, name in imported if name.split(".")[0] in ("sluice_provider", "airflow")}
    assert found == set()
    assert {path.name for path, name in imported if name.split(".")[0] == "httpx"} == {"webhooks.py"}


# --- the services


@pytest.mark.parametrize("layer", LAYERS_OF_SERVICES)
@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)
def test_every_layer_has_a_module_for_the_service(layer, service):
    """The list of what a new service needs, as a test."""
    module = HOME / layer / service.name
    assert module.with_suffix(".py").is_file() or (module / "__init__.py").is_file()


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)
def test_the_sandbox_has_every_service(service):
    """A mock of each."""
    assert (SANDBOX / service.name / "service.py").is_file()


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)
def test_every_service_says_what_its_jobs_are(service):
    """In a module beside that of its API, so that they can be tested and simulated without Airflow."""
    modules = sorted((HOME / "apis" / service.name).glob("*_job*.py"))
    assert modules
    for path in modules:
        bases = {ast.unparse(base) for node in nodes_of(path) if isinstance(node, ast.ClassDef) for base in node.bases}
        assert bases & {"JobSpec", "Phase", "WatchedJob"}, path.name


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)
def test_the_hook_agrees_with_the_list(service):
    """Its names stand in the list, in the hook and in the provider's own description."""
    module, _, name = service.hook_path.rpartition(".")
    hook = getattr(import_module(module), name)
    assert (hook.service, hook.conn_type, hook.hook_name) == (service.name, service.conn_type, service.title)
    assert hook.default_conn_name == service.default_conn_id
    described = {each["connection-type"]: each for each in sluice_provider.get_provider_info()["connection-types"]}
    own = service.conn_type == service.name  # else it is another provider's, who describes it
    assert (service.conn_type in described) is own
    assert not own or described[service.conn_type]["hook-class-name"] == service.hook_path
    assert not own or described[service.conn_type]["hook-name"] == service.title


# --- provider metadata


def test_provider_info_has_the_right_shape():
    """Airflow's own schema."""
    jsonschema = pytest.importorskip("jsonschema")
    schema = Path(import_module("airflow").__file__).parent / "provider_info.schema.json"
    jsonschema.validate(sluice_provider.get_provider_info(), json.loads(schema.read_text()))


def _paths(thing):
    """Every dotted path of ours in it."""
    if isinstance(thing, str):
        return [thing] if thing.startswith("sluice_provider.") else []
    return [path for each in (thing.values() if isinstance(thing, dict) else thing) for path in _paths(each)]


def _described():
    info = sluice_provider.get_provider_info()
    lists = [info[name] for name in ("hooks", "operators", "sensors", "triggers", "extra-links")]
    uris = [path for each in info["asset-uris"] for path in (each["handler"], each["factory"])]
    return _paths([*lists, uris, [each["hook-class-name"] for each in info["connection-types"]]])


@pytest.mark.parametrize("path", _described())
def test_what_provider_info_names_is_there(path):
    """A module, or a class in one: whatever it is, Python finds it by this name."""
    assert pkgutil.resolve_name(path)


def test_provider_info_names_every_module():
    """Each hook, operator and sensor module of a service."""
    for service in SERVICES:
        assert {f"sluice_provider.{layer}.{service.name}" for layer in ("hooks", "operators", "sensors")} <= set(
            _described()
        )


@pytest.mark.parametrize("layer", ["operators", "sensors"])
def test_classes_have_one_public_path(layer):
    """They are imported from the module of their service, wherever they are written: Airflow's database and users'
    settings name them by it."""
    for service in SERVICES:
        public = import_module(f"sluice_provider.{layer}.{service.name}")
        prefix, suffix = service.hook.removesuffix("Hook"), layer.removesuffix("s").capitalize()
        for path in [*(HOME / layer).glob(f"{service.name}.py"), *(HOME / layer / service.name).glob("*.py")]:
            names = [node.name for node in nodes_of(path) if isinstance(node, ast.ClassDef)]
            for name in [name for name in names if name.startswith(prefix) and name.endswith(suffix)]:
                if name != f"{prefix}{suffix}":
                    assert getattr(public, name).__module__ == public.__name__


def test_the_entry_points_lead_somewhere():
    """As pyproject.toml declares them, and as they are installed."""
    tomllib = pytest.importorskip("tomllib", reason="this Python reads no TOML")
    declared = tomllib.loads((HOME.parents[1] / "pyproject.toml").read_text())["project"]["entry-points"]
    assert declared["apache_airflow_provider"] == {"provider_info": "sluice_provider:get_provider_info"}
    assert all(callable(pkgutil.resolve_name(path)) for group in declared.values() for path in group.values())
    installed = distribution("airflow-provider-sluice").entry_points
    assert {(each.group, each.name) for each in installed} == {(g, name) for g in declared for name in declared[g]}


def test_the_version_is_the_packages():
    """One source for it."""
    assert sluice_provider.get_provider_info()["versions"] == [sluice_provider.__version__]


# --- what is cheap


def loaded_by(*lines, after="pass"):
    """The modules that these lines load in a fresh Python, beyond what `after` has loaded before them."""
    code = [after, "import sys", "before = set(sys.modules)", *lines, "print(*(set(sys.modules) - before))"]
    done = subprocess.run([sys.executable, "-c", "\n".join(code)], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


def below(modules, *packages):
    """Those of them that are, or are in, these packages."""
    return {name for name in modules for package in packages if name == package or name.startswith(f"{package}.")}


def test_discovery_imports_nothing():
    """Every Airflow process does this at its start. What describes the provider is in two modules of plain data."""
    modules = loaded_by("import sluice_provider", "sluice_provider.get_provider_info()")
    plain = {"sluice_provider", "sluice_provider.connection_fields", "sluice_provider.services"}
    assert below(modules, "sluice_provider") == plain
    assert below(modules, "airflow", "httpx", "dataclasses", "typing") == set()


@pytest.mark.slow
def test_parsing_a_dag_is_cheap():
    """What a DAG file imports does not load what only running a task needs."""
    base = "from airflow.sdk import DAG, BaseOperator"
    modules = [
        f"import sluice_provider.{layer}.{service.name}"
        for service in SERVICES
        for layer in ("operators", "sensors", "hooks")
    ]
    more = loaded_by(*modules, after=base)
    assert below(more, "sluice_provider.operators")
    paths = [path for path in MODULES if dotted(path) in more and path.stem != "__init__"]
    names = {dotted(path).removeprefix("sluice_provider.") for path in paths}
    layers = {name: name.split(".")[0] for name in names}
    assert {name for name, layer in layers.items() if PARSED.isdisjoint({name, layer})} == set()
    heavy = ("requests", "aiohttp", "boto3", "botocore", "openlineage", "pyarrow", "pandas", "google", "airflow.models")
    assert below(more, *heavy, "airflow.providers.openlineage", "uvicorn", "starlette", "fastapi") == set()
    assert below(more, "sluice_sandbox", "sluice_provider.testing") == set()


# --- what can be read


def test_functions_are_short():
    """One thought each."""
    long = [
        f"{shown(path, node.lineno)} {node.name}"
        for path in MODULES
        for node in nodes_of(path)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and (node.end_lineno or 0) - node.lineno + 1 > LONGEST_FUNCTION
    ]
    assert long == []


def test_tests_say_what_they_are_for():
    """Each test has a docstring."""
    silent = [
        f"{path.name}:{node.lineno} {node.name}"
        for path in sorted(Path(__file__).parent.rglob("test_*.py"))
        for node in tree_of(path).body  # tests are functions here, not methods
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_") and not ast.get_docstring(node)
    ]
    assert silent == []


# --- the words

RETIRED_NAMES = {
    *("ask", "asked", "asking", "alike", "conceal", "curable", "doubt", "door", "doors", "faces", "glance", "hopeless"),
    *("journal", "mend", "mended", "news", "purse", "room", "rooms", "seal", "tally", "teller", "telling", "tells"),
    *("told", "verdict", "vanished", "blob"),
}
"""Words of an earlier vocabulary, as parts of names. Each has a standard term in its place: see CONTRIBUTING.md."""

RETIRED_PHRASES = re.compile(
    r"\b(in doubt|handed over|taken on|came of it|not watched|unwatched|the remotes?\b(?! job)|re-attach\w*|hopeless"
    r"|mend(s|ed)?|glance[sd]?|curable|asked_at|plan_only)\b",
    re.IGNORECASE,
)
"""The same in texts: strings, comments and pages."""

VENDORS_OWN = {"blob": "kili"}
"""Words that are a vendor's terms (Azure's, in Kili's modules), and the paths where they may be."""


def texts():
    """The package, the sandbox, the tools, the tests and the examples, and the pages beside them."""
    root = HOME.parents[1]
    folders = [HOME, SANDBOX, root / "tools", root / "tests", root / "dags_examples"]
    code = [path for folder in folders for ending in ("*.py", "*.js") for path in folder.rglob(ending)]
    code.remove(Path(__file__))  # which lists the retired words, as CONTRIBUTING.md does
    pages = [path for path in root.glob("*.md") if path.name != "CONTRIBUTING.md"]
    return [*code, *pages, *(root / "docs").rglob("*.md")]


def parts_of(name):
    """The words that a name consists of, in lower case."""
    return {part.lower() for part in re.split(r"_+|(?<=[a-z])(?=[A-Z])", name)}


def test_retired_words_are_no_names():
    """One word for one thing: nobody should have to learn a second one."""
    found = [
        f"{path.name}: {name}"
        for path in texts()
        if path.suffix == ".py"
        for name in names_in(path)
        for part in parts_of(name) & RETIRED_NAMES
        if VENDORS_OWN.get(part, "\0") not in path.as_posix()
    ]
    assert sorted(found) == []


def test_retired_words_are_not_in_texts():
    """Nor in what users and maintainers read."""
    found = [
        f"{path.name}:{number}: {match[0]}"
        for path in texts()
        for number, line in enumerate(path.read_text().splitlines(), 1)
        for match in RETIRED_PHRASES.finditer(line)
    ]
    assert found == []
    assert RETIRED_PHRASES.search("whether the remote was asked"), "the rule sees nothing"


def names_in(path):
    """The names in a module with a retired word in them; not those in its strings and comments."""
    text = path.read_text()
    found = {name for name in set(re.findall(r"[A-Za-z_]\w+", text)) if parts_of(name) & RETIRED_NAMES}
    if not found:
        return found  # nearly always, and reading the tokens takes much longer
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return found & {token.string for token in tokens if token.type == tokenize.NAME}
