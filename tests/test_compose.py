"""docker-compose.yml and Dockerfile fit the program, and keep to the rules for what runs beside people's data."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest
import yaml

from unlearn.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES = COMPOSE["services"]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
each_service = pytest.mark.parametrize("name", SERVICES)


def test_the_service_has_all_its_parts():
    assert set(SERVICES) == {"api", "worker", "mlflow", "valkey", "postgres"}


def test_every_setting_in_the_files_is_one_that_the_program_reads():
    known = {f"UNLEARN_{name.upper()}" for name in Settings.model_fields}
    named = {key for service in SERVICES.values() for key in service.get("environment", {})}
    named |= set(re.findall(r"^\s*(?:ENV )?(UNLEARN_\w+)=", DOCKERFILE, flags=re.MULTILINE))
    assert {key for key in named if key.startswith("UNLEARN_")} <= known


def test_api_and_worker_see_one_home_one_database_one_broker_and_the_same_data(monkeypatch):
    seen = []
    for name in ("api", "worker"):
        for key, value in SERVICES[name]["environment"].items():
            monkeypatch.setenv(key, re.sub(r"\$\{\w+(:[-?]([^}]*))?\}", r"\2", value))
        settings = Settings()
        where = settings.home, settings.roots, settings.database_url, settings.broker_url, settings.mlflow_tracking_uri
        seen.append((*where, SERVICES[name]["volumes"]))
    assert seen[0] == seen[1]


def test_api_and_worker_log_for_machines():
    assert all(SERVICES[name]["environment"]["UNLEARN_LOG_FORMAT"] == "json" for name in ("api", "worker"))


@each_service
def test_an_image_is_pinned_to_a_version(name):
    assert re.fullmatch(r"[\w./-]+:\d+\.\d+[\w.-]*", SERVICES[name]["image"])


def test_the_dockerfile_builds_on_pinned_images_and_pinned_packages():
    bases = re.findall(r"^FROM (\S+)", DOCKERFILE, flags=re.MULTILINE)
    assert bases
    assert all(re.search(r":\d+\.\d+\.\d+", base) for base in bases)
    assert "-c constraints.txt" in DOCKERFILE


@each_service
def test_nothing_runs_as_root_or_may_become_it(name):
    user, group = SERVICES[name]["user"].split(":")
    assert int(user) > 0
    assert int(group) > 0
    assert SERVICES[name]["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in SERVICES[name]["security_opt"]


def test_the_image_runs_as_the_user_that_owns_its_directories():
    assert re.search(r"^USER 10001:10001$", DOCKERFILE, flags=re.MULTILINE)
    assert all(SERVICES[name]["user"] == "10001:10001" for name in ("api", "worker", "mlflow"))


@each_service
def test_each_part_says_how_to_see_that_it_is_well(name):
    assert SERVICES[name]["healthcheck"]["test"]


@each_service
def test_what_a_part_keeps_is_in_a_declared_volume(name):
    for volume in SERVICES[name]["volumes"]:
        source = volume.split(":")[0]
        assert source in COMPOSE["volumes"] or volume.endswith(":/data:ro")


@each_service
def test_ports_are_open_to_this_machine_alone(name):
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name].get("ports", []))


def test_database_and_broker_cannot_be_reached_from_outside():
    assert COMPOSE["networks"]["inside"]["internal"] is True
    for name in ("postgres", "valkey"):
        assert SERVICES[name]["networks"] == ["inside"]
        assert "ports" not in SERVICES[name]


def test_no_password_is_written_down():
    secrets = re.findall(r"(?:PASSWORD|AUTH): (\S+)|unlearn:([^@\s]+)@", (ROOT / "docker-compose.yml").read_text())
    assert secrets
    assert all(part.startswith("${") for pair in secrets for part in pair if part)


@each_service
def test_a_part_waits_for_parts_that_exist_and_say_when_they_are_well(name):
    for other, how in SERVICES[name].get("depends_on", {}).items():
        assert "healthcheck" in SERVICES[other]
        assert how == {"condition": "service_healthy"}


def test_modules_that_the_commands_run_exist():
    commands = [SERVICES["worker"]["command"], SERVICES["worker"]["healthcheck"]["test"]]
    commands += [re.search(r"^CMD (.*)$", DOCKERFILE, flags=re.MULTILINE)[1].replace('"', "").strip("[]").split(", ")]
    modules = [command[command.index(flag) + 1] for command in commands for flag in ("-m", "-A") if flag in command]
    assert len(modules) == 4
    for module in modules:
        assert importlib.util.find_spec(module)
