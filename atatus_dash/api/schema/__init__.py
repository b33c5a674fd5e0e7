"""The OpenAPI description of everything under /v2, served at `/v2/openapi.json`.

drf-spectacular reads the serializers. `operations` describes a view's methods from the view's attributes. `fields`
describes the fields of its bodies, with the texts of `meanings` and the regular expressions of `patterns`. `guard`
describes `/v2/verify`, which no view answers, `components` has what many operations share, and `document` puts it
together. Tests compare every response of the suite with it.
"""
