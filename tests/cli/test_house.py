"""The house comes up with all its parts, notices when one dies, and leaves nothing behind however it ends."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import httpx
import pytest

from polling import until
from servers import Answer, Server
from unlearn.cli.house import RESTARTS, STEADY_SECONDS, House, Part, environment, free_port
from unlearn.errors import Unavailable
from unlearn.settings import Settings

KEEPER = Path(__file__).with_name("house_keeper.py")
pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks for processes in /proc")


class Keeper:
    """A process that keeps a house."""

    def __init__(self, home: Path, *arguments: str, **more: str) -> None:
        self.home = home
        self.process = subprocess.Popen(
            [sys.executable, KEEPER, *arguments],
            env=os.environ | {"UNLEARN_HOME": str(home)} | more,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def says(self) -> str:
        return self.process.stdout.readline()

    def check(self) -> str:
        """Have the house look after its parts."""
        self.process.stdin.write("checked\n")
        self.process.stdin.flush()
        return self.says()

    def end(self) -> int:
        self.process.stdin.close()
        return self.process.wait()


def processes(home: Path) -> dict[int, str]:
    """All processes that name `home` in their environment or their title: id to title."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            title = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            if f"UNLEARN_HOME={home}\0".encode() in (entry / "environ").read_bytes() or str(home) in title:
                found[int(entry.name)] = title
        except OSError:
            continue
    return found


def process_of(home: Path, part: str) -> int:
    """The part's first process."""
    return min(number for number, command in processes(home).items() if part in command)


@pytest.fixture
def home():
    path = Path(tempfile.mkdtemp(prefix="unlearn-"))
    yield path
    for number in processes(path):
        os.kill(number, signal.SIGKILL)
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def make_keeper(home):
    keepers = []

    def make(*arguments, **more):
        keepers.append(Keeper(home, *arguments, **more))
        return keepers[-1]

    yield make
    for keeper in keepers:
        keeper.process.kill()
        keeper.process.wait()


def test_every_part_answers_and_nothing_is_left_when_it_ends(home, make_keeper):
    keeper = make_keeper("mlflow")
    urls = json.loads(keeper.says())
    assert httpx.get(f"{urls['api']}/readyz").status_code == 200
    assert httpx.get(f"{urls['mlflow']}/version").status_code == 200
    assert {log.name for log in (home / "logs").iterdir()} == {"api.log", "broker.log", "mlflow.log", "worker.log"}
    assert "ready." in (home / "logs" / "worker.log").read_text()
    assert keeper.end() == 0
    assert processes(home) == {}


def test_nothing_is_left_when_its_process_is_killed_and_it_can_start_again_at_once(home, make_keeper):
    keeper = make_keeper()
    json.loads(keeper.says())
    keeper.process.kill()
    again = make_keeper()
    json.loads(again.says())
    assert again.end() == 0
    until(lambda: processes(home) == {})


def test_nothing_is_left_when_it_is_killed_while_it_starts(home, make_keeper):
    keeper = make_keeper()
    until(lambda: any("valkey" in command or "redis" in command for command in processes(home).values()))
    keeper.process.kill()
    keeper.process.wait()
    until(lambda: processes(home) == {})


def test_a_part_that_died_is_started_again(home, make_keeper):
    keeper = make_keeper()
    url = json.loads(keeper.says())["api"]
    os.kill(process_of(home, "-server"), signal.SIGKILL)
    until(lambda: httpx.get(f"{url}/readyz").status_code == 503)
    assert keeper.check() == "checked\n"
    until(lambda: httpx.get(f"{url}/readyz").status_code == 200)
    assert keeper.end() == 0
    assert processes(home) == {}


def test_a_part_that_dies_again_and_again_ends_the_house_with_its_log(home, make_keeper):
    keeper = make_keeper()
    json.loads(keeper.says())
    said = ""

    def up_or_over():
        nonlocal said  # one that did not come up is started again, and counts
        said = keeper.check()
        return "died" in said or any("-server" in command for command in processes(home).values())

    for _ in range(5):
        until(up_or_over)
        if "died" in said:
            break
        number = process_of(home, "-server")
        os.kill(number, signal.SIGKILL)
        until(lambda number=number: processes(home).get(number, "") == "")
    assert "the broker died 4 times in a row; its log ends" in said
    keeper.end()
    assert processes(home) == {}


def test_a_part_that_does_not_come_up_is_named_with_the_end_of_its_log_and_nothing_is_left(home):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        house = House(Settings(home=home, port=taken.getsockname()[1]), mlflow_ui=False)
        with pytest.raises(Unavailable, match=r"(?s)the api did not start; its log ends.*address already in use"):
            house.__enter__()
    assert processes(home) == {}


def test_a_second_house_in_the_same_home_is_refused_and_the_first_goes_on(home, make_keeper):
    first = make_keeper()
    url = json.loads(first.says())["api"]
    second = make_keeper()
    assert "the service runs in" in second.says()
    second.end()
    assert httpx.get(f"{url}/readyz").status_code == 200
    assert first.end() == 0


def test_a_port_given_as_free_can_be_listened_on():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", free_port()))


def test_the_parts_get_exactly_the_settings_of_the_house(tmp_path, monkeypatch):
    monkeypatch.setenv("UNLEARN_DEVICE", "cuda")
    monkeypatch.setenv("UNLEARN_BROKER_URL", "redis://elsewhere")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://elsewhere")
    given = Settings(
        home=tmp_path / "home",
        roots=[tmp_path / "a", "s3://bucket/inputs", tmp_path / "b"],
        store="s3://bucket/adapters",
        identity_key="k" * 32,
        broker_url=None,
        mlflow_tracking_uri=None,
        device="cpu",
        lease_seconds=7.5,
        heartbeat_seconds=2.5,
    )
    monkeypatch.setattr("os.environ", environment(given))
    assert Settings() == given


@pytest.mark.parametrize(("kind", "ready"), [("withheld", True), ("unavailable", False)])
def test_an_api_that_withholds_adapters_gets_its_worker_all_the_same(tmp_path, kind, ready):
    class Unready(Answer):
        def do_GET(self):
            self.send(503, json.dumps({"type": f"/problems/{kind}", "detail": "1 adapter is withheld"}).encode())

    server = Server(Unready)
    house = House(Settings(home=tmp_path), urls={"api": server.url})
    assert house.ready() is ready
    server.stop()
    assert house.awaited == ("1 adapter is withheld" if ready else None)


def test_deaths_far_apart_do_not_end_the_house(tmp_path):
    """A part that died three times long ago and now once more is started again; one that dies so in a row is not."""
    house = House(Settings(home=tmp_path))
    part = Part("worker", ["true"], tmp_path / "log")
    house._parts.append(part)
    house._run(part)
    try:
        part.restarts, part.started = RESTARTS, part.started - STEADY_SECONDS - 1
        part.process.wait()
        house.check()
        assert part.restarts == 1
        part.restarts = RESTARTS
        part.process.wait()
        with pytest.raises(Unavailable, match="in a row"):
            house.check()
    finally:
        house.close()
