"""Everything under /v2: `dispatch` takes a request to its view, and `resources` holds a file for each resource."""
