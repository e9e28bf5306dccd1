"""docker-compose.yml and Dockerfile fit the program, and keep to the rules for what runs beside people's data."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from unlearn.evidence.signing import signer_of
from unlearn.settings import Settings
from workers.errands import ALIVE

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
YAML_WITHOUT_COMMENTS = re.sub(r"^#.*$", "", TEXT, flags=re.MULTILINE)
EXAMPLE = (ROOT / ".env.example").read_text(encoding="utf-8")
COMPOSE = yaml.safe_load(TEXT)
SERVICES = COMPOSE["services"]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
OURS = ("api", "worker", "maintenance")
LEFT_OUT = {
    "api_key": "of the command line, which finds the API's own; the parts here ask one another nothing over HTTP",
    "ledger_signers": "commands that sign, which the image does not have: who builds one with them sets it there",
}
"""Settings that Compose passes to no part, and why."""
each_service = pytest.mark.parametrize("name", SERVICES)


def test_the_service_has_all_its_parts():
    assert set(SERVICES) == {"api", "worker", "maintenance", "mlflow", "valkey", "postgres", "s3"}


def test_every_setting_in_the_files_is_one_that_the_program_reads():
    known = {f"UNLEARN_{name.upper()}" for name in Settings.model_fields}
    named = {key for service in SERVICES.values() for key in service.get("environment", {})}
    named |= set(re.findall(r"UNLEARN_\w+", DOCKERFILE + TEXT + EXAMPLE))
    assert {key for key in named if key.startswith("UNLEARN_")} <= known


def test_every_setting_is_passed_to_a_part_or_left_out_for_a_reason():
    passed = {key for part in OURS for key in SERVICES[part]["environment"]}
    assert {name for name in Settings.model_fields if f"UNLEARN_{name.upper()}" not in passed} == set(LEFT_OUT)
    assert all(LEFT_OUT.values())


@pytest.fixture
def settings_of(monkeypatch):
    """The settings that one of our own parts gets when every secret is 64 characters long."""

    def settings_of(name, **given):
        with monkeypatch.context() as patch:
            for key, value in SERVICES[name]["environment"].items():
                filled = re.sub(r"\$\{\w+:\?[^}]*\}", "5" * 64, value)
                patch.setenv(key, re.sub(r"\$\{(\w+):-([^}]*)\}", lambda found: given.get(found[1], found[2]), filled))
            return Settings()

    return settings_of


def test_our_parts_share_database_broker_store_keys_and_roots_and_no_directory(settings_of):
    shared = ("database_url", "broker_url", "mlflow_tracking_uri", "store", "roots", "identity_hash_key", "ledger_key")
    seen = [{name: getattr(settings_of(part), name) for name in shared} for part in OURS]
    assert seen[0] == seen[1] == seen[2]
    assert seen[0]["store"] == "s3://unlearn/adapters"
    assert all(seen[0].values())
    kept = [volume.split(":")[0] for part in OURS for volume in SERVICES[part]["volumes"] if not volume.endswith(":ro")]
    assert sorted(kept) == ["api", "backups", "maintenance", "worker"]


@pytest.mark.parametrize("part", OURS)
def test_what_env_leaves_as_it_is_is_the_programs_own_default(settings_of, part):
    ours = settings_of(part)
    for key, value in SERVICES[part]["environment"].items():
        if re.fullmatch(rf"\$\{{{key}:-.*\}}", value):
            name = key.removeprefix("UNLEARN_").lower()
            assert getattr(ours, name) == Settings.model_fields[name].get_default(call_default_factory=True), name


def test_who_signs_for_opendsr_has_its_key_and_nobody_else(settings_of):
    given = {
        "UNLEARN_OPENDSR_DOMAIN": "privacy.example.com",
        "UNLEARN_OPENDSR_KEY_FILE": "/opendsr/key.pem",
        "UNLEARN_OPENDSR_CERTIFICATE_FILE": "/opendsr/certificate.pem",
    }
    for part in ("api", "maintenance"):
        assert settings_of(part, **given).opendsr_key_file == Path("/opendsr/key.pem")
        assert any(volume.endswith(":/opendsr:ro") for volume in SERVICES[part]["volumes"])
    assert settings_of("worker", **given).opendsr_domain is None
    assert not any("opendsr" in volume for volume in SERVICES["worker"]["volumes"])


def test_the_journal_is_not_where_the_database_is_and_the_user_may_write_there(settings_of):
    journal = settings_of("api").effective_journal
    assert journal.parent == Path("/var/lib/backups")
    assert f"backups:{journal.parent}" in SERVICES["api"]["volumes"]
    assert re.search(rf"install -d -o unlearn .* {journal.parent}\b", DOCKERFILE)


def test_the_maintenance_worker_runs_the_errands_and_the_api_does_not(settings_of):
    assert SERVICES["maintenance"]["command"] == ["python", "-m", "workers.errands"]
    assert not settings_of("api").errands
    assert settings_of("maintenance").errands
    assert f"/var/lib/unlearn/{ALIVE} " in SERVICES["maintenance"]["healthcheck"]["test"][1]


def test_a_worker_is_well_by_what_it_says_itself_not_by_what_another_answers():
    test = SERVICES["worker"]["healthcheck"]["test"][1]
    assert "find /tmp/unlearn-worker-*.alive " in test  # tests/workers/test_queue.py has a worker make it


def test_our_parts_log_for_machines(settings_of):
    assert all(settings_of(part).log_format == "json" for part in OURS)


def test_whoever_needs_the_object_store_has_its_address_and_keys_and_waits_for_it():
    for name in (*OURS, "mlflow"):
        environment = SERVICES[name]["environment"]
        assert environment["AWS_ENDPOINT_URL"] == "http://s3:7070"
        assert environment["AWS_ACCESS_KEY_ID"] == SERVICES["s3"]["environment"]["ROOT_ACCESS_KEY"]
        assert environment["AWS_SECRET_ACCESS_KEY"] == SERVICES["s3"]["environment"]["ROOT_SECRET_KEY"]
        assert "s3" in SERVICES[name]["depends_on"]
    for part in OURS:  # whoever purges takes every version there
        where = SERVICES[part]["environment"]["UNLEARN_MLFLOW_ARTIFACTS"]
        assert f"--artifacts-destination={where}" in SERVICES["mlflow"]["command"]
    for name in ("unlearn", "mlflow"):  # a bucket is a directory of the image
        assert f"/objects/{name}" in SERVICES["s3"]["build"]["dockerfile_inline"]


def test_the_example_of_an_env_file_names_everything_that_is_asked_for_and_holds_no_secret():
    given = dict(re.findall(r"^([A-Z0-9_]+)=(.*)$", EXAMPLE, flags=re.MULTILINE))
    assert set(given) == set(re.findall(r"(?<!\$)\$\{(\w+)", YAML_WITHOUT_COMMENTS))
    required = set(re.findall(r"(?<!\$)\$\{(\w+):\?", TEXT))
    defaults = dict(re.findall(r"(?<!\$)\$\{(\w+):-([^}]*)\}", TEXT))
    assert required.isdisjoint(defaults)
    assert given == dict.fromkeys(required, "") | defaults
    assert "/.env" in (ROOT / ".gitignore").read_text().splitlines()


@pytest.mark.skipif(shutil.which("openssl") is None, reason="the command is for machines that have openssl")
def test_the_command_that_fills_in_the_secrets_makes_each_another(tmp_path):
    command = re.search(r"^#   (umask .*)$", TEXT, flags=re.MULTILINE)[1]
    (tmp_path / ".env.example").write_text(EXAMPLE)
    subprocess.run(["sh", "-c", command], cwd=tmp_path, check=True)
    made = dict(re.findall(r"^([A-Z0-9_]+)=(.*)$", (tmp_path / ".env").read_text(), flags=re.MULTILINE))
    secrets = [value for value in made.values() if len(value) == 64]
    assert len(secrets) == len(set(secrets)) == 6
    assert signer_of(made["LEDGER_KEY"], "ledger.example").public.raw
    assert (tmp_path / ".env").stat().st_mode & 0o077 == 0


@each_service
def test_only_volumes_and_temporary_directories_can_be_written_to(name):
    assert SERVICES[name]["read_only"] is True
    assert "/tmp" in SERVICES[name]["tmpfs"]


@each_service
def test_nothing_is_copied_into_a_container_which_compose_can_not_do_when_it_is_read_only(name):
    assert not {"configs", "secrets"} & SERVICES[name].keys()


def test_the_second_database_is_made_by_the_image():
    inline = SERVICES["postgres"]["build"]["dockerfile_inline"]
    assert 'RUN echo "CREATE DATABASE mlflow;" > /docker-entrypoint-initdb.d/mlflow.sql' in inline
    assert any("/mlflow" in part and "postgres:5432" in part for part in SERVICES["mlflow"]["command"])


@each_service
def test_an_image_is_pinned_to_a_version(name):
    assert re.fullmatch(r"[\w./-]+:\d+\.\d+[\w.-]*", SERVICES[name]["image"])
    inline = SERVICES[name].get("build", {})
    if isinstance(inline, dict) and inline:
        assert re.match(r"FROM [\w./-]+:v?\d+\.\d+[\w.-]*\n", inline["dockerfile_inline"])


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
    assert all(SERVICES[name]["user"] == "10001:10001" for name in (*OURS, "mlflow"))


@each_service
def test_each_part_says_how_to_see_that_it_is_well(name):
    assert SERVICES[name]["healthcheck"]["test"]


@each_service
def test_what_a_part_keeps_is_in_a_declared_volume(name):
    for volume in SERVICES[name].get("volumes", []):
        source = volume.split(":")[0]
        assert source in COMPOSE["volumes"] or volume.endswith((":/data:ro", ":/opendsr:ro"))


@each_service
def test_ports_are_open_to_this_machine_alone(name):
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name].get("ports", []))


def test_database_and_broker_cannot_be_reached_from_outside():
    assert COMPOSE["networks"]["inside"]["internal"] is True
    for name in ("postgres", "valkey"):
        assert SERVICES[name]["networks"] == ["inside"]
        assert "ports" not in SERVICES[name]


def test_no_password_is_written_down():
    secrets = re.findall(
        r"(?:PASSWORD|AUTH|KEY|KEY_ID): (\S+)|unlearn:([^@\s]+)@", TEXT.replace('LOCAL_KEY: "false"', "")
    )
    assert secrets
    assert all(part.startswith("${") for pair in secrets for part in pair if part)


@each_service
def test_a_part_waits_for_parts_that_exist_and_say_when_they_are_well(name):
    for other, how in SERVICES[name].get("depends_on", {}).items():
        assert "healthcheck" in SERVICES[other]
        assert how == {"condition": "service_healthy"}


def test_modules_that_the_commands_run_exist():
    commands = [SERVICES["worker"]["command"], SERVICES["maintenance"]["command"]]
    commands += [re.search(r"^CMD (.*)$", DOCKERFILE, flags=re.MULTILINE)[1].replace('"', "").strip("[]").split(", ")]
    modules = [command[command.index("-m") + 1] for command in commands]
    assert len(modules) == 3
    for module in modules:
        assert importlib.util.find_spec(module)
