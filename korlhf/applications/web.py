"""What the two programs with a page share: the address they listen on, refusals that the page has words for, Gradio
as the server."""

import os
import re
import socket
import sys
import threading
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

from korlhf.core.errors import InputError
from korlhf.core.flags import flag

NAME = re.compile(r"[\w.-]+")  # of a machine


@dataclass(frozen=True, kw_only=True)
class ServerFlags:
    """server"""

    host: str = flag("127.0.0.1", "address to listen on; 0.0.0.0 = all of this machine's, so that others can come in")
    port: int = flag(7860, "port to listen on", low=1, high=65535)
    auth_file: str = flag(
        "",
        "file of names and passwords (applications/label/add_annotator.py); not given: nobody is asked for a password",
    )
    share: bool = flag(False, "open a public link through Gradio's servers")
    allowed_hosts: list[str] = flag(
        [],
        "names by which browsers reach this server, such as label.example.org, also of a proxy before it; others are "
        "refused, but for localhost, --host and IP addresses",
    )

    def check(self, parser):
        for name in self.allowed_hosts:
            if not NAME.fullmatch(name):
                parser.error(f"--allowed_hosts {name}: give a name alone, such as label.example.org")

    def warn(self):
        """Say so where anybody may come in from other machines."""
        local = ip_address(self.host).is_loopback if _is_address(self.host) else self.host == "localhost"
        if self.share or not local:
            print("warning: without --auth_file whoever reaches the address may come in", file=sys.stderr, flush=True)


def _is_address(host):
    """Whether a host is given by its address, not by name."""
    try:
        return bool(ip_address(host))
    except ValueError:
        return False


class Refused(Exception):
    """Why a request is not taken. code: a word that the page's texts know; values: numbers for the page's sentence."""

    def __init__(self, code, **values):
        super().__init__(code)
        self.code, self.values = code, values

    def reply(self):
        return {"error": self.code, **self.values}


def whole_number(value):
    """Whether a value of a request is an integer; True and False are none."""
    return isinstance(value, int) and not isinstance(value, bool)


def check_port(host, port):
    """Raises InputError if the address cannot be listened on: told before anything slow is loaded."""
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


def be_quiet():
    """No statistics of use for anybody. To be called before Gradio is imported."""
    os.environ.update(GRADIO_ANALYTICS_ENABLED="False", HF_HUB_DISABLE_TELEMETRY="1")


def serve(site, server, name, stopped):
    """Listen until Ctrl-C. site: site.Site; server: ServerFlags; stopped: the line at the end."""
    import gradio  # slow to import, like what stands before it: a wrong flag is told at once

    from korlhf.applications.shield import Punctual, Shield

    if not server.auth_file:
        server.warn()
    hosts = {host.lower() for host in (server.host, *server.allowed_hosts) if not _is_address(host)}
    app = gradio.Server(routes=site.routes(), docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(Shield, paths=site.paths, hosts=hosts, most_bytes=site.most_bytes)
    try:
        launched, local, public = app.launch(
            server_name=server.host,
            server_port=server.port,
            share=server.share,
            prevent_thread_lock=True,
            quiet=True,
            ssr_mode=False,
            show_error=False,
        )
    except OSError as error:
        check_port(server.host, server.port)  # taken since it was found free: Gradio would speak of its own settings
        raise InputError(
            f"--host {server.host} --port {server.port}: cannot be listened on: {error}; give another --port"
        ) from error
    launched.get_blocks().server.config.http_protocol_class = Punctual  # `launch` takes none
    if public:
        hosts.add(urlsplit(public).hostname)
    print(f"{name} at {public or local}   (Ctrl-C stops)", flush=True)
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        print(stopped, file=sys.stderr, flush=True)
