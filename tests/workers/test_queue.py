"""Doorbells through a real broker to a real worker."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from polling import until
from unlearn.errors import Unavailable
from unlearn.settings import Settings
from workers.queue import MARGIN_SECONDS, TASK, Bell, make_app, most_memory_kib

TOY = Path(__file__).with_name("toy_worker.py")


class Worker:
    def __init__(self, home: Path) -> None:
        self.home = home
        (home / "worker.ready").unlink(missing_ok=True)
        with (home / "worker.log").open("ab") as log:
            self.process = subprocess.Popen([sys.executable, "-P", TOY], stdout=log, stderr=log, start_new_session=True)
        until(lambda: (home / "worker.ready").exists())

    def lines(self, name: str) -> list[list[str]]:
        path = self.home / name
        return [line.split() for line in path.read_text().splitlines()] if path.exists() else []

    def end(self, number: int = signal.SIGKILL) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, number)
        self.process.wait()


@pytest.fixture
def make_worker(desk, broker, home):
    workers = []

    def make():
        workers.append(Worker(home))
        return workers[-1]

    yield make
    for worker in workers:
        worker.end()


@pytest.fixture
def bell(settings):
    bell = Bell(settings)
    yield bell
    bell.close()


def test_a_worker_says_that_it_lives_until_it_is_told_to_end(make_worker, home, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(home))
    worker = make_worker()
    alive = home / f"unlearn-worker-{worker.process.pid}.alive"
    until(alive.exists)
    first = alive.stat().st_mtime_ns
    until(lambda: alive.stat().st_mtime_ns > first)
    worker.end(signal.SIGTERM)
    assert not alive.exists()


def test_a_message_carries_the_job_id_and_nothing_else(broker, bell):
    bell("job_7")
    (raw,) = broker.client.lrange("unlearn:gpu", 0, -1)
    message = json.loads(raw)
    args, kwargs, embedded = json.loads(base64.b64decode(message["body"]))
    assert (args, kwargs) == (["job_7"], {})
    assert not any(embedded.values())
    assert message["content-type"] == "application/json"
    assert message["headers"]["task"] == "unlearn.fulfil"
    assert message["headers"]["eta"] is None


def test_every_key_on_the_broker_has_our_prefix(broker, bell):
    bell("job_7")
    assert all(key.startswith(b"unlearn:") for key in broker.client.scan_iter())


def test_no_message_comes_back_before_the_longest_job_has_ended(settings):
    for limit in (settings.job_limit_seconds, 30 * 3600):
        conf = make_app(settings.model_copy(update={"job_limit_seconds": limit})).conf
        said = [conf.broker_transport_options, conf.result_backend_transport_options, conf]
        assert [options["visibility_timeout"] for options in said] == [limit + MARGIN_SECONDS] * 3
        assert conf.task_time_limit == limit


def test_only_json_is_read(settings):
    assert make_app(settings).conf.accept_content == ["json"]


def test_a_broker_that_another_project_named_in_the_environment_is_not_ours(broker, monkeypatch):
    for name in ("CELERY_BROKER_URL", "CELERY_RESULT_BACKEND"):
        monkeypatch.setenv(name, "redis://127.0.0.1:1/0")
    Bell(broker.settings)("job_7")
    assert broker.client.llen("unlearn:gpu") == 1


def test_ringing_without_a_broker_says_so_and_soon(settings, bell):
    began = time.monotonic()
    with pytest.raises(Unavailable, match="broker"):
        bell("job_7")
    with pytest.raises(Unavailable, match="broker"):
        bell.check()
    assert time.monotonic() - began < 10


def test_a_bell_that_outlived_an_outage_rings_again(broker, bell):
    bell("job_1")
    broker.kill()
    with pytest.raises(Unavailable):
        bell("job_2")
    broker.start()
    bell.check()
    bell("job_3")
    assert broker.client.llen("unlearn:gpu") == 2


def test_an_error_about_a_broker_does_not_show_its_password():
    settings = Settings(broker_url="redis://:geheim@127.0.0.1:1/0")
    with pytest.raises(Unavailable) as caught:
        Bell(settings)("job_7")
    assert "geheim" not in str(caught.value)


def test_jobs_are_done_one_after_another_and_their_messages_are_gone_afterwards(broker, bell, make_worker):
    worker = make_worker()
    for number in range(3):
        bell(f"job_{number}")
    until(lambda: len(worker.lines("finished")) == 3)
    assert worker.lines("finished") == [["job_0"], ["job_1"], ["job_2"]]
    until(lambda: not broker.client.exists("unlearn:unacked"))
    assert broker.client.llen("unlearn:gpu") == 0


def test_a_job_whose_process_is_killed_is_delivered_again(home, bell, make_worker):
    (home / "hold").touch()
    worker = make_worker()
    bell("job_7")
    until(lambda: worker.lines("started"))
    os.kill(int(worker.lines("started")[0][1]), signal.SIGKILL)
    until(lambda: len(worker.lines("started")) == 2)
    (home / "hold").unlink()
    until(lambda: worker.lines("finished"))
    (first, killed), (second, other) = worker.lines("started")
    assert first == second == "job_7"
    assert killed != other


def test_a_worker_told_to_stop_ends_soon_and_hands_its_message_to_the_next(home, broker, bell, make_worker):
    (home / "hold").touch()
    worker = make_worker()
    bell("job_7")
    until(lambda: worker.lines("started"))
    began = time.monotonic()
    worker.end(signal.SIGTERM)
    assert time.monotonic() - began < 10
    assert broker.client.llen("unlearn:gpu") == 1
    (home / "hold").unlink()
    worker = make_worker()
    until(lambda: worker.lines("finished"))


def test_a_child_stays_warm_until_it_took_too_much_memory_and_then_ends_after_its_job(
    home, broker, bell, make_worker, monkeypatch
):
    monkeypatch.setenv("UNLEARN_WORKER_MAX_MEMORY_MB", "300")
    worker = make_worker()

    def work(*jobs):
        for job in jobs:
            bell(job)
        until(lambda: len(worker.lines("finished")) == int(jobs[-1]))
        return [pid for job, pid in worker.lines("started") if job in jobs]

    [warm] = set(work("1", "2"))
    (home / "eat").write_text("300")
    assert work("3") == [warm]
    (home / "eat").unlink()
    assert work("4") != [warm]
    assert worker.lines("finished") == [["1"], ["2"], ["3"], ["4"]]


def test_the_limit_is_the_settings_or_three_quarters_of_the_container_or_of_the_machine(tmp_path, monkeypatch):
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    container = tmp_path / "memory.max"
    monkeypatch.setattr("workers.queue.CONTAINER", container)
    assert most_memory_kib(Settings()) == machine * 3 // 4 // 1024
    for said, bytes_ in (("max\n", machine), (f"{1 << 30}\n", 1 << 30), (f"{machine * 2}\n", machine)):
        container.write_text(said)
        assert most_memory_kib(Settings()) == bytes_ * 3 // 4 // 1024
    assert most_memory_kib(Settings(worker_max_memory_mb=500)) == 500 * 1024
    assert make_app(Settings(worker_max_memory_mb=500)).conf.worker_max_memory_per_child == 500 * 1024


def test_nothing_but_jobs_on_adapters_runs_on_the_queue():
    from workers.tasks import app

    assert {name for name in app.tasks if not name.startswith("celery.")} == {TASK}


def test_a_worker_outlives_an_outage_of_the_broker(home, broker, bell, make_worker):
    worker = make_worker()
    broker.kill()
    broker.start()
    bell("job_7")
    until(lambda: worker.lines("finished"))


def test_a_directory_called_workers_where_the_person_stands_is_not_ours(tmp_path):
    for name in ("workers", "api", "unlearn"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('the wrong one')")
    code = "import workers.tasks, api, unlearn"
    subprocess.run([sys.executable, "-P", "-c", code], cwd=tmp_path, check=True)


def test_a_workers_parent_imports_no_torch():
    code = """
import sys
import workers.__main__, workers.relay, workers.broker
heavy = {"torch", "transformers", "peft", "mlflow"} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", code], check=True)
