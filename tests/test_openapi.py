"""The API's document: valid, complete and true of the service that serves it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from starlette.routing import Mount, Route
from starlette.testclient import TestClient

from app.bundle import read_bundle
from app.errors import CODES
from app.main import create_app
from app.openapi import document
from app.settings import Settings
from tests.bundles import SHIPPED
from tests.photos import photo
from tests.test_dialects import INFER, image
from tests.test_http import HTML, URL, FakeFetcher, running, upload
from tests.wire import TEDDY

BEARS = read_bundle(SHIPPED)
SETTINGS = {
    "default": Settings(),
    "key": Settings(api_key="s3cret"),
    "no URLs": Settings(url_hosts="none"),
    "feedback": Settings(feedback_dir=Path("kept")),
    "some URLs": Settings(url_hosts="minio:9000", max_upload_mb=1.5, max_pixels_mp=7),
}
BUNDLES = {
    "bears": BEARS,
    "starting": None,
    "odd": replace(BEARS, classes=("0", "1", "</script>", "x" * 300)),
    "many": replace(BEARS, classes=tuple(f"kind {number}" for number in range(1000))),
}
# Answered by the router, whatever the address; every other code belongs to some address.
ANYWHERE = {"method_not_allowed", "large_head"}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with running(feedback_dir=tmp_path_factory.mktemp("feedback")) as client:
        yield client


def operations(found: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in found["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def validator(found: dict[str, Any], schema: dict[str, Any]) -> Draft202012Validator:
    """For a schema that may refer to the document's."""
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator({**schema, "components": found["components"]})


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("bundle", BUNDLES)
def test_it_is_an_openapi_document_whose_examples_fit_its_schemas(settings: str, bundle: str) -> None:
    found = json.loads(json.dumps(document(SETTINGS[settings], BUNDLES[bundle])))
    OpenAPIV31SpecValidator(found).validate()
    shown = 0
    for _, _, operation in operations(found):
        for parameter in operation.get("parameters", []):
            if "example" in parameter:
                validator(found, parameter["schema"]).validate(parameter["example"])
        for response in operation["responses"].values():
            content = response.get("content", {}).get("application/json", {})
            for example in content.get("examples", {}).values():
                validator(found, content["schema"]).validate(example["value"])
                shown += 1
    assert shown > 30


BROWSERS = ("/sw.js", "/manifest.webmanifest", "/share", "/offline", "/examples/{version}/{number}")


def test_every_route_is_documented_and_nothing_else() -> None:
    app = create_app(Settings())
    served = set()
    for route in app.routes:
        if isinstance(route, Mount):
            assert route.path == "/static"  # what pages are made of
            continue
        assert isinstance(route, Route)
        if not route.include_in_schema:
            assert route.path in BROWSERS  # as those in /static are
            continue
        methods = route.methods or set()
        assert ("GET" in methods) == ("HEAD" in methods)  # as the document says in general
        served |= {(route.path, method) for method in methods - {"HEAD"}}
    described = {(path, method.upper()) for path, method, _ in operations(document(Settings(), BEARS))}
    assert described == served


def test_every_error_code_stands_under_its_status() -> None:
    found = document(SETTINGS["key"], BEARS)
    assert found["components"]["schemas"]["Error"]["properties"]["error"]["properties"]["code"]["enum"] == list(CODES)
    described = set()
    for _, _, operation in operations(found):
        for status, response in operation["responses"].items():
            for code in response.get("content", {}).get("application/json", {}).get("examples", {}):
                if code in CODES:
                    assert str(CODES[code][0]) == status
                    assert f"{code}: " in response["description"]
                    described.add(code)
    assert described == CODES.keys() - ANYWHERE


def test_what_the_operator_set_is_in_it() -> None:
    def text(name: str) -> tuple[str, str]:
        paths = document(SETTINGS[name], BEARS)["paths"]
        return paths["/upload"]["post"]["description"], paths["/classify-url"]["get"]["description"]

    assert "20 MB" in text("default")[0]
    assert "50 megapixels" in text("default")[1]
    assert "1.5 MB" in text("some URLs")[0]
    assert "7 megapixels" in text("some URLs")[1]
    assert "Any public address" in text("default")[1]
    assert "from none" in text("no URLs")[1]
    assert "operator listed" in text("some URLs")[1]
    assert "minio" not in json.dumps(document(SETTINGS["some URLs"], BEARS))


def test_the_key_is_asked_for_where_it_says_so() -> None:
    open_document = document(SETTINGS["default"], BEARS)
    assert "securitySchemes" not in open_document["components"]
    assert "401" not in json.dumps(open_document)
    with running(api_key="s3cret") as client:
        found = client.get("/openapi.json").json()
        assert "s3cret" not in json.dumps(found)
        for path, method, operation in operations(found):
            refused = client.request(method, path).status_code == 401
            assert refused == ("401" in operation["responses"]) == ("security" in operation), path
        schemes = found["components"]["securitySchemes"]
        assert [{name: []} for name in schemes] == found["paths"]["/model"]["get"]["security"]
        for credentials in ({"headers": {"Authorization": "Bearer s3cret"}}, {"auth": ("anyone", "s3cret")}):
            assert client.get("/model", **credentials).status_code == 200


def test_it_names_the_classes(client: TestClient) -> None:
    found = client.get("/openapi.json")
    assert found.headers["content-type"] == "application/json"
    assert found.json() == json.loads(json.dumps(document(Settings(feedback_dir=Path("kept")), BEARS)))
    assert found.json()["components"]["schemas"]["Class"]["enum"] == list(BEARS.classes)
    explain = found.json()["paths"]["/upload"]["post"]["parameters"][1]
    assert explain["schema"]["enum"] == ["0", "1", *BEARS.classes]


def test_it_is_there_while_the_bundle_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.service.load_classifier", lambda *_: time.sleep(0.5))
    with TestClient(create_app(Settings(), fetcher=FakeFetcher({}))) as client:
        assert client.get("/readyz").status_code == 503
        found = client.get("/openapi.json").json()
        assert found["paths"].keys() == document(Settings(), BEARS)["paths"].keys()
        assert "enum" not in found["components"]["schemas"]["Class"]
        assert client.get("/docs").status_code == 200


def closed(schema: Any) -> Any:
    """The schema, but with no keys other than those that it names."""
    if isinstance(schema, list):
        return [closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    extra = {"additionalProperties": False} if "type" in schema and "properties" in schema else {}
    return {key: closed(value) for key, value in schema.items()} | extra


def test_answers_hold_no_key_that_is_not_documented(client: TestClient) -> None:
    found = closed(client.get("/openapi.json").json())
    extras = "?explain=1&thumbnail=1"

    def check(method: str, path: str, response: httpx2.Response) -> None:
        described = found["paths"][path][method]["responses"][str(response.status_code)]
        validator(found, described["content"]["application/json"]["schema"]).validate(response.json())
        always = {name.lower() for name, header in described["headers"].items() if header["required"]}
        assert always <= response.headers.keys()

    check("post", "/upload", upload(client, TEDDY, query=extras))
    check("post", "/upload", upload(client, TEDDY, b"text", photo("chelsea.png"), query=extras))
    check("post", "/upload", upload(client, b"text"))
    check("get", "/classify-url", client.get(f"/classify-url{extras}", params={"url": URL}))
    check("get", "/classify-url", client.get("/classify-url"))
    for path in ("/model", "/livez", "/readyz", "/v2", "/v2/health/live", "/v2/health/ready"):
        check("get", path, client.get(path))
    for path in ("/v2/models/{name}", "/v2/models/{name}/ready"):
        check("get", path, client.get(path.replace("{name}", BEARS.name)))
        check("get", path, client.get(path.replace("{name}", "nobears")))
    check("post", "/hf", client.post("/hf", content=TEDDY))
    check("post", "/hf", client.post("/hf", content=b"text"))
    for sent in (image(TEDDY, TEDDY) | {"id": "a"}, image(TEDDY, b"text"), {}):
        check("post", "/v2/models/{name}/infer", client.post(INFER, json=sent))


def example(path: str, operation: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """An address and what to send there for an answer, as the document shows it."""
    for given in operation.get("parameters", []):
        path = path.replace(f"{{{given['name']}}}", str(given.get("example")))
    content = operation.get("requestBody", {}).get("content", {})
    if "application/json" in content:
        return path, {"json": content["application/json"]["example"]}
    query = {"url": URL} if path == "/classify-url" else None
    data = {"label": "teddys"} if path == "/feedback" else None
    return path, {"params": query, "data": data, "files": {"file": TEDDY} if content else None}


def test_every_face_of_an_answer_is_documented(client: TestClient) -> None:
    for path, method, operation in operations(client.get("/openapi.json").json()):
        address, sent = example(path, operation)
        for accept in ("*/*", HTML["Accept"]):
            response = client.request(method, address, headers={"Accept": accept}, **sent)
            assert response.status_code == 200
            if method == "get":
                head = client.head(address, params=sent.get("params"), headers={"Accept": accept})
                assert head.status_code == 200
            kind = response.headers["content-type"].partition(";")[0]
            assert kind in operation["responses"]["200"]["content"], (path, accept)
