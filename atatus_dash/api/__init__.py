"""Everything under /v2.

`dispatch` passes a request from the middleware to its view, an `APIView` of `base` in a file of `resources`.
Before the view's method runs, `authentication` finds the key and asks `apikeys.gate`, and `permissions` checks the rest
of its verdict. `errors` turns every exception into an answer.
"""
