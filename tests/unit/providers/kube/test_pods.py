"""What is created in a cluster: names, pods and the secret, and what the options of the provider change in them."""

from __future__ import annotations

import copy
import re
import sys
from typing import TYPE_CHECKING, Any

import pytest

from parslab.description import decoded, encoded
from parslab.errors import ConfigurationError, OptionalModuleMissing
from parslab.executors import HighThroughputExecutor
from parslab.providers.base import Job
from parslab.providers.kube.manifest_text import manifest_text
from parslab.providers.kube.names import labels_of, object_name, parts_of, pod_names, selector_of
from parslab.providers.kube.pods import owner_manifest, pod_manifests
from parslab.providers.kube.provider import KubernetesProvider
from parslab.testing.conformance.jobs import a_job

if TYPE_CHECKING:
    from pathlib import Path

JOB = Job("parslab.000-1a2b3c.htex.0", "run-manager", "s", "o", "e", "python3", "/run/manager-htex.json")


def pod(job: Job = JOB, **options: Any) -> dict[str, Any]:
    (found,) = pod_manifests(KubernetesProvider("mine:1", **options), job, "uid-1")
    return found


def container(**options: Any) -> dict[str, Any]:
    found: dict[str, Any] = pod(**options)["spec"]["containers"][0]
    return found


def test_names_are_those_that_kubernetes_takes() -> None:
    assert pod_names("parslab", JOB.name, 1) == ["parslab-000-1a2b3c-htex-0"]
    assert pod_names("mine", JOB.name, 2) == ["mine-000-1a2b3c-htex-0-n0", "mine-000-1a2b3c-htex-0-n1"]
    long = [f"parslab.000-1a2b3c.{'x' * 60}{letter}.7" for letter in "ab"]
    names = [pod_names("parslab", job, 1)[0] for job in long]
    assert len(set(names)) == 2
    for name in (*names, object_name("_", "É"), object_name("A.b_c")):
        assert re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", name), name


def test_labels_name_run_executor_and_block() -> None:
    assert parts_of("parslab.r1.my.label.12") == ("r1", "my.label", "12")
    labels = labels_of("parslab.r1.my.label.12")
    assert labels["parslab-executor"] == "my.label"
    assert selector_of("parslab.r1.my.label.12", block=True) == (
        "parslab-run=r1,parslab-executor=my.label,parslab-block=12"
    )
    assert len(labels_of(f"parslab.r1.{'l' * 64}.1")["parslab-executor"]) <= 63


def test_the_keys_of_the_run_are_only_in_the_secret() -> None:
    assert owner_manifest(JOB, "keys")["stringData"] == {"invitation": "keys"}
    assert pod()["metadata"]["ownerReferences"][0]["uid"] == "uid-1"
    assert pod()["spec"]["volumes"] == [{"name": "parslab-run", "secret": {"secretName": "parslab-000-1a2b3c-htex"}}]
    assert "PARSLAB_INVITATION=/dev/fd/8" in container()["command"][2]


def test_a_job_without_a_manager_needs_no_keys(tmp_path: Path) -> None:
    assert "volumes" not in pod(a_job(tmp_path))["spec"]


def test_options_of_parsl() -> None:
    provider = KubernetesProvider(
        "mine:1", max_cpu=4, init_cpu=0.5, max_mem="8Gi", init_mem="1Gi", user_id="1000", group_id=1001,
        run_as_non_root=True, secret="login", persistent_volumes=[("claim-a", "/data")], service_account_name="me",
        annotations={"team": "red"}, pod_name="science", extra_limits={"nvidia.com/gpu": "1"},
        worker_init="module load x",
    )  # fmt: skip
    (found,) = pod_manifests(provider, JOB, "uid-1")
    spec, inner = found["spec"], found["spec"]["containers"][0]
    assert found["metadata"]["name"] == "science-000-1a2b3c-htex-0"
    assert found["metadata"]["annotations"] == {"team": "red", "parslab/job": JOB.name}
    assert inner["resources"]["requests"] == {"cpu": "0.5", "memory": "1Gi"}
    assert inner["resources"]["limits"] == {"cpu": "4", "memory": "8Gi", "nvidia.com/gpu": "1"}
    assert inner["securityContext"] == {"runAsUser": 1000, "runAsGroup": 1001, "runAsNonRoot": True}
    assert spec["imagePullSecrets"] == [{"name": "login"}]
    assert spec["serviceAccountName"] == "me"
    assert "automountServiceAccountToken" not in spec
    assert {"name": "claim-0", "persistentVolumeClaim": {"claimName": "claim-a"}} in spec["volumes"]
    assert {"name": "claim-0", "mountPath": "/data"} in inner["volumeMounts"]
    assert "module load x\nrun-manager" in inner["command"][2]


def test_volumes_and_where_they_are_mounted() -> None:
    data = {"name": "data", "nfs": {"server": "s", "path": "/x"}, "mountPath": "/data", "readOnly": True}
    found = pod(volumes=[data, {"name": "data", "mountPath": "/more", "subPath": "more"}])
    assert found["spec"]["volumes"][1:] == [{"name": "data", "nfs": {"server": "s", "path": "/x"}}]
    assert found["spec"]["containers"][0]["volumeMounts"][1:] == [
        {"name": "data", "mountPath": "/data", "readOnly": True},
        {"name": "data", "mountPath": "/more", "subPath": "more"},
    ]


def test_other_options() -> None:
    spec = pod(
        tolerations=[{"key": "gpu", "operator": "Exists"}], node_selector={"disk": "ssd"}, walltime="01:00:00",
        init_containers=[{"name": "fetch", "image": "x"}], image_pull_secrets=["a", "b"],
    )["spec"]  # fmt: skip
    assert spec["tolerations"] == [{"key": "gpu", "operator": "Exists"}]
    assert spec["nodeSelector"] == {"disk": "ssd"}
    assert spec["activeDeadlineSeconds"] == 3600
    assert spec["initContainers"] == [{"name": "fetch", "image": "x"}]
    assert [one["name"] for one in spec["imagePullSecrets"]] == ["a", "b"]
    assert container(environment={"A": "$(B) $$"})["env"] == [{"name": "A", "value": "$$(B) $$$"}]
    assert container(security_context={"privileged": False})["securityContext"] == {"privileged": False}
    assert "PARSLAB_WALLTIME=3600" in container(walltime=3600)["command"][2]


def test_the_template_replaces_what_parslab_makes() -> None:
    template = {
        "metadata": {"labels": {"team": "red", "parslab-run": "another"}, "name": "another"},
        "spec": {
            "priorityClassName": "low",
            "automountServiceAccountToken": None,
            "containers": [{"name": "parslab", "imagePullPolicy": "Always"}, {"name": "sidecar", "image": "y"}],
        },
    }
    before = copy.deepcopy(template)
    found = pod(template=template)
    assert found["metadata"]["name"] == "parslab-000-1a2b3c-htex-0"
    assert found["metadata"]["labels"]["team"] == "red"
    assert found["metadata"]["labels"]["parslab-run"] == "000-1a2b3c"
    assert found["spec"]["priorityClassName"] == "low"
    assert "automountServiceAccountToken" not in found["spec"]
    ours, other = found["spec"]["containers"]
    assert (ours["image"], ours["imagePullPolicy"], other) == ("mine:1", "Always", {"name": "sidecar", "image": "y"})
    assert template == before


def test_each_pod_of_a_block_has_a_name_of_its_own() -> None:
    first, second = pod_manifests(KubernetesProvider("mine:1", nodes_per_block=2), JOB, "uid-1")
    assert first["metadata"]["name"] != second["metadata"]["name"]
    assert first["spec"] == second["spec"]


def test_the_description_travels() -> None:
    provider = KubernetesProvider(
        "mine:1", persistent_volumes=[("a", "/b")], tolerations=[{"key": "x"}], template={"spec": {"list": [1, [2]]}}
    )
    assert decoded(encoded(provider)) == provider
    assert hash(provider) == hash(decoded(encoded(provider)))
    assert eval(repr(provider), {"KubernetesProvider": KubernetesProvider}) == provider
    assert HighThroughputExecutor(provider=provider).shared_filesystem is False


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"pod_name": "Mine_1"}, "pod_name begins the names of pods"),
        ({"volumes": [{"name": "x"}]}, "each of volumes needs name and mountPath"),
        ({"persistent_volumes": ["claim"]}, "persistent_volumes must be a list of dictionaries"),
        ({"persistent_volumes": [{"claim": "a"}]}, "takes pairs of a claim and a path"),
        ({"template": ["x"]}, "template must be a dictionary of plain data"),
        ({"tolerations": [object()]}, "tolerations must be a list of dictionaries of plain data"),
        ({"template": {"a": {1}}}, "template must be a dictionary of plain data"),
        ({"walltime": 1}, "walltime must be a time of at least 60 s"),
        ({"user_id": "root"}, "user_id must be a whole number"),
    ],
)
def test_options_that_cannot_be(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        KubernetesProvider("mine:1", **options)


def test_what_is_missing_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match="image must name a container image with bash, Python and parslab"):
        KubernetesProvider().require()
    monkeypatch.setattr("parslab.providers.kube.provider.find_spec", lambda _: None)
    with pytest.raises(OptionalModuleMissing, match=r"pip install 'parslab\[kubernetes\]'"):
        KubernetesProvider("mine:1").require()


def test_the_text_can_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """The script is there as it is, and the keys are not."""
    text = KubernetesProvider("mine:1").script(JOB)
    assert re.search(r"\n +run-manager\n", text)
    assert "the pods only" in text
    monkeypatch.setitem(sys.modules, "yaml", None)
    assert '"kind": "List"' in manifest_text([pod()])
