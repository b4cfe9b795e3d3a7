"""Two machines on one: an SSH server of one's own on 127.0.0.1 and 127.0.0.2, and an `ssh` for PATH that knows it.

Keys, settings and known hosts lie in the given folder; nobody's ~/.ssh is read or written.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

from free_port import free_port

HOSTS = ("127.0.0.1", "127.0.0.2")
SSHD = shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin")
MISSING = [
    name for name, path in (("sshd", SSHD), ("ssh", shutil.which("ssh")), ("pdsh", shutil.which("pdsh"))) if not path
]


@contextlib.contextmanager
def two_hosts(folder, **environ):
    """Environment variables for DeepSpeed's launcher, HOSTFILE among them; environ: variables of those who log in."""
    port = free_port()
    for name in ("host_key", "user_key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
    shutil.copy(folder / "user_key.pub", folder / "authorized_keys")
    settings = [f"ListenAddress {host}" for host in HOSTS] + [
        f"Port {port}",
        f"HostKey {folder}/host_key",
        f"AuthorizedKeysFile {folder}/authorized_keys",
        "StrictModes no",
        "UsePAM no",
        "PidFile none",
        "SetEnv " + " ".join(f"{name}={value}" for name, value in environ.items()),
    ]
    (folder / "sshd_config").write_text("\n".join(settings) + "\n", encoding="utf-8")
    known = f"UserKnownHostsFile {folder}/known_hosts\nStrictHostKeyChecking accept-new\nLogLevel ERROR\n"
    (folder / "ssh_config").write_text(f"Port {port}\nIdentityFile {folder}/user_key\n{known}", encoding="utf-8")
    (folder / "bin").mkdir()
    (folder / "bin/ssh").write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {folder}/ssh_config "$@"\n')
    (folder / "bin/ssh").chmod(0o755)
    (folder / "hostfile").write_text("".join(f"{host} slots=1\n" for host in HOSTS), encoding="utf-8")
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # without it root's sshd does not start
    log = open(folder / "sshd.log", "w", encoding="utf-8")  # noqa: SIM115 closed below
    server = subprocess.Popen([str(SSHD), "-D", "-e", "-f", str(folder / "sshd_config")], stderr=log)
    try:
        _wait_for(port, server, folder)
        yield {
            "PATH": f"{folder}/bin{os.pathsep}{os.environ['PATH']}",
            "HOSTFILE": str(folder / "hostfile"),
            "MASTER_PORT": str(free_port()),
            "DEEPSPEED_ARGS": f"--master_addr {HOSTS[0]}",
        }
    finally:
        server.terminate()
        server.wait()
        log.close()


def _wait_for(port, server, folder):
    for host in HOSTS:
        limit = time.monotonic() + 20
        while True:
            try:
                socket.create_connection((host, port), timeout=1).close()
                break
            except OSError:
                if server.poll() is not None or time.monotonic() > limit:
                    raise AssertionError((folder / "sshd.log").read_text(encoding="utf-8")) from None
                time.sleep(0.1)
