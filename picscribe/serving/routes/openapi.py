"""The description of the routes in OpenAPI, whose bodies may be JSON, a form or an image, and a page of it."""

import base64
import html
import json
from functools import cache
from importlib.resources import files
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from picscribe import __version__
from picscribe.serving.routes.fields import ErrorResponse

MODEL = "x-picscribe-body"
FILES = ("image", "images", "image_url", "video")
ERRORS = {
    "400": "The request cannot be answered; `param` names the field at fault.",
    "401": "An API key is needed.",
    "403": "From a host or site that may not ask.",
    "404": "No such model.",
    "408": "The request took too long to arrive.",
    "413": "More bytes than a request may have.",
    "415": "A body of a type that is not read.",
    "429": "The queue is full: try again after Retry-After seconds.",
    "500": "The server failed.",
    "501": "This server cannot do that.",
    "503": "The server is starting or stopping.",
    "504": "The deadline passed.",
}
DESCRIPTION = "Photos in, words out. Images go as `data:` URIs, base64, files of a form, or the body itself."

_bodies: dict[str, type[BaseModel]] = {}


def takes(model: type[BaseModel], *, files: bool = True) -> dict[str, Any]:
    """What a route's description has to say of its body."""
    assert _bodies.setdefault(model.__name__, model) is model, f"two models are called {model.__name__}"
    return {MODEL: {"model": model.__name__, "files": files and "image" in model.model_fields}}


def describe(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI description, made once."""
    if app.openapi_schema:
        return app.openapi_schema
    schema = get_openapi(title="picscribe", version=__version__, description=DESCRIPTION, routes=app.routes)
    schemas = schema.setdefault("components", {}).setdefault("schemas", {})
    schemas.pop("HTTPValidationError", None)
    schemas.pop("ValidationError", None)
    _add(schemas, ErrorResponse)
    for path, methods in schema["paths"].items():
        for operation in methods.values():
            body = operation.pop(MODEL, None)
            if body is not None:
                operation["requestBody"] = _body(schemas, _bodies[body["model"]], body["files"])
            if path.startswith("/v1"):
                for status, text in ERRORS.items():
                    content = {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorResponse"}}}
                    operation["responses"][status] = {"description": text, "content": content}
            operation["responses"].pop("422", None)
    app.openapi_schema = schema
    return schema


@cache
def example_photo() -> str:
    """A small photo in base64, for the examples to be sent as they stand."""
    return base64.b64encode(files("picscribe.serving").joinpath("page").joinpath("example.png").read_bytes()).decode()


def _add(schemas: dict[str, Any], model: type[BaseModel]) -> None:
    made = model.model_json_schema(ref_template="#/components/schemas/{model}")
    for name, one in made.pop("$defs", {}).items():
        schemas.setdefault(name, one)
    schemas.setdefault(model.__name__, made)


def _body(schemas: dict[str, Any], model: type[BaseModel], with_files: bool) -> dict[str, Any]:
    _add(schemas, model)
    own = schemas[model.__name__]
    examples = json.loads(json.dumps(own.pop("examples", [])).replace("{photo}", example_photo()))
    reference = {"$ref": f"#/components/schemas/{model.__name__}"}
    content: dict[str, Any] = {"application/json": {"schema": reference}}
    if examples:
        content["application/json"]["example"] = examples[0]
    if with_files:
        properties = {name: one for name, one in own["properties"].items() if name not in FILES}
        file = {"type": "string", "format": "binary"}
        form = {
            "type": "object",
            "properties": {"image": file, **properties},
            "required": ["image", *own.get("required", [])],
        }
        content["multipart/form-data"] = {"schema": form}
        content["image/*"] = {"schema": file}
    return {"required": True, "content": content}


def page(schema: dict[str, Any]) -> str:
    """The description as a page that needs no script and nothing from elsewhere."""
    parts = []
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            text = html.escape(operation.get("description") or operation.get("summary") or "")
            parts.append(f"<section><h2><code>{method.upper()} {html.escape(path)}</code></h2><p>{text}</p>")
            body = operation.get("requestBody", {}).get("content", {}).get("application/json")
            if body:
                parts.append(_fields(schema, body["schema"]))
                if "example" in body:
                    shown = json.dumps(body["example"], indent=2, ensure_ascii=False)
                    parts.append(f"<pre>{html.escape(_shortened(shown))}</pre>")
            parts.append("</section>")
    return PAGE.format(version=__version__, body="\n".join(parts))


PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>picscribe: routes</title><link rel="stylesheet" href="/assets/plain.css"></head>
<body><main><h1>picscribe {version}: routes</h1>
<p>The same for programs: <a href="/openapi.json">openapi.json</a>. <a href="/status">Status</a>.</p>
{body}
</main></body></html>
"""


def _fields(schema: dict[str, Any], body: dict[str, Any]) -> str:
    if "$ref" in body:
        body = schema["components"]["schemas"][body["$ref"].rpartition("/")[2]]
    rows = []
    for name, one in body.get("properties", {}).items():
        kinds = [str(kind.get("type", "object")) for kind in one.get("anyOf", [one])]
        kind = ", ".join(dict.fromkeys(one for one in kinds if one != "null"))
        need = "needed" if name in body.get("required", []) else ""
        text = html.escape(one.get("description", ""))
        rows.append(f"<tr><td><code>{html.escape(name)}</code></td><td>{kind}</td><td>{need}</td><td>{text}</td></tr>")
    return f"<table><tr><th>field</th><th>type</th><th></th><th>meaning</th></tr>{''.join(rows)}</table>"


def _shortened(text: str) -> str:
    return text.replace(example_photo(), example_photo()[:40] + "…")
