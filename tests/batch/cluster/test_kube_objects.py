"""What Kubernetes is asked for."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobsys.batch.cluster import kube_objects as objects
from jobsys.batch.cluster.kubernetes import Kubernetes
from jobsys.batch.cluster.scheduler import Ask, AskRefusedError
from jobsys.errors import UsageError
from jobsys.requirements import Requirements

ALL = Requirements(cores=1.5, memory=1 << 30, disk=10**9, accelerators=2, walltime=90.5, preemptible=True)


def options(**given):
    return Kubernetes({name.replace("_", "-"): value for name, value in given.items()}).options


def ask(requirements=ALL, **more):
    return Ask(**{"name": "jobsys-a", "count": 3, "requirements": requirements, "script": "exit 0\n", **more})


def test_a_job_starts_each_task_once():
    spec = objects.job_plan(ask(), options(ttl="60"))["job"]["spec"]
    template = spec.pop("template")
    assert spec == {
        "completionMode": "Indexed",
        "completions": 3,
        "parallelism": 3,
        "backoffLimitPerIndex": 0,
        "podReplacementPolicy": "Failed",
        "ttlSecondsAfterFinished": 60,
    }
    assert template["spec"]["restartPolicy"] == "Never"
    assert template["metadata"]["labels"][objects.ASK] == "jobsys-a"


def test_what_a_task_needs():
    spec = objects.pod_spec("jobsys-a", ALL, options(accelerator="amd.com/gpu", start_seconds="100"))
    amounts = {"cpu": "1500m", "memory": "1073741824", "ephemeral-storage": "1000000000", "amd.com/gpu": "2"}
    assert spec["containers"][0]["resources"] == {"requests": amounts, "limits": amounts}
    assert spec["activeDeadlineSeconds"] == 91 + 100
    assert {"key": "cloud.google.com/gke-spot", "operator": "Exists"} in spec["tolerations"]
    assert spec["automountServiceAccountToken"] is False
    least = objects.pod_spec("jobsys-a", Requirements(), options())
    assert least["containers"][0]["resources"]["limits"] == {"cpu": "1000m"}
    assert least["tolerations"] == []
    assert "activeDeadlineSeconds" not in least


def test_settings_arrive():
    spec = objects.pod_spec(
        "jobsys-a",
        Requirements(),
        options(
            image="registry.example/x:1",
            service_account="runner",
            node_selector="a=b, c.d/e=f=g",
            tolerations="k=v:NoSchedule,other:NoExecute,third",
            priority_class="low",
            pull_policy="Always",
            pull_secret="key",
            pod='{"hostNetwork": true, "volumes": [{"name": "more"}], "restartPolicy": "Never"}',
            container='{"env": [{"name": "A", "value": "b"}], "securityContext": {"runAsUser": 7}}',
        ),
    )
    (container,) = spec["containers"]
    assert (spec["serviceAccountName"], spec["automountServiceAccountToken"]) == ("runner", True)
    assert spec["nodeSelector"] == {"a": "b", "c.d/e": "f=g"}
    assert spec["tolerations"] == [
        {"key": "k", "operator": "Equal", "value": "v", "effect": "NoSchedule"},
        {"key": "other", "operator": "Exists", "effect": "NoExecute"},
        {"key": "third", "operator": "Exists"},
    ]
    assert (spec["priorityClassName"], spec["imagePullSecrets"], spec["hostNetwork"]) == ("low", [{"name": "key"}], True)
    assert [volume["name"] for volume in spec["volumes"]] == ["jobsys", "more"]
    assert (container["image"], container["imagePullPolicy"]) == ("registry.example/x:1", "Always")
    assert container["env"] == [{"name": "A", "value": "b"}]
    assert container["securityContext"] == {"allowPrivilegeEscalation": False, "runAsUser": 7}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"nodeselector": "a=b"}, "node-selector"),
        ({"node-selector": "a"}, "KEY=VALUE"),
        ({"ttl": "soon"}, "whole number"),
        ({"start-seconds": "-1"}, "whole number"),
        ({"pod": "{"}, "no JSON"),
        ({"container": "[]"}, "JSON object"),
    ],
)
def test_settings_that_make_no_sense(given, words):
    with pytest.raises(UsageError, match=words):
        Kubernetes(given)


@given(st.text(), st.text())
def test_script_and_title_arrive_as_they_are(script, title):
    asked = ask(script=script, title=title)
    secret = json.loads(json.dumps(objects.secret(asked, objects.pod_plan(asked, options()))))
    assert base64.b64decode(secret["data"]["script"]) == script.encode("utf-8", "surrogateescape")
    assert secret["metadata"]["annotations"][objects.TITLE] == title[:1000]


def test_the_script_is_nowhere_but_in_the_secret():
    secret = "s3cret-of-the-run"
    asked = ask(script=f"echo {secret}\n")
    for plan in (objects.job_plan(asked, options()), objects.pod_plan(asked, options())):
        assert secret not in json.dumps(plan)
    assert secret not in json.dumps(objects.pod("jobsys-a", 0, objects.pod_plan(asked, options()), "uid"))


def test_a_script_that_is_too_long():
    with pytest.raises(AskRefusedError, match="900001 bytes"):
        objects.secret(ask(script="x" * 900_001), {})


def test_a_pod_has_its_number_and_goes_with_its_secret():
    plan = objects.pod_plan(ask(), options(container='{"env": [{"name": "A", "value": "b"}]}', pod='{"containers": [{"name": "side"}]}'))
    pod = objects.pod("jobsys-a", 2, plan, "uid-1")
    task, side = pod["spec"]["containers"]
    assert task["env"] == [{"name": "A", "value": "b"}, {"name": Kubernetes.index, "value": "2"}]
    assert side == {"name": "side"}
    assert pod["metadata"]["name"] == "jobsys-a-2"
    assert pod["metadata"]["labels"][objects.NUMBER] == "2"
    assert pod["metadata"]["ownerReferences"] == [{"apiVersion": "v1", "kind": "Secret", "name": "jobsys-a", "uid": "uid-1"}]
    assert objects.plan_of(objects.secret(ask(), plan)) == plan
