"""`/.well-known/api-catalog` (RFC 9727)."""

import json

from tests.conftest import Program


def test_the_catalog_says_where_description_reference_and_health_are() -> None:
    response = Program().get("/.well-known/api-catalog")

    assert response.headers["Content-Type"] == (
        'application/linkset+json; profile="https://www.rfc-editor.org/info/rfc9727"'
    )
    [linkset] = json.loads(response.content)["linkset"]
    assert linkset["anchor"] == "https://testserver/v2"
    for relation in ("service-desc", "service-doc", "status"):
        [target] = linkset[relation]
        assert Program().get(target["href"].removeprefix("https://testserver")).status_code == 200


def test_a_head_request_for_the_catalog_has_its_links() -> None:
    response = Program().head("/.well-known/api-catalog")

    assert response.status_code == 200
    assert response.content == b""
    assert '<https://testserver/.well-known/api-catalog>; rel="api-catalog"' in response.headers["Link"]
