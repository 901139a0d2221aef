"""docs/server.md says of the server's settings and paths what its code says."""

import ast
import json
import re
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from omega_schema.server_config import BootConfig, ServerConfig
from omega_server import settings
from omega_server.settings import BOOT, LIVE, PROCESS, Option, Settings

ROOT = Path(__file__).parents[2]
PAGE = "docs/server.md"
WORDS = {"model_path": "required", "model_name": "name of the directory"}
"""Defaults that are no values."""

Rows = Callable[[str], list[list[str]]]


def _default(option: Option) -> str:
    if option in LIVE:
        value: Any = ServerConfig()
        for step in option.target.split("."):
            value = getattr(value, re.sub("([A-Z])", r"_\1", step).lower())
        return json.dumps(value)
    defaults = {item.name: item.default for cls in (BootConfig, Settings) for item in fields(cls)}
    value = defaults[option.target]
    return WORDS.get(option.target) or ("none" if value is None else str(value))


def test_every_setting_is_documented_and_the_reverse(rows: Rows) -> None:
    """Flag, variable and default of each setting stand in a row, in the order of the code, and no other setting does."""
    written = [row[:3] for row in rows(PAGE) if len(row) == 4 and not row[0].startswith("/")]
    options = (*BOOT, *PROCESS, *LIVE)
    assert written == [[option.name if option.flag else "", option.env, _default(option)] for option in options]


def test_live_settings_name_their_field(rows: Rows) -> None:
    """Each live setting's row begins with the field that it holds fast."""
    meaning = {row[1]: row[3] for row in rows(PAGE) if len(row) == 4}
    assert [option.env for option in LIVE if not meaning[option.env].startswith(f"{option.target}:")] == []


def test_paths(rows: Rows) -> None:
    """Each path of the application, its method, and whether it asks for a key."""
    from omega_server import websocket
    from omega_server.app import OPEN
    from omega_server.routes import router

    keyless = {re.sub("^/playground/.*", "/playground/{name}", path) for path in OPEN}
    routes = {
        (re.sub(r":\w+}", "}", route.path), method, "no" if route.path in keyless else "yes")
        for route in router.routes
        for method in route.methods - {"HEAD"}
    }
    routes.add((websocket.PATH, "WebSocket", "yes"))
    assert {tuple(row[:3]) for row in rows(PAGE) if row[0].startswith("/")} == routes


def test_bodies_have_the_fields_of_the_code(tmp_path: Path) -> None:
    """The examples of /ready and /health have the fields that the server answers with."""
    from omega_server.routes import _vlm_config
    from omega_server.serving import Serving

    ready, health = (
        json.loads(text)
        for text in re.findall(r"```json\n(.*?)```", (ROOT / PAGE).read_text(), re.DOTALL)
        if '"version"' not in text
    )
    (tmp_path / "config.json").write_text("{}")
    serving = Serving(settings.read(["--model-path", str(tmp_path)], {}))
    assert {name: _shape(value) for name, value in ready.items()} == {
        name: _shape(value) for name, value in serving.readiness().items()
    }
    assert list(health["engines"][0]) == _engine_fields()
    assert health["vlm_config"] == _vlm_config(serving)


def _engine_fields() -> list[str]:
    """Fields of what the server says about an engine, read and not imported, because torch would come with it."""
    module = ast.parse((ROOT / "server/omega_server/engine/router.py").read_text())
    (state,) = (node for node in module.body if isinstance(node, ast.ClassDef) and node.name == "EngineState")
    return [ast.unparse(node.target) for node in state.body if isinstance(node, ast.AnnAssign)]


def _shape(value: Any) -> Any:
    return list(value) if isinstance(value, dict) else type(value)


def test_the_example_of_a_configuration_is_one() -> None:
    """The configuration file that the page shows validates."""
    (text,) = re.findall(r'```json\n({"version".*?)```', (ROOT / PAGE).read_text(), re.DOTALL)
    assert ServerConfig.parse(text).images.max_per_request == 4


def test_flags_of_download(rows: Rows, capsys: pytest.CaptureFixture[str]) -> None:
    """The flags of the download are those of its help text."""
    from omega_server.download.command import download

    with pytest.raises(SystemExit):
        download(["--help"])
    helped = set(re.findall(r"--[a-z-]+", capsys.readouterr().out)) - {"--help"}
    assert {row[0].split()[0] for row in rows(PAGE) if len(row) == 2 and row[0].startswith("--")} == helped
