"""Dockerfile, docker-compose.yml and what they take in, as far as it can be told without Docker."""

import re
import shlex
from contextlib import nullcontext
from fnmatch import fnmatch
from importlib.metadata import requires, version
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.api.schemas import SessionCreate
from app.chosen_models import SHIPPED_MODELS
from app.config import Settings, load_settings
from app.core.errors import SettingsError
from app.main import create_app
from tests.docker.queries import CONFIG, ROOT, RULES

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
DOCKERFILE = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
INSTRUCTIONS = [
    (line.split(maxsplit=1)[0], line.split(maxsplit=1)[1])
    for line in DOCKERFILE.splitlines()
    if line and not line.startswith("#")
]
OURS = ("flexpatch", "flexpatch-gpu", "camera")

every_service = pytest.mark.parametrize("service", COMPOSE["services"].values(), ids=COMPOSE["services"])


def stages() -> dict[str, list[tuple[str, str]]]:
    """Instructions of each stage of the Dockerfile, in order."""
    found: dict[str, list[tuple[str, str]]] = {}
    for word, rest in INSTRUCTIONS:
        if word == "FROM":
            found[rest.split(" AS ")[1]] = []
        elif found:
            found[list(found)[-1]].append((word, rest))
    return found


def environment(instructions: list[tuple[str, str]]) -> dict[str, str]:
    return dict(word.split("=", 1) for name, rest in instructions if name == "ENV" for word in shlex.split(rest))


def mount(text: str) -> list[str]:
    """Source, target and mode of a volume, with the defaults of its variables."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text).split(":")


def settings_named(names: set[str]) -> set[str]:
    """Those of our variables that are no settings."""
    ours = {name for name in names if name.startswith("FLEXPATCH_")}
    return {
        name for name in ours if name.removeprefix("FLEXPATCH_").split("__")[0].lower() not in Settings.model_fields
    }


# ------------------------------------------------------------------------------------------------ compose


@every_service
def test_images_are_pinned_and_nothing_is_privileged(service: dict[str, Any]) -> None:
    name, _, tag = service["image"].partition(":")
    assert re.match(r"v?\d+\.\d+\.\d+", tag), name
    assert not service.get("privileged")
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert "no-new-privileges:true" in service["security_opt"]


@every_service
def test_services_are_watched_restarted_and_limited(service: dict[str, Any]) -> None:
    assert service["healthcheck"]["test"][0] == "CMD"
    assert service["restart"] == "unless-stopped"
    assert service["deploy"]["resources"]["limits"]["memory"]


@every_service
def test_ports_are_open_to_this_machine_only_unless_told_otherwise(service: dict[str, Any]) -> None:
    assert all(port.startswith(("${BIND:-127.0.0.1}:", "127.0.0.1:")) for port in service.get("ports", ()))


@pytest.mark.parametrize("name", ["prometheus", "grafana"])
def test_what_asks_nobody_who_they_are_is_open_to_this_machine_only(name: str) -> None:
    assert all(port.startswith("127.0.0.1:") for port in COMPOSE["services"][name]["ports"])


@every_service
def test_what_is_mounted_is_there(service: dict[str, Any]) -> None:
    for text in service.get("volumes", ()):
        source, _, *mode = mount(text)
        if source.startswith("."):
            assert (ROOT / source).exists(), source
            assert mode == ["ro"], source
        else:
            assert source in COMPOSE["volumes"], source


@pytest.mark.parametrize("name", OURS)
def test_our_services_cannot_write_but_where_they_must(name: str) -> None:
    service = COMPOSE["services"][name]
    assert service["read_only"] is True
    assert [text.partition(":")[0] for text in service["tmpfs"]] == ["/tmp"]  # noqa: S108 - the container's own
    assert service["build"]["target"] in stages()
    assert service["image"].startswith(f"flexpatch-service:{version('flexpatch-service')}-")


def test_a_gpu_is_asked_for_only_with_its_profile() -> None:
    with_gpu = {
        name for name, service in COMPOSE["services"].items() if "reservations" in service["deploy"]["resources"]
    }
    assert with_gpu == {"flexpatch-gpu"}
    assert COMPOSE["services"]["flexpatch-gpu"]["profiles"] == ["gpu"]
    assert not [name for name, service in COMPOSE["services"].items() if "profiles" in service and name not in with_gpu]


def test_variables_are_settings() -> None:
    given = {name for service in COMPOSE["services"].values() for name in service.get("environment", {})}
    assert settings_named(given) == {"FLEXPATCH_CONFIG"}, "which names the file"
    told = set(re.findall(r"\$\{(\w+)", (ROOT / "docker-compose.yml").read_text()))
    assert settings_named(told) == set()
    head = (ROOT / "docker-compose.yml").read_text().partition("\nname:")[0]
    assert [name for name in told if name not in head] == [], "the head of the file tells of all"


def test_no_secret_is_in_the_file() -> None:
    texts = [
        (name, str(value))
        for service in COMPOSE["services"].values()
        for name, value in service.get("environment", {}).items()
        if re.search("PASSWORD|SECRET|TOKEN|KEY", name)
    ]
    assert set(texts) == {
        ("GF_SECURITY_ADMIN_PASSWORD", "${GRAFANA_PASSWORD:-admin}"),
        ("FLEXPATCH_TOKENS", "${FLEXPATCH_TOKENS:-}"),
    }


def test_nobody_is_asked_for_a_token_only_where_nobody_else_can_come(tmp_path: Path) -> None:
    for name in ("flexpatch", "flexpatch-gpu"):
        service = COMPOSE["services"][name]
        given = service["environment"]
        assert given["FLEXPATCH_AUTHENTICATION"] == "${FLEXPATCH_AUTHENTICATION:-}"
        assert given["FLEXPATCH_PUBLISHED_HOST"] == "${BIND:-127.0.0.1}"
        assert all(port.startswith("${BIND:-127.0.0.1}:") for port in service["ports"])
    image = environment(stages()["cpu"])
    here = {"FLEXPATCH_STATE_FILE": str(tmp_path / "sessions.db"), "FLEXPATCH_MODELS_DIR": str(tmp_path)}
    with pytest.raises(SettingsError, match="there are no tokens"):
        create_app(load_settings(environment=image | here))
    for bind, is_started in (("127.0.0.1", True), ("0.0.0.0", False)):
        settings = load_settings(environment=image | here | {"FLEXPATCH_PUBLISHED_HOST": bind})
        with nullcontext() if is_started else pytest.raises(SettingsError, match="there are no tokens"):
            create_app(settings)


def test_the_configuration_is_understood_and_names_the_camera() -> None:
    service, camera = COMPOSE["services"]["flexpatch"], COMPOSE["services"]["camera"]
    mounted = {text.split(":")[1]: text.split(":")[0] for text in service["volumes"]}
    settings = load_settings(ROOT / mounted[service["environment"]["FLEXPATCH_CONFIG"]], environment={})
    (session,) = [SessionCreate.model_validate(document) for document in settings.sessions]
    assert session.source.kind == "rtsp"
    port = camera["command"][camera["command"].index("--port") + 1]
    assert session.source.url == f"rtsp://camera:{port}/stream"
    assert service["environment"]["FLEXPATCH_SOURCE_ALLOW"] == "${FLEXPATCH_SOURCE_ALLOW:-camera}"


def test_prometheus_scrapes_the_services_and_finds_its_rules() -> None:
    config = yaml.safe_load(CONFIG.read_text())
    names = config["scrape_configs"][0]["dns_sd_configs"][0]["names"]
    assert set(names) == {"flexpatch", "flexpatch-gpu"} <= set(COMPOSE["services"])
    mounts = dict(mount(text)[:2] for text in COMPOSE["services"]["prometheus"]["volumes"])
    folder = Path(mounts["./docker/prometheus/prometheus.yml"]).parent
    assert mounts["./docker/prometheus/rules"] == str(folder / Path(config["rule_files"][0]).parent)
    token = config["scrape_configs"][0]["authorization"]["credentials_file"]
    assert mounts["./docker/prometheus/no-token"] == str(folder / token)
    assert CONFIG.with_name("no-token").read_text() == "", "no secret is in the repository"


def test_the_alert_about_memory_knows_the_limit() -> None:
    limits = {
        COMPOSE["services"][name]["deploy"]["resources"]["limits"]["memory"] for name in ("flexpatch", "flexpatch-gpu")
    }
    assert limits == {"4G"}
    assert (RULES / "alerts.yml").read_text().count("4 * 2^30") == 2


# ---------------------------------------------------------------------------------------------- Dockerfile


def ignored(path: str) -> bool:
    """Whether .dockerignore keeps a file from the build."""
    is_ignored = False
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.lstrip("!")
        if line and not line.startswith("#") and (fnmatch(path, pattern) or fnmatch(path, f"{pattern}/*")):
            is_ignored = not line.startswith("!")
    return is_ignored


def copied() -> list[str]:
    """Files and folders of the checkout that the images are built of."""
    arguments = [rest.split() for word, rest in INSTRUCTIONS if word == "COPY" and "--from" not in rest]
    return [name for words in arguments for name in words[:-1]]


def test_targets_are_cpu_and_gpu_and_cpu_is_the_default() -> None:
    names = list(stages())
    assert {"cpu", "gpu"} <= set(names)
    assert names[-1] == "cpu"
    assert "nvidia/cuda:13." in DOCKERFILE


def test_what_is_copied_is_there_and_not_ignored() -> None:
    for name in copied():
        assert (ROOT / name).exists(), name
        assert not ignored(name), name
    for name in ("app/main.py", "models/flexpatch-nano.onnx", "models/failure_model.json", "models/manifest.json"):
        assert not ignored(name), name
    for name in (
        ".git/config",
        ".venv/bin/python",
        "flexpatch-state.db",
        "models/other.onnx",
        "models/engines/a.engine",
        "tests/a.py",
    ):
        assert ignored(name), name


def test_everything_that_the_wheel_takes_in_is_copied() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    taken = re.findall(r'^"(models/[^"]+)" = ', project, re.MULTILINE)
    assert len(taken) > 5
    assert [name for name in taken if ignored(name)] == []
    assert {"pyproject.toml", "README.md", "LICENSE", "models", "app"} <= set(copied())


@pytest.mark.parametrize("target", ["cpu", "gpu"])
def test_images_run_as_nobody_in_particular_and_say_how_they_are(target: str) -> None:
    words = dict(stages()[target])
    assert words["USER"] == "10001:10001"
    assert words["STOPSIGNAL"] == "SIGTERM"
    assert "/readyz" in words["HEALTHCHECK"]
    assert "curl" not in words["HEALTHCHECK"]
    assert words["ENTRYPOINT"] == '["flexpatch"]'
    labels = set(re.findall(r"org\.opencontainers\.image\.(\w+)", words["LABEL"]))
    assert labels == {"title", "description", "version", "revision", "licenses"}
    assert f"VERSION={version('flexpatch-service')}" in [rest for word, rest in stages()[target] if word == "ARG"]


@pytest.mark.parametrize("target", ["cpu", "gpu"])
def test_images_keep_models_and_state_in_volumes_that_compose_knows(target: str) -> None:
    given = environment(stages()[target])
    assert settings_named(set(given)) == set()
    load_settings(environment=given)
    volumes = re.findall(r'"([^"]+)"', dict(stages()[target])["VOLUME"])
    assert given["FLEXPATCH_MODELS_DIR"] in volumes
    assert str(Path(given["FLEXPATCH_STATE_FILE"]).parent) in volumes
    service = COMPOSE["services"]["flexpatch" if target == "cpu" else "flexpatch-gpu"]
    assert set(volumes) <= {text.split(":")[1] for text in service["volumes"]}


def test_both_targets_differ_only_in_what_a_gpu_needs() -> None:
    cpu, gpu = environment(stages()["cpu"]), environment(stages()["gpu"])
    assert {name: value for name, value in gpu.items() if name not in cpu} == {
        "NVIDIA_DRIVER_CAPABILITIES": "compute,utility,video"
    }
    assert {name: gpu[name] for name in cpu} == cpu


@pytest.mark.parametrize("target", ["cpu", "gpu"])
def test_nothing_is_told_to_anybody(target: str) -> None:
    assert environment(stages()[target])["ORT_DISABLE_TELEMETRY"] == "1"
    assert COMPOSE["services"]["grafana"]["environment"]["GF_ANALYTICS_REPORTING_ENABLED"] == "false"


def test_packages_are_locked_by_hash_and_no_cache_is_kept() -> None:
    installs = [rest for word, rest in INSTRUCTIONS if word == "RUN" and " install " in rest and "pip" in rest]
    from_lists = [rest for rest in installs if "--requirement" in rest]
    assert len(from_lists) == 3
    assert all("--require-hashes" in rest for rest in from_lists)
    for rest in installs:
        assert "--mount=type=cache,target=/var/cache/pip" in rest or "--no-cache-dir" in rest or "apt-get" in rest, rest
    assert all("rm -rf /var/lib/apt/lists" in rest for _, rest in INSTRUCTIONS if "apt-get install" in rest)


def test_the_builds_tools_are_all_named() -> None:
    found = re.search(r"\^\(([\w|-]+)\)==", DOCKERFILE)
    assert found
    needed = {
        re.split(r"[^\w-]", text)[0].lower()
        for text in requires("hatchling") or ()
        if "python_version < '3.11'" not in text
    }
    assert needed | {"hatchling"} <= set(found[1].split("|")) | {"tomli"}
    locked = (ROOT / "requirements-dev.lock").read_text()
    assert all(f"\n{name}==" in locked for name in found[1].split("|"))


def test_shipped_models_come_with_the_package() -> None:
    assert (SHIPPED_MODELS / "flexpatch-nano.onnx").is_file()
