# SPDX-License-Identifier: Apache-2.0
"""The reference of REST, drawn from the OpenAPI description: as a page without script or CDN, and as Markdown."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

_METHODS = ("get", "post", "put", "patch", "delete")
_STYLE = """
:root{color-scheme:light dark;--line:color-mix(in srgb,currentColor 18%,transparent);
--soft:color-mix(in srgb,currentColor 65%,transparent);--back:color-mix(in srgb,currentColor 6%,transparent)}
body{font:14px/1.5 system-ui,sans-serif;max-width:960px;margin:0 auto;padding:24px 16px}
h1{font-size:22px}h2{font-size:18px;margin:32px 0 8px;text-transform:capitalize}
code,pre{font-family:ui-monospace,monospace;font-size:13px}
details{border:1px solid var(--line);border-radius:6px;margin:6px 0}
summary{cursor:pointer;padding:8px 12px;display:flex;gap:12px;align-items:baseline;flex-wrap:wrap}
summary b{font:600 12px ui-monospace,monospace;min-width:52px}summary span{color:var(--soft)}
details>div{padding:0 12px 12px}table{border-collapse:collapse;width:100%}
th,td{text-align:left;vertical-align:top;padding:4px 12px 4px 0;border-bottom:1px solid var(--line)}
th{color:var(--soft);font-weight:500}td:last-child,summary code,p{overflow-wrap:anywhere}
pre{background:var(--back);padding:8px;border-radius:4px;white-space:pre-wrap;overflow-wrap:anywhere}
@media(max-width:640px){table,tbody,tr,td{display:block}tr:first-child{display:none}
tr{padding:6px 0;border-bottom:1px solid var(--line)}td{border:0;padding:0;overflow-wrap:anywhere}}
"""


class Operation:
    """One route of an OpenAPI description."""

    def __init__(self, method: str, path: str, spec: Mapping[str, Any]) -> None:
        self.method = method.upper()
        self.path = path
        self.spec = spec

    @property
    def tag(self) -> str:
        tags: list[str] = self.spec.get("tags") or ["other"]
        return tags[0]

    @property
    def description(self) -> str:
        return str(self.spec.get("description") or self.spec.get("summary") or "")

    @property
    def summary(self) -> str:
        """The description's first sentence."""
        return self.description.partition("\n")[0]


def operations(openapi: Mapping[str, Any]) -> Iterator[Operation]:
    """Every route, in the order of the description."""
    for path, item in openapi["paths"].items():
        for method in _METHODS:
            if method in item:
                yield Operation(method, path, item[method])


def page(openapi: Mapping[str, Any], openapi_url: str) -> str:
    """A whole HTML page."""
    info = openapi["info"]
    sections: dict[str, list[Operation]] = {}
    for operation in operations(openapi):
        sections.setdefault(operation.tag, []).append(operation)
    body = "".join(
        f"<h2>{escape(tag)}</h2>" + "".join(_operation(each, openapi) for each in found)
        for tag, found in sections.items()
    )
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(info["title"])} REST</title>'
        f'<meta name="viewport" content="width=device-width,initial-scale=1"><style>{_STYLE}</style></head><body>'
        f"<h1>{escape(info['title'])} REST <small>{escape(info['version'])}</small></h1>"
        f"<p>{_prose(info.get('description', ''))}</p>"
        f'<p><a href="{escape(openapi_url)}">openapi.json</a></p>{body}</body></html>'
    )


def markdown(openapi: Mapping[str, Any], base: str) -> str:
    """Every route with its parameters, body and answers; paths without ``base``."""
    lines: list[str] = []
    tag = ""
    for operation in operations(openapi):
        if operation.tag != tag:
            tag = operation.tag
            lines += [f"## {tag.capitalize()}", ""]
        lines += [f"### `{operation.method} {operation.path.removeprefix(base)}`", ""]
        lines += [operation.description, ""]
        if parameters := operation.spec.get("parameters"):
            lines += ["| parameter | in | type | default | meaning |", "|---|---|---|---|---|"]
            lines += [_row(each) for each in parameters]
            lines.append("")
        if request := operation.spec.get("requestBody"):
            lines += ["Body:", "", *_block(_json_schema(request), openapi)]
        statuses = [int(status) for status in operation.spec["responses"]]
        for status, answer in operation.spec["responses"].items():
            if int(status) < 400:
                schema = _json_schema(answer)
                lines += [f"Answer {status}:", "", *_block(schema, openapi)] if schema else [f"Answer {status}.", ""]
        if errors := [str(status) for status in statuses if status >= 400]:
            lines += [f"Errors: {', '.join(errors)}.", ""]
    return "\n".join(lines)


def _row(spec: Mapping[str, Any]) -> str:
    schema = spec.get("schema", {})
    meaning = str(spec.get("description") or schema.get("description") or "")
    if spec.get("required"):
        default = "required"
    else:
        default = "" if schema.get("default") is None else f"`{json.dumps(schema['default'])}`"
    kind = type_name(schema).replace("|", "\\|")
    return f"| `{spec['name']}` | {spec['in']} | {kind} | {default} | {meaning} |"


def _block(schema: Mapping[str, Any], openapi: Mapping[str, Any]) -> list[str]:
    return ["```json", json.dumps(_outline(schema, openapi, 0), indent=1, ensure_ascii=False), "```", ""]


def _operation(operation: Operation, openapi: Mapping[str, Any]) -> str:
    parts = [f"<p>{_prose(operation.description)}</p>"]
    if parameters := operation.spec.get("parameters"):
        rows = "".join(_parameter(each) for each in parameters)
        parts.append(f"<table><tr><th>parameter</th><th>in</th><th>type</th><th>meaning</th></tr>{rows}</table>")
    if request := operation.spec.get("requestBody"):
        parts.append(f"<p>Body</p><pre>{_shape(_json_schema(request), openapi)}</pre>")
    rows = ""
    for status, answer in operation.spec.get("responses", {}).items():
        schema = _json_schema(answer)
        shape = f"<pre>{_shape(schema, openapi)}</pre>" if schema and int(status) < 400 else ""
        rows += f"<tr><td><code>{escape(status)}</code></td><td>{_prose(answer['description'])}{shape}</td></tr>"
    parts.append(f"<table><tr><th>status</th><th>answer</th></tr>{rows}</table>")
    return (
        f"<details><summary><b>{operation.method}</b><code>{escape(operation.path)}</code>"
        f"<span>{_prose(operation.summary)}</span></summary><div>{''.join(parts)}</div></details>"
    )


def _parameter(spec: Mapping[str, Any]) -> str:
    kind = escape(type_name(spec.get("schema", {})))
    need = "" if not spec.get("required") else " *"
    meaning = _prose(spec.get("description") or spec.get("schema", {}).get("description") or "")
    return (
        f"<tr><td><code>{escape(spec['name'])}{need}</code></td><td>{escape(spec['in'])}</td>"
        f"<td>{kind}</td><td>{meaning}</td></tr>"
    )


def _prose(text: str) -> str:
    """Descriptions are Markdown for other readers of the description; all it has is code, in backticks."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


def _json_schema(holder: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = holder.get("content", {}).get("application/json", {}).get("schema", {})
    return found


def _shape(schema: Mapping[str, Any], openapi: Mapping[str, Any]) -> str:
    return escape(json.dumps(_outline(schema, openapi, 0), indent=1, ensure_ascii=False))


def _outline(schema: Mapping[str, Any], openapi: Mapping[str, Any], depth: int) -> Any:
    """The schema as an example-like value: members with the names of their types."""
    if reference := schema.get("$ref"):
        schema = openapi["components"]["schemas"][reference.rpartition("/")[2]]
    if "properties" in schema and depth < 6:
        required = schema.get("required", ())
        return {
            name if name in required or depth else f"{name}?": _outline(each, openapi, depth + 1)
            for name, each in schema["properties"].items()
        }
    options = [each for each in schema.get("anyOf", ()) if each.get("type") != "null"]
    if len(options) == 1 and ("$ref" in options[0] or "properties" in options[0]):
        return _outline(options[0], openapi, depth)
    if schema.get("type") == "array" and "items" in schema:
        return [_outline(schema["items"], openapi, depth + 1)]
    return type_name(schema)


def type_name(schema: Mapping[str, Any]) -> str:
    """A schema in a word or two: ``string``, ``integer | null``, ``online | offline``."""
    if "anyOf" in schema:
        return " | ".join(type_name(each) for each in schema["anyOf"])
    if "enum" in schema:
        return " | ".join(str(each) for each in schema["enum"])
    if "const" in schema:
        return str(schema["const"])
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if schema.get("type") == "array":
        return f"[{type_name(schema.get('items', {}))}]"
    return str(schema.get("type", "any"))
