"""Django: every request needs an API key. Put "django_guard.Guard" first in MIDDLEWARE.

Needs httpx, and gunicorn as the server: Django decodes the path, but the guard must check it as it was sent.
"""

import os

import httpx
from django.http import JsonResponse

GUARD = os.environ["GUARD"]  # http://10.0.0.5:8000/v2/verify/svc_…
PROXIES = os.environ.get("PROXIES", "").split()  # addresses of the proxies in front of this service
AWAY = "The API key can't be checked at the moment. Please try again later."
PASSED_ON = ("WWW-Authenticate", "Retry-After", "RateLimit", "RateLimit-Policy")

# Connections are kept open, but not longer than a restarting guard keeps them.
client = httpx.Client(timeout=4, limits=httpx.Limits(keepalive_expiry=1))


class Guard:
    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        body = {
            "key": request.headers.get("X-API-KEY") or request.headers.get("Authorization", "").split(" ")[-1],
            "method": request.method,
            "path": request.META["RAW_URI"].partition("?")[0],
            "address": client_address(request),
        }
        try:
            answer = client.post(GUARD, json=body)
            result = answer.json()
            allowed = result["allowed"]  # missing if this service may not ask
        except (httpx.HTTPError, ValueError, TypeError, KeyError):
            return JsonResponse({"Message": AWAY}, status=503, headers={"Retry-After": "5"})
        if allowed:
            request.account, request.api_key = result["account"]["slug"], result["api_key"]
            response = self.get_response(request)
        else:
            response = JsonResponse({"Message": result["Message"]}, status=answer.status_code)
        for name in PASSED_ON:
            if name in answer.headers:
                response[name] = answer.headers[name]
        return response


def client_address(request):
    """The last address that is not one of our proxies: clients can write anything before it."""
    hops = [*request.headers.get("X-Forwarded-For", "").split(","), request.META["REMOTE_ADDR"]]
    return next((hop.strip() for hop in reversed(hops) if hop.strip() not in PROXIES), None) or None
