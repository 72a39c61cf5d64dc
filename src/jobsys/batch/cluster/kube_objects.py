"""What Kubernetes is asked for: tasks as a Secret with their script and a Job, or pods, that mount it. Pure."""

import base64
import json
import math
from collections.abc import Iterable, Mapping
from typing import Any, Final

from jobsys.batch.cluster.scheduler import Ask, AskRefusedError
from jobsys.errors import UsageError
from jobsys.requirements import Requirements

Json = dict[str, Any]

MANAGED: Final = "app.kubernetes.io/managed-by"
US: Final = "jobsys"
ASK: Final = "jobsys/ask"
"""The label that holds the name of an ask."""
NUMBER: Final = "batch.kubernetes.io/job-completion-index"
"""The label that holds a task's number: Kubernetes' own, which has been a label since 1.28."""
MADE: Final = "jobsys/made"
"""The annotation of a Secret whose pods, or Job, have all been made."""
SO_FAR: Final = "jobsys/made-so-far"
"""The annotation of a Secret that says how many of its pods have been made: none of these is made again."""
TITLE: Final = "jobsys/title"
INDEX: Final = "JOB_COMPLETION_INDEX"
SCRIPT: Final = "script"
PLAN: Final = "plan"
"""The key under which a Secret holds what is to be made beside it: who finds it can go on where somebody was interrupted."""
CONTAINER: Final = "task"
FOLDER: Final = "/jobsys"
_LONGEST: Final = 900_000  # bytes of a script; a Secret is 1 MiB at most
_SPOT: Final = (  # the taints by which clouds keep others off what they may take back
    "cloud.google.com/gke-spot",
    "cloud.google.com/gke-preemptible",
    "kubernetes.azure.com/scalesetpriority",
)


def secret(ask: Ask, plan: Json) -> Json:
    """Write the Secret of an ask: its script, and what mounts it.

    Raises:
        AskRefusedError: the script is too long.
    """
    script = ask.script.encode("utf-8", "surrogateescape")
    if len(script) > _LONGEST:
        raise AskRefusedError(f"the tasks' script has {len(script)} bytes, and a Secret holds {_LONGEST}: use fewer variables")
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": _metadata(ask.name, ask.name, ask.title),
        "immutable": True,
        "data": {SCRIPT: _base64(script), PLAN: _base64(json.dumps(plan).encode())},
    }


def plan_of(secret: Json) -> Json:
    """Read from a Secret what is to be made beside it."""
    found: Json = json.loads(base64.b64decode(secret["data"][PLAN]))
    return found


def job_plan(ask: Ask, options: Mapping[str, str]) -> Json:
    """Write an indexed Job: whatever becomes of a task, it is not started again, and the others go on."""
    return {
        "job": {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": _metadata(ask.name, ask.name, ask.title),
            "spec": {
                "completionMode": "Indexed",
                "completions": ask.count,
                "parallelism": ask.count,
                "backoffLimitPerIndex": 0,
                "podReplacementPolicy": "Failed",
                "ttlSecondsAfterFinished": whole(options, "ttl"),
                "template": {"metadata": {"labels": _labels(ask.name)}, "spec": pod_spec(ask.name, ask.requirements, options)},
            },
        }
    }


def pod_plan(ask: Ask, options: Mapping[str, str]) -> Json:
    """Write pods: what a Kubernetes is asked for whose Jobs would start tasks again, or end all for the sake of one."""
    return {"count": ask.count, "title": ask.title, "spec": pod_spec(ask.name, ask.requirements, options)}


def pod(name: str, number: int, plan: Json, owner: str) -> Json:
    """Write one pod of a plan; it goes when its Secret goes."""
    metadata = _metadata(f"{name}-{number}", name, plan["title"])
    metadata["labels"][NUMBER] = str(number)
    metadata["ownerReferences"] = [reference("Secret", name, owner)]
    (container,) = (one for one in plan["spec"]["containers"] if one["name"] == CONTAINER)
    numbered = {**container, "env": [*container["env"], {"name": INDEX, "value": str(number)}]}
    containers = [numbered if one is container else one for one in plan["spec"]["containers"]]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {**plan["spec"], "containers": containers}}


def among(label: str, values: Iterable[str]) -> str:
    """Write a selector of objects whose label has one of these values."""
    return f"{label} in ({','.join(values)})"


def reference(kind: str, name: str, uid: str) -> Json:
    """Write that an object goes when this one goes."""
    return {"apiVersion": "batch/v1" if kind == "Job" else "v1", "kind": kind, "name": name, "uid": uid}


def pod_spec(name: str, requirements: Requirements, options: Mapping[str, str]) -> Json:
    """Write what a task is: one container that runs the script, once, with what it needs and no more."""
    amounts = resources(requirements, options["accelerator"])
    container: Json = {
        "name": CONTAINER,
        "image": options["image"],
        "command": ["/bin/sh", f"{FOLDER}/{SCRIPT}"],
        "env": [],
        "resources": {"requests": amounts, "limits": amounts},
        "securityContext": {"allowPrivilegeEscalation": False},
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [{"name": "jobsys", "mountPath": FOLDER, "readOnly": True}],
    }
    if options["pull-policy"]:
        container["imagePullPolicy"] = options["pull-policy"]
    items = [{"key": SCRIPT, "path": SCRIPT}]
    spec: Json = {
        "restartPolicy": "Never",
        "enableServiceLinks": False,
        "shareProcessNamespace": True,  # so that the task is not process 1, which signals do not end and who has to bury orphans
        "automountServiceAccountToken": bool(options["service-account"]),
        "tolerations": tolerations(options["tolerations"], requirements.preemptible),
        "volumes": [{"name": "jobsys", "secret": {"secretName": name, "items": items, "defaultMode": 0o444}}],
        "containers": [merge(container, _json(options, "container"))],
    }
    if options["service-account"]:
        spec["serviceAccountName"] = options["service-account"]
    if options["priority-class"]:
        spec["priorityClassName"] = options["priority-class"]
    if options["pull-secret"]:
        spec["imagePullSecrets"] = [{"name": options["pull-secret"]}]
    if options["node-selector"]:
        spec["nodeSelector"] = pairs(options["node-selector"])
    if requirements.walltime is not None:  # from when a host has taken it on: its image may still have to be fetched
        spec["activeDeadlineSeconds"] = math.ceil(requirements.walltime) + whole(options, "start-seconds")
    return merge(spec, _json(options, "pod"))


def resources(requirements: Requirements, accelerator: str) -> dict[str, str]:
    """Write what a task needs, in Kubernetes' quantities."""
    amounts = {"cpu": f"{math.ceil(requirements.cores * 1000)}m"}
    if requirements.memory is not None:
        amounts["memory"] = str(requirements.memory)
    if requirements.disk is not None:
        amounts["ephemeral-storage"] = str(requirements.disk)
    if requirements.accelerators:
        amounts[accelerator] = str(requirements.accelerators)
    return amounts


def tolerations(text: str, preemptible: bool) -> list[Json]:
    """Read ``KEY=VALUE:EFFECT,KEY:EFFECT,KEY``; a preemptible task may run on what a cloud may take back, too."""
    found: list[Json] = []
    for word in filter(None, (part.strip() for part in text.split(","))):
        taint, _, effect = word.partition(":")
        key, equals, value = taint.partition("=")
        toleration: Json = {"key": key, "operator": "Equal", "value": value} if equals else {"key": key, "operator": "Exists"}
        found.append(toleration | ({"effect": effect} if effect else {}))
    return found + ([{"key": key, "operator": "Exists"} for key in _SPOT] if preemptible else [])


def pairs(text: str) -> dict[str, str]:
    """Read ``KEY=VALUE,KEY=VALUE``.

    Raises:
        UsageError: there is no ``=``.
    """
    found = {}
    for word in filter(None, (part.strip() for part in text.split(","))):
        key, equals, value = word.partition("=")
        if not equals:
            raise UsageError(f"--batch-option node-selector={text}: write KEY=VALUE,KEY=VALUE")
        found[key] = value
    return found


def merge(one: Json, other: Mapping[str, Any]) -> Json:
    """Join two objects: what is in the other counts, objects are joined, lists are appended."""
    joined = dict(one)
    for key, value in other.items():
        mine = joined.get(key)
        if isinstance(mine, dict) and isinstance(value, dict):
            joined[key] = merge(mine, value)
        else:
            joined[key] = [*mine, *value] if isinstance(mine, list) and isinstance(value, list) else value
    return joined


def whole(options: Mapping[str, str], name: str) -> int:
    """Read a setting that is a whole number.

    Raises:
        UsageError: it is none.
    """
    if not options[name].isdecimal():
        raise UsageError(f"--batch-option {name}={options[name]}: give a whole number of seconds")
    return int(options[name])


def _json(options: Mapping[str, str], name: str) -> Json:
    try:
        found = json.loads(options[name] or "{}")
    except ValueError as error:
        raise UsageError(f"--batch-option {name}: that is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise UsageError(f"--batch-option {name}: give a JSON object, such as {{}}")
    return found


def _labels(ask: str) -> Json:
    return {MANAGED: US, ASK: ask}


def _metadata(name: str, ask: str, title: str) -> Json:
    return {"name": name, "labels": _labels(ask), "annotations": {TITLE: title[:1000]}}


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
