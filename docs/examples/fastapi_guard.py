"""FastAPI: every HTTP route needs an API key, except those of mounted applications, such as StaticFiles.

    app = FastAPI(dependencies=[Depends(guard)], openapi_url=None)  # /docs would be public
    app.add_exception_handler(Refused, refuse)

FastAPI reads and parses a body before it calls dependencies: a malformed body is 422 with or without a key.
Needs httpx, and uvicorn as the server. Behind a proxy, name its address: uvicorn --forwarded-allow-ips 10.0.0.6
"""

import os

import httpx
from fastapi import Request, Response
from fastapi.responses import JSONResponse

GUARD = os.environ["GUARD"]  # http://10.0.0.5:8000/v2/verify/svc_…
AWAY = "The API key can't be checked at the moment. Please try again later."
PASSED_ON = ("WWW-Authenticate", "Retry-After", "RateLimit", "RateLimit-Policy")

# Connections are kept open, but not longer than a restarting guard keeps them.
client = httpx.AsyncClient(timeout=4, limits=httpx.Limits(keepalive_expiry=1))


class Refused(Exception):
    pass


async def guard(request: Request, response: Response) -> None:
    body = {
        "key": request.headers.get("X-API-KEY") or request.headers.get("Authorization", "").split(" ")[-1],
        "method": request.method,
        "path": request.scope["raw_path"].decode("latin-1"),
        "address": request.client and request.client.host,
    }
    try:
        answer = await client.post(GUARD, json=body)
        result = answer.json()
        allowed = result["allowed"]  # missing if this service may not ask
    except (httpx.HTTPError, ValueError, TypeError, KeyError):
        raise Refused(503, AWAY, {"Retry-After": "5"}) from None
    headers = {name: answer.headers[name] for name in PASSED_ON if name in answer.headers}
    if not allowed:
        raise Refused(answer.status_code, result["Message"], headers)
    request.state.account, request.state.api_key = result["account"]["slug"], result["api_key"]
    response.headers.update(headers)


async def refuse(_request: Request, error: Refused) -> JSONResponse:
    status, message, headers = error.args
    return JSONResponse({"Message": message}, status, headers)
