"""The API reference: pages for people, written from the OpenAPI description and from the guides in `docs/api`.

`operations` reads the description and `guides` the guides. `search` searches both, `markdown` turns Markdown into HTML,
and `pages` puts them into templates. The pages under `/v2/docs` and those in the dashboard are the same, with other
examples. No module here imports a view of the API, so a page says nothing that the description doesn't.
"""
