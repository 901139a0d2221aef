"""Write every generated file, or check that they are current.

    generate.py            write
    generate.py --check    write nothing; show what differs and exit with 1

The CustomResourceDefinition in crds/, its copy for the chart and the reference of all fields in docs/ come from the package
omega_schema; the chart's README from the comments in its values.yaml, its dashboards from dashboards.py; what kubectl omega
advises from docs/troubleshooting.md. The same source always gives the same bytes.
"""

import argparse
import difflib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

import advice
import chart_readme
import dashboards
from omega_schema import limits
from omega_schema.structural import custom_resource_definition, resource_schema

ROOT = Path(__file__).resolve().parent.parent
CRD = f"{limits.PLURAL}.yaml"
NOTICE = "Generated from omega_schema by tools/generate.py. Do not edit: run make generate."
VALUES_NOTICE = "Generated from values.yaml by tools/generate.py. Do not edit: run make generate."


def main() -> int:
    """Do what the arguments say; the result is the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing, exit with 1 if a file is not current")
    check = parser.parse_args().check

    stale = 0
    for path, wanted in generated_files().items():
        file = ROOT / path
        present = file.read_text() if file.exists() else ""
        if present == wanted:
            continue
        stale += 1
        if check:
            sys.stdout.writelines(
                difflib.unified_diff(
                    present.splitlines(True), wanted.splitlines(True), path, f"{path} (generated)", n=1
                )
            )
        else:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(wanted)
            print(f"wrote {path}")
    if check and stale:
        print(f"{stale} generated files are not current: run make generate", file=sys.stderr)
        return 1
    return 0


def generated_files() -> dict[str, str]:
    """Path, relative to the root of the repository, and text of every generated file."""
    definition = f"# {NOTICE}\n" + yaml.dump(
        custom_resource_definition(), Dumper=_BlockDumper, sort_keys=False, width=120, allow_unicode=True
    )
    return {
        f"crds/{CRD}": definition,
        f"charts/omega-vlm/files/{CRD}": definition,
        "docs/reference/resource.md": reference(),
        f"{chart_readme.CHART}/README.md": chart_readme.readme(ROOT, VALUES_NOTICE),
        "server/omega_server/kubectl/advice.json": advice.advice(ROOT),
        **{f"{chart_readme.CHART}/dashboards/{name}": text for name, text in dashboards.files().items()},
    }


class _BlockDumper(yaml.SafeDumper):
    """YAML without anchors: every mapping is written where it is used."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - the signature is PyYAML's
        return True


def reference() -> str:
    """The reference of all fields as Markdown: one table per object, then the rules."""
    schema = resource_schema()
    lines = [
        f"<!-- {NOTICE} -->",
        "",
        f"# {limits.KIND}: every field",
        "",
        f"`apiVersion: {limits.GROUP}/{limits.VERSION}`, `kind: {limits.KIND}`. {schema['description']}",
        "`kubectl explain omegavlmdeployment.spec --recursive` shows the same in a terminal.",
        "",
    ]
    for path, node in _objects(schema["properties"]["spec"], "spec"):
        lines += _table(path, node)
    lines += ["# Rules", "", "The API server refuses a resource that breaks one of these, with these words.", ""]
    lines += ["| At | What to do |", "|---|---|"]
    for path, node in _objects(schema, ""):
        for rule in node.get("x-kubernetes-validations", ()):
            place = f"{path}{rule['fieldPath']}".lstrip(".")
            lines.append(f"| {place}{' (a change)' if 'oldSelf' in rule['rule'] else ''} | {_cell(rule['message'])} |")
    lines += ["", "# Reserved environment variables", "", "A variable in pod.env that a field sets is refused.", ""]
    lines += ["| Variable | Field |", "|---|---|"]
    lines += [f"| `{name}` | {field} |" for name, field in limits.RESERVED_ENV.items()]
    lines += ["", "# Status", "", "The operator writes it; nobody else does.", ""]
    for path, node in _objects(schema["properties"]["status"], "status"):
        lines += _table(path, node)
    return "\n".join(lines).rstrip() + "\n"


def _objects(node: Mapping[str, Any], path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """A node and every object with fields below it, outer ones first."""
    if "properties" in node:
        yield path, node
        for name, child in node["properties"].items():
            yield from _objects(child, f"{path}.{name}")
    elif "items" in node:
        yield from _objects(node["items"], f"{path}[]")


def _table(path: str, node: Mapping[str, Any]) -> list[str]:
    rows = []
    for name, child in node["properties"].items():
        required = " **(required)**" if name in node.get("required", ()) else ""
        rows.append(f"| `{name}`{required} | {_type(child)} | {_cell(child['description'])} |")
    return [f"## {path}", "", _cell(node["description"]), "", "| Field | Type | Meaning |", "|---|---|---|", *rows, ""]


def _type(node: Mapping[str, Any]) -> str:
    if node.get("x-kubernetes-int-or-string"):
        return "size"
    if "enum" in node:
        return "one of " + ", ".join(f"`{value}`" for value in node["enum"])
    if "items" in node:
        return f"list of {_type(node['items'])}, at most {node['maxItems']} items"
    if "additionalProperties" in node:
        return f"map of {_type(node['additionalProperties'])}, at most {node['maxProperties']} entries"
    bound = f", at most {node['maxLength']} characters" if "maxLength" in node else ""
    return str(node["type"]) + bound


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("*.", "\\*.").replace(" * ", " \\* ")


if __name__ == "__main__":
    sys.exit(main())
