"""A service in FastAPI behind docs/examples/fastapi_guard.py. uvicorn runs it."""

from fastapi import Depends, FastAPI, Request
from fastapi_guard import Refused, guard, refuse

app = FastAPI(dependencies=[Depends(guard)], openapi_url=None)
app.add_exception_handler(Refused, refuse)


@app.api_route("/{path:path}", methods=["GET", "POST"])
def echo(request: Request) -> dict[str, str]:
    state = request.state
    return {"account": state.account, "api_key": state.api_key["id"], "path": request.url.path}
