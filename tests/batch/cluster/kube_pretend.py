"""An API server in memory: as much of Kubernetes as tasks meet, indexed Jobs included, which ours on this machine is too old for."""

import copy
import itertools
import re
from collections.abc import Callable
from typing import Any

from jobsys.batch.cluster.kube_api import AnswerError, Api, ExpiredError
from jobsys.batch.cluster.kube_objects import NUMBER
from jobsys.batch.cluster.scheduler import PassingError, ranges


class PretendStream:
    """A watch whose events are there as soon as they have happened; ``over`` cuts it."""

    def __init__(self, api: "PretendApi", kind: str, version: str) -> None:
        self.over = False
        self._api, self._kind, self._at = api, kind, int(version)

    def take(self):
        self._api.notice()
        events = [copy.deepcopy(event) for at, kind, event in self._api.events if at > self._at and kind == self._kind]
        bookmark = {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": str(self._api.version_now)}}}
        self._at = self._api.version_now
        return [] if self.over else [*events, bookmark]

    def close(self):
        self.over = True


class PretendApi(Api):
    """Objects by kind and name; ``log`` has each request, ``events`` what a watch tells."""

    def __init__(self, version: tuple[int, int] = (1, 31), page: int = 3) -> None:
        super().__init__(namespace="here")
        self.log: list[str] = []
        self.objects: dict[str, dict[str, Any]] = {"secrets": {}, "jobs": {}, "pods": {}}
        self.refuse: Callable[[str, str, Any], None] = lambda method, kind, body: None
        self.events: list[tuple[int, str, Any]] = []
        self.version_now = 100
        self.forgotten = 0  # whoever watches from before that is told that it is too long ago
        self._noticed: dict[tuple[str, str], Any] = {}
        self._told = version
        self._page = page
        self._uids = itertools.count()

    def watch(self, kind, version, **query):
        self.log.append(f"WATCH {kind}")
        self.refuse("WATCH", kind, None)
        assert query == {"labelSelector": "app.kubernetes.io/managed-by=jobsys"}
        if int(version) < self.forgotten:
            raise ExpiredError("too old resource version")
        return PretendStream(self, kind, version)

    def notice(self):
        """Give what has changed since this was last called a version each, and tell of it."""
        there = {(kind, name): one for kind, objects in self.objects.items() for name, one in objects.items()}
        for key, gone in list(self._noticed.items()):
            if key not in there:
                self._happen("DELETED", key, gone)
                del self._noticed[key]
        for key, one in there.items():
            if key not in self._noticed or self._noticed[key] != one:
                self._happen("MODIFIED" if key in self._noticed else "ADDED", key, one)
                self._noticed[key] = copy.deepcopy(one)

    def _happen(self, what, key, one):
        self.version_now += 1
        one["metadata"]["resourceVersion"] = str(self.version_now)
        self.events.append((self.version_now, key[0], copy.deepcopy({"type": what, "object": one})))

    def request(self, method, path, body=None, accept="", /, **query):
        self.log.append(f"{method} {path}")
        if path == "/version":
            return {"major": str(self._told[0]), "minor": f"{self._told[1]}+"}
        kind, _, name = path.partition("/namespaces/here/")[2].partition("/")
        self.refuse(method, kind, body)
        return getattr(self, f"_{method.lower()}")(kind, name, copy.deepcopy(body), query)

    def _get(self, kind, name, _, query):
        self.notice()
        if name:
            self._demand(kind, name)
            return copy.deepcopy(self.objects[kind][name])
        found, start = self._chosen(kind, query), int(query.get("continue", 0))
        more = str(start + self._page) if start + self._page < len(found) else ""
        metadata = {"continue": more, "resourceVersion": str(self.version_now)}
        return {"items": copy.deepcopy(found[start : start + self._page]), "metadata": metadata}

    def _post(self, kind, _, body, query):
        name = body["metadata"]["name"]
        if name in self.objects[kind]:
            raise AnswerError("it is there", 409, "AlreadyExists")
        if not query.get("dryRun"):
            body["metadata"] |= {"uid": f"uid-{next(self._uids)}", "creationTimestamp": "2026-11-28T11:00:00Z"}
            body.setdefault("status", {"phase": "Pending"} if kind == "pods" else {})
            self.objects[kind][name] = body
            if kind == "jobs":
                self.make_pods(name)
        return copy.deepcopy(body)

    def _patch(self, kind, name, change, _):
        self._demand(kind, name)
        self._merge(self.objects[kind][name], change)
        if kind == "jobs" and change["spec"].get("activeDeadlineSeconds"):
            condition = {"type": "Failed", "status": "True", "reason": "DeadlineExceeded"}
            self.objects["jobs"][name]["status"].setdefault("conditions", []).append(condition)
        return {}

    def _delete(self, kind, _, __, query):
        for one in self._chosen(kind, query):
            self.remove(kind, one["metadata"]["name"])
        return {}

    # ── what happens there by itself ─────────────────────────────────────────────────────────────────────────────────

    def make_pods(self, name):
        job = self.objects["jobs"][name]
        for number in range(job["spec"]["completions"]):
            pod = copy.deepcopy(job["spec"]["template"])
            pod["metadata"] |= {"name": f"{name}-{number}-x7f2k", "ownerReferences": [{"uid": job["metadata"]["uid"]}]}
            pod["metadata"]["labels"][NUMBER] = str(number)
            pod["status"] = {"phase": "Pending"}
            self.objects["pods"][pod["metadata"]["name"]] = pod

    def set(self, native, number, phase, **status):
        """Let something happen to a pod; a Job hears of it when `count` is called."""
        pod = self.pod(native, number)
        pod["status"] = {"phase": phase, **status}
        pod["spec"]["nodeName"] = "n1"

    def pod(self, native, number):
        return next(
            pod for name, pod in self.objects["pods"].items() if name == f"{native}-{number}" or name.startswith(f"{native}-{number}-")
        )

    def count(self, native):
        """Do what the Job controller does: write down which numbers have ended, and how."""
        job = self.objects["jobs"][native]
        there = {int(pod["metadata"]["labels"][NUMBER]): pod["status"]["phase"] for pod in self.objects["pods"].values()}
        numbers = range(job["spec"]["completions"])
        job["status"]["completedIndexes"] = ranges([number for number in numbers if there.get(number) == "Succeeded"])
        job["status"]["failedIndexes"] = ranges([number for number in numbers if there.get(number, "Failed") == "Failed"])

    def remove(self, kind, name):
        gone = self.objects[kind].pop(name)
        for other, objects in self.objects.items():
            for owned in [one for one in objects.values() if self._owned(one, gone)]:
                self.remove(other, owned["metadata"]["name"])

    def _owned(self, one, owner):
        return any(by["uid"] == owner["metadata"].get("uid") for by in one["metadata"].get("ownerReferences", ()))

    def _demand(self, kind, name):
        if name not in self.objects[kind]:
            raise AnswerError("it is not there", 404, "NotFound")

    def _merge(self, one, change):
        for key, value in change.items():
            if isinstance(value, dict):
                self._merge(one.setdefault(key, {}), value)
            else:
                one[key] = value

    def _chosen(self, kind, query):
        return [one for one in self.objects[kind].values() if self._labelled(one, query) and self._in_phase(one, query)]

    def _labelled(self, one, query):
        labels = one["metadata"].get("labels", {})
        for term in re.findall(r"([^,=\s]+)(?: in \(([^)]*)\)|=([^,]*))", query.get("labelSelector", "")):
            if labels.get(term[0]) not in (term[1].split(",") if term[1] else [term[2]]):
                return False
        return True

    def _in_phase(self, one, query):
        return one["status"].get("phase") not in re.findall(r"status\.phase!=(\w+)", query.get("fieldSelector", ""))


def down(*_: object) -> None:
    raise PassingError("no answer")
