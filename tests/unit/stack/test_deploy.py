"""Compose file and Kubernetes manifests: valid, and the same stack as ``emsam up`` starts.

Nothing is run: no container runs here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from compose_spec import PyCompose

from emsam.credentials import Secrets, make_secrets
from emsam.settings import Settings
from emsam.stack import plan, postgres, seaweed
from emsam.stack.deploy import shipped

NAMES = {name.upper() for name in Secrets.model_fields}
VERSION = "1.31"
"""Of Kubernetes; the oldest that is still kept up."""
PLACES = {
    "-D", "-logdir", "-p", "--backend-store-uri", "--name", "-dir", "-ip", "-ip.bind", "-s3.config",
    "listen_addresses", "unix_socket_directories",
}  # fmt: skip
"""Options that say where, which a container has its own answers to."""


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setattr(postgres, "binary", lambda name: name)
    monkeypatch.setattr(postgres, "account", lambda: "")
    made = Settings(home=tmp_path, profile="team", pools="cpu,gpu", listen="0.0.0.0")
    make_secrets(made)
    return made


def compose() -> dict[str, Any]:
    """The compose file, variables put in as Docker does."""
    text = shipped("deploy").joinpath("compose.yaml").read_text()
    asked = set(re.findall(r"\$\{(\w+):\?\}", text))
    assert asked <= NAMES
    text = re.sub(r"\$\{(\w+):\?\}", r"the-\1", text)
    text = re.sub(r"\$\{\w+:-(.*?)\}", r"\1", text)
    assert "${" not in text
    PyCompose.from_yaml(yaml.safe_dump(yaml.safe_load(text)))
    return dict(yaml.safe_load(text))


def manifests() -> Iterator[dict[str, Any]]:
    files = sorted(shipped("deploy").joinpath("kubernetes").glob("*.yaml"))
    assert files
    for file in files:
        yield from yaml.safe_load_all(file.read_text())


def containers() -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    """Pod and first container of each workload."""
    found = {}
    for document in manifests():
        if document["kind"] in ("Deployment", "StatefulSet", "Job"):
            pod = document["spec"]["template"]["spec"]
            found[document["metadata"]["name"]] = (pod, pod["containers"][0])
    return found


def options(command: list[str] | tuple[str, ...]) -> set[str]:
    """Options with their values; of those that say where the names alone, or nothing."""
    words = [str(word) for word in command]
    found = set()
    for word, following in zip(words, [*words[1:], ""], strict=True):
        if word.startswith("-") and word not in ("-c", "-m"):
            name, _, value = word.partition("=")
            value = value or ("" if following.startswith("-") else following)
        elif word == "-c":
            name, _, value = following.partition("=")
        else:
            continue
        found.add(name if "port" in name else f"{name}={value}")
    return {each for each in found if each.partition("=")[0] not in PLACES}


def test_the_compose_file_is_valid_and_an_error_in_it_would_be_found() -> None:
    document = compose()
    assert set(document["services"]) == {*_services(), "deployments"}
    document["services"]["s3"]["depends_on"] = {"postgres": {"condition": "service_happy"}}
    with pytest.raises(ValueError, match="service_happy"):
        PyCompose.from_yaml(yaml.safe_dump(document))


def test_every_manifest_is_valid_and_an_error_in_one_would_be_found() -> None:
    documents = list(manifests())
    for document in documents:
        kubernetes_validate.validate(document, VERSION, strict=True)
        assert document["metadata"]["namespace"] == "emsam"
    assert set(containers()) == {*_services(), "deployments"}
    wrong = next(each for each in documents if each["kind"] == "Service")
    wrong["spec"]["prots"] = []
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSION, strict=True)


def test_containers_have_the_options_of_the_stack(settings: Settings) -> None:
    services, pods = compose()["services"], containers()
    for name in _services():
        wanted = options(plan.build(name, settings).command[1:])
        assert wanted <= options(services[name]["command"]), name
        assert options(services[name]["command"]) == options(pods[name][1]["args"]), name


def test_containers_have_the_settings_of_the_stack(settings: Settings) -> None:
    services, pods = compose()["services"], containers()
    for name in ("prefect", "mlflow", "s3"):
        wanted = plan.build(name, settings).environment
        wanted = {key for key in wanted if key.startswith(("PREFECT_S", "MLFLOW_", "GOMEM"))}
        wanted -= {"MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"}  # a client's
        here = services[name]["environment"]
        there = {entry["name"] for entry in pods[name][1]["env"]}
        assert wanted - there <= {"MLFLOW_DISABLE_TELEMETRY", "PREFECT_SERVER_ANALYTICS_ENABLED"}
        assert wanted <= set(here), name


def test_no_container_gets_a_password_that_is_not_its_own() -> None:
    """What a server of Prefect or MLflow could give away is not all of the team's."""
    allowed = {
        "prefect": {"PREFECT_DATABASE_PASSWORD", "PREFECT_API_AUTH_STRING"},
        "mlflow": {"MLFLOW_DATABASE_PASSWORD", "MLFLOW_TRACKING_PASSWORD",
                   "MLFLOW_FLASK_SERVER_SECRET_KEY", "ARTIFACTS_ACCESS_KEY_ID",
                   "ARTIFACTS_SECRET_ACCESS_KEY"},
        "s3": {"S3_SIGNING_KEY"},
    }  # fmt: skip
    services, pods = compose()["services"], containers()
    for name, own in allowed.items():
        text = yaml.safe_dump(services[name]["environment"])
        assert set(re.findall(r"the-(\w+)", text)) == own, name
        assert {key for _, key in _references(pods[name][1])} == own, name
    for pod, container in pods.values():
        for where, key in _references(container):
            assert (where, key in NAMES) == ("emsam", True)
        assert not pod["automountServiceAccountToken"]


def test_services_find_their_pods() -> None:
    documents = list(manifests())
    labels = {
        tuple(each["spec"]["template"]["metadata"]["labels"].items()): each["spec"]["template"]
        for each in documents
        if each["kind"] in ("Deployment", "StatefulSet")
    }
    for document in documents:
        if document["kind"] == "Service":
            pod = labels[tuple(document["spec"]["selector"].items())]
            (port,) = pod["spec"]["containers"][0]["ports"]
            (offered,) = document["spec"]["ports"]
            assert (offered["name"], offered["port"]) == (port["name"], port["containerPort"])


def test_databases_are_made_alike_and_identities_are_those_of_the_stack() -> None:
    script = shipped("deploy").joinpath("databases.sh").read_text()
    (stores,) = [each for each in manifests() if each["metadata"]["name"] == "stores"
                 and each["kind"] == "ConfigMap"]  # fmt: skip
    body = script[script.index("create()") :].replace("\n\n", "\n")
    assert stores["data"]["databases.sh"].replace("\n\n", "\n").endswith(body)
    for name in postgres.DATABASES:
        assert f'create {name} "${name.upper()}_DATABASE_PASSWORD"' in script
    content = yaml.safe_load(compose()["configs"]["s3"]["content"])
    rights = {each["name"]: each["actions"] for each in content["identities"]}
    assert rights == {
        "admin": ["Admin"],
        "artifacts": seaweed._rights("artifacts"),
        "aws": [*seaweed._rights("datasets"), *seaweed._rights("volumes")],
    }


def _services() -> list[str]:
    return plan.planned(Settings(profile="team", pools="cpu,gpu"))


def _references(container: dict[str, Any]) -> list[tuple[str, str]]:
    keys = [
        entry["valueFrom"]["secretKeyRef"] for entry in container["env"] if "valueFrom" in entry
    ]
    return [(each["name"], each["key"]) for each in keys]
