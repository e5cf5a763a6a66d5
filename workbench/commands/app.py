"""`workbench app`: the dashboard."""

from __future__ import annotations

import socket
import subprocess
import sys
from typing import Annotated

import typer

from workbench.capture.errors import WorkbenchError
from workbench.commands.output import JsonOption, Output

PORTS_TRIED = 50


class AppError(WorkbenchError):
    """The dashboard could not be started."""


def app(
    port: Annotated[
        int, typer.Option(help="Port to listen on; if it is taken, the next free one.", min=1, max=65535)
    ] = 8501,
    address: Annotated[str, typer.Option(help="Address to listen on. 127.0.0.1: this machine only.")] = "127.0.0.1",
    as_json: JsonOption = False,
) -> None:
    """Open the dashboard in a browser: the embedded model and sample captures first, your own next. Stop it with Ctrl-C.

    Example:   workbench app --port 8600
    """
    from workbench.models.files import checkout

    root = checkout()
    if root is None or not (root / "app.py").is_file():
        raise AppError(
            "The dashboard's app.py is not beside this installation: run `workbench app` from a checkout (`make app`)."
        )
    out = Output(as_json)
    free = free_port(address, port)
    if free != port:
        out.note(f"Port {port} is taken, so the dashboard uses {free}.")
    if address not in ("127.0.0.1", "localhost", "::1"):
        out.note(
            f"Listening on {address}: others who reach this machine can open the dashboard, which has no password."
        )
    shown = f"[{address}]" if ":" in address else address
    url = f"http://{shown}:{free}"
    out.say(f"Open {url}")
    out.result({"url": url, "port": free, "address": address})
    sys.stdout.flush()
    command = [
        sys.executable,
        "-m",
        "streamlit",
        "run",
        str(root / "app.py"),
        "--server.port",
        str(free),
        "--server.address",
        address,
    ]
    # Its own lines go to standard error: the last line of standard output stays ours.
    server = subprocess.Popen(command, cwd=root, stdout=sys.stderr.fileno())
    try:
        status = server.wait()
    except KeyboardInterrupt:
        server.wait()
        return
    finally:
        if server.poll() is None:
            server.terminate()
            server.wait()
    if status not in (0, -2, 130):
        raise AppError(
            f"The dashboard ended with status {status}: the lines above say why, and `workbench doctor` looks for the usual causes."
        )


def free_port(address: str, first: int) -> int:
    """The first port from `first` on that can be listened on.

    Raises:
        AppError: if the address is not of this machine, or no port is free.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    for port in range(first, min(first + PORTS_TRIED, 65536)):
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
                return port
            except (socket.gaierror, OverflowError) as fault:
                raise AppError(f"'{address}' is no address: use 127.0.0.1.") from fault
            except OSError as fault:
                if fault.errno == 99:
                    raise AppError(f"'{address}' is no address of this machine: use 127.0.0.1.") from fault
    raise AppError(f"None of the ports {first} to {first + PORTS_TRIED - 1} is free: choose another with --port.")
