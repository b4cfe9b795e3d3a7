"""Whether an address can be listened on, told before anything slow is loaded."""

import socket

from korlhf.core.errors import InputError


def check_port(host, port):
    """Raises InputError if the address cannot be listened on."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(
                socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
            )  # as servers do: a port that was just left is free
            probe.bind(address)
    except OSError as error:
        raise InputError(
            f"--host {host} --port {port}: cannot be listened on: {error.strerror or error}; "
            "stop what uses it, or give another --port"
        ) from error
