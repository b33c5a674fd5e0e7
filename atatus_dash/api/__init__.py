"""Everything under /v2.

`dispatch` takes a request from the middleware to its view, which is an `APIView` of `base` in a file of `resources`.
The view's attributes name what happens before its method runs: `authentication` finds the key and asks `apikeys.gate`,
`permissions` reads the rest of its verdict. Whatever is raised on the way becomes an answer in `errors`.
"""
