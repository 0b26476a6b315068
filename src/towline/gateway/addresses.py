# SPDX-License-Identifier: Apache-2.0
"""Addresses to listen on, as settings write them."""

from __future__ import annotations

import errno
import ipaddress
import os

from towline.errors import StartError


def is_loopback(host: str) -> bool:
    """Whether a listening address reaches this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def split_address(address: str) -> tuple[str, int]:
    """``host:port`` in two; IPv6 hosts in brackets. ValueError says what is wrong."""
    host, colon, port = address.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError(f"{address!r}: write an IPv6 address in brackets, as [::1]:6789")
    if not colon or not host or not port.isdigit() or int(port) > 65535:
        raise ValueError(f"{address!r} is not host:port with a port of 0 to 65535")
    return host, int(port)


def join_address(host: str, port: int) -> str:
    """The inverse of :func:`split_address`."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def cannot_listen(error: OSError, address: str, where: str) -> StartError:
    """Why a port could not be opened, in one line; ``where`` is the setting."""
    if error.errno == errno.EADDRINUSE:
        return StartError(
            "port.taken", f"{address} is in use", where=where, hint="choose another port, or stop what has it"
        )
    # A name that is not known has no errno of the system's, but a text.
    reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or str(error)
    return StartError("gateway.listen", f"cannot listen on {address}: {reason}", where=where)


def check_pattern(pattern: str) -> None:
    """ValueError for a pattern of addresses that no address can match (:func:`towline.gateway.access.host_matches`)."""
    parts = pattern.split(".")
    if len(parts) == 4 and all(part == "*" or (part.isdigit() and int(part) < 256) for part in parts):
        return
    if pattern != "*":
        try:
            ipaddress.ip_address(pattern)
        except ValueError:
            raise ValueError(
                f"{pattern!r} matches no address; write `*`, an address, or IPv4 with `*` parts such as 172.16.*.*"
            ) from None
