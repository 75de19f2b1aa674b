"""The map of the package, kept by reading its imports: who may know whom, what is there per system, what is cheap."""

from __future__ import annotations

import ast
import json
import pkgutil
import re
import subprocess
import sys
from functools import cache
from importlib import import_module
from importlib.metadata import distribution
from pathlib import Path

import pytest

import sluice_provider
from sluice_provider.systems import SYSTEMS

HOME = Path(sluice_provider.__file__).parent
MODULES = sorted(HOME.rglob("*.py"))
LONGEST_FUNCTION = 50

# --- the map

DATA = {"jobs", "errors"}
AIRFLOW = {"runtime/compat"}
DOWN_TO_HOOKS = {"metrics", "hooks", "apis", "calls", "systems", *AIRFLOW, *DATA}
DOWN_TO_JOURNAL = {"triggers", "progress", "journal", *DOWN_TO_HOOKS}
DOWN_TO_WAITING = {"waiting", "sources", "links", "lineage", "assets", *DOWN_TO_JOURNAL}

MAY_KNOW = {
    "errors": set(),
    "systems": set(),
    "runtime/compat": set(),
    "runtime": AIRFLOW,
    "jobs": {"errors"},
    "calls": {"errors"},
    "apis": {"calls", *DATA},
    "webhooks": {"sources", *DATA},
    "events": {"webhooks", *AIRFLOW, *DATA},
    "hooks": DOWN_TO_HOOKS,
    "journal": {*AIRFLOW, *DATA},
    "sources": {*AIRFLOW, *DATA},
    "files": {"sources", "apis", "calls", *AIRFLOW, *DATA},
    "links": {*AIRFLOW, *DATA},
    "lineage": {*AIRFLOW, *DATA},
    "metrics": {*AIRFLOW, *DATA},
    "assets": AIRFLOW,
    "progress": {"journal", "metrics", *AIRFLOW, *DATA},
    "triggers": {"progress", "journal", *DOWN_TO_HOOKS},
    "watchers": {"webhooks", *DOWN_TO_HOOKS},
    "waiting": DOWN_TO_JOURNAL,
    "operators": DOWN_TO_WAITING,
    "sensors": DOWN_TO_WAITING,
    "plugin": {"webhooks", "hooks", "calls", "systems", "links", "journal", "progress", *AIRFLOW, *DATA},
    "sandbox": set(),
    "testing": {"sandbox"},
}
"""Room by room, whom it may import besides itself. No arrow goes up."""

WITHOUT = {
    "airflow": {"errors", "jobs", "systems", "calls", "apis", "webhooks", "sandbox", "testing"},
    "httpx": {
        "errors",
        "jobs",
        "systems",
        "apis",
        "webhooks",
        "journal",
        "sources",
        "files",
        "operators",
        "sensors",
        "sandbox",
    },
    "fastapi": set(MAY_KNOW) - {"plugin"},
    "starlette": set(MAY_KNOW) - {"plugin", "sandbox"},
}
"""Libraries that these rooms never import, not even inside a function."""

BUT = {"httpx": {"sandbox/webhooks.py"}}
"""The modules that may all the same. The sandbox serves and so needs no client, except for the webhooks it sends; what
our own client does with httpx has no part in receiving them, and so no misreading of it can be shared here."""

COMPAT = "runtime/compat/"
OTHER_PROVIDERS = ("airflow.providers.amazon.", "airflow.providers.openlineage.")
NOT_YET = {
    "journal.py",
    "operators/base.py",
    "operators/kaleidoscope_files.py",
    "operators/retry.py",
    "progress.py",
    "sensors/base.py",
    "sensors/kili.py",
    "triggers.py",
    "waiting.py",
}
"""Modules that still import what Airflow does not promise."""

ROOMS_OF_SYSTEMS = ("apis", "hooks", "operators", "sensors", "sandbox")


def room_of(path):
    """Where on the map a module of the package is."""
    return room_named(path.relative_to(HOME).with_suffix("").parts)


def room_named(parts):
    """The first parts of a module's name below the package: two where the map has a room in a room."""
    return "/".join(parts[:2]) if "/".join(parts[:2]) in MAY_KNOW else parts[0]


def shown(path, line):
    """Where a rule was broken."""
    return f"{path.relative_to(HOME)}:{line}"


@cache
def nodes_of(path):
    """Everything in a module."""
    return list(ast.walk(ast.parse(path.read_text())))


def imports_of(path):
    """Every module that is imported anywhere in this one, with its line; also inside functions and type checking."""
    for node in nodes_of(path):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{shown(path, node.lineno)}: imports are absolute here"
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


def test_every_room_is_on_the_map():
    """Whoever adds one decides whom it may know."""
    assert {room_of(path) for path in MODULES} - {"__init__"} - set(MAY_KNOW) == set()


def test_no_arrow_goes_up():
    """Each room imports only rooms that it may know."""
    broken = []
    for path in MODULES:
        for name, line in imports_of(path):
            package, *rest = name.split(".")
            if package != "sluice_provider" or not rest or rest[0] == "__version__":
                continue
            if room_named(rest) not in {room_of(path), *MAY_KNOW.get(room_of(path), ())}:
                broken.append(f"{shown(path, line)} imports {name}")
    assert broken == []


@pytest.mark.parametrize("library", WITHOUT)
def test_libraries_stay_where_they_belong(library):
    """Airflow begins at the hooks, HTTP is moved in calls, web frameworks serve."""
    found = [
        shown(path, line)
        for path in MODULES
        for name, line in imports_of(path)
        if name.split(".")[0] == library
        and room_of(path) in WITHOUT[library]
        and path.relative_to(HOME).as_posix() not in BUT.get(library, ())
    ]
    assert found == []


def test_exceptions_are_needed():
    """Whoever may import a library all the same does so."""
    for library, modules in BUT.items():
        for module in modules:
            assert library in {name.split(".")[0] for name, _ in imports_of(HOME / module)}, module


def test_the_map_is_read_right():
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
    """Every place that tries an import of Airflow's, or looks into one of its signatures."""
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
        if not path.relative_to(HOME).as_posix().startswith((COMPAT, *NOT_YET)) and not name.startswith(OTHER_PROVIDERS)
    }
    assert broken == set()
    assert any(list(rule(path)) for path in (HOME / COMPAT).glob("*.py")), "the rule sees nothing"


def test_those_that_may_still_depend_on_it_do():
    """Whoever has been cleaned up is taken off the list."""
    assert [name for name in sorted(NOT_YET) if not list(unpromised_by_airflow(HOME / name))] == []


def test_rooms_without_airflow_do_not_know_what_depends_on_it():
    """By no way around."""
    assert [room for room in MAY_KNOW if room in WITHOUT["airflow"] and not AIRFLOW.isdisjoint(MAY_KNOW[room])] == []


def test_nobody_but_airflow_loads_operators():
    """Nor sensors; and only the fixtures for tests start the sandbox."""
    for room, known in MAY_KNOW.items():
        assert known.isdisjoint({"operators", "sensors", "plugin"})
        assert "sandbox" not in known or room == "testing"


# --- the systems


@pytest.mark.parametrize("room", ROOMS_OF_SYSTEMS)
@pytest.mark.parametrize("system", SYSTEMS, ids=lambda system: system.name)
def test_every_room_has_a_module_for_the_system(room, system):
    """The list of what a new system needs, as a test."""
    assert (HOME / room / f"{system.name}.py").is_file()


@pytest.mark.parametrize("system", SYSTEMS, ids=lambda system: system.name)
def test_the_hook_agrees_with_the_list(system):
    """Its names stand in the list, in the hook and in the provider's own description."""
    module, _, name = system.hook_path.rpartition(".")
    hook = getattr(import_module(module), name)
    assert (hook.system, hook.conn_type, hook.hook_name) == (system.name, system.conn_type, system.title)
    assert hook.default_conn_name == system.default_conn_id
    described = {each["connection-type"]: each for each in sluice_provider.get_provider_info()["connection-types"]}
    own = system.conn_type == system.name  # else it is another provider's, who describes it
    assert (system.conn_type in described) is own
    assert not own or described[system.conn_type]["hook-class-name"] == system.hook_path
    assert not own or described[system.conn_type]["hook-name"] == system.title


# --- what Airflow is told


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
    """Each hook, operator and sensor module of a system."""
    for system in SYSTEMS:
        assert {f"sluice_provider.{room}.{system.name}" for room in ("hooks", "operators", "sensors")} <= set(
            _described()
        )


@pytest.mark.parametrize("room", ["operators", "sensors"])
def test_classes_have_one_public_path(room):
    """They are imported from the module of their system, wherever they are written: Airflow's database and users'
    settings name them by it."""
    for system in SYSTEMS:
        public = import_module(f"sluice_provider.{room}.{system.name}")
        prefix, suffix = system.hook.removesuffix("Hook"), room.removesuffix("s").capitalize()
        for path in (HOME / room).glob(f"{system.name}*.py"):
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
    """Every Airflow process does this at its start."""
    modules = loaded_by("import sluice_provider", "sluice_provider.get_provider_info()")
    assert below(modules, "sluice_provider") == {"sluice_provider"}
    assert below(modules, "airflow", "httpx", "dataclasses", "typing") == set()


def test_parsing_a_dag_is_cheap():
    """What a DAG file imports does not load what only running a task needs."""
    base = "from airflow.sdk import DAG, BaseOperator"
    rooms = [
        f"import sluice_provider.{room}.{system.name}"
        for system in SYSTEMS
        for room in ("operators", "sensors", "hooks")
    ]
    more = loaded_by(*rooms, after=base)
    assert below(more, "sluice_provider.operators")
    heavy = ("requests", "aiohttp", "boto3", "botocore", "openlineage", "pyarrow", "pandas", "google", "airflow.models")
    assert below(more, *heavy, "airflow.providers.openlineage", "uvicorn", "starlette", "fastapi") == set()
    assert below(more, "sluice_provider.sandbox", "sluice_provider.testing") == set()


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
        for node in nodes_of(path)
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_") and not ast.get_docstring(node)
    ]
    assert silent == []
