"""Requests to this machine: proxies are for other machines."""

from __future__ import annotations

import os
import urllib.request
from http.client import HTTPResponse
from typing import cast
from urllib.parse import urlsplit

_HOSTS = ("127.0.0.1", "localhost", "::1")


def is_loopback(address: str) -> bool:
    """Return whether a URL names this machine by a loopback address."""
    return urlsplit(address).hostname in _HOSTS


def open_url(address: str, timeout_s: float) -> HTTPResponse:
    """Open a URL, through the proxy of the environment unless it is on this machine."""
    proxies = [urllib.request.ProxyHandler({})] if is_loopback(address) else []
    opener = urllib.request.build_opener(*proxies)
    return cast(HTTPResponse, opener.open(address, timeout=timeout_s))


def without_proxy() -> None:
    """Let libraries of this process reach this machine directly, whatever `http_proxy` says."""
    for name in ("no_proxy", "NO_PROXY"):
        known = [host for host in os.environ.get(name, "").split(",") if host]
        missing = [host for host in _HOSTS if host not in known]
        if missing and "*" not in known:
            os.environ[name] = ",".join([*known, *missing])
