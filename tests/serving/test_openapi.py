"""The description of the routes: its examples run, requests made from it break nothing, the page of it is whole."""

import json
from typing import Any

import httpx
import pytest

from picscribe.serving.routes.openapi import example_photo


@pytest.fixture(scope="module")
def schema(service: Any) -> dict[str, Any]:
    with service.client() as client:
        found: dict[str, Any] = client.get("/openapi.json").json()
    return found


def operations(schema: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (path, method, operation) for path, methods in schema["paths"].items() for method, operation in methods.items()
    ]


def test_every_example_runs(client: httpx.Client, schema: dict[str, Any]) -> None:
    ran = 0
    for path, method, operation in operations(schema):
        content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
        if "example" not in content:
            continue
        example = json.loads(json.dumps(content["example"]).replace('"model": "nano"', '"model": "tiny"'))
        answer = client.request(method, path, json=example)
        if path == "/v1/metadata/write" and answer.status_code == 501:
            continue  # no ExifTool here
        assert answer.status_code == 200, (path, answer.text)
        ran += 1
    assert ran >= 11


def test_native_routes_have_examples_and_say_what_they_are(schema: dict[str, Any]) -> None:
    for path, _, operation in operations(schema):
        assert len(operation["description"]) > 15, path
        if path.startswith("/v1/") and "requestBody" in operation:
            assert "example" in operation["requestBody"]["content"]["application/json"], path


def test_the_page_of_the_routes_shows_each_with_its_fields(client: httpx.Client, schema: dict[str, Any]) -> None:
    page = client.get("/docs").text
    for path in schema["paths"]:
        assert path in page
    assert "<code>num_captions</code>" in page
    assert "<script" not in page and "http://" not in page and "https://" not in page
    assert example_photo() not in page and example_photo()[:40] in page


def test_requests_made_from_the_description_break_nothing(service: Any, schema: dict[str, Any]) -> None:
    schemathesis = pytest.importorskip("schemathesis")
    from hypothesis import HealthCheck, Phase, given, settings

    loaded = schemathesis.openapi.from_dict(schema)
    asked = 0
    for result in loaded.get_all_operations():
        operation = result.ok()

        @given(case=operation.as_strategy())
        @settings(
            max_examples=12, deadline=None, database=None, derandomize=True, phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        def ask(case: Any) -> None:
            nonlocal asked
            asked += 1
            answer = case.call(base_url=service.url)
            assert answer.status_code < 500 or answer.status_code == 501, (case.path, case.body, answer.text)
            if case.path.startswith("/v1/") and answer.status_code >= 400:
                assert answer.json()["error"].keys() == {"message", "type", "param", "code"}

        ask()
    assert asked > 200
    service.wait_until(service.is_at_rest)
