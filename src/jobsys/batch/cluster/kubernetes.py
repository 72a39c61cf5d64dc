"""Tasks on Kubernetes: an indexed Job, or pods where that would start tasks again, with the script in a Secret beside."""

import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, Final

from jobsys.batch.cluster import kube_objects as objects
from jobsys.batch.cluster.kube_api import AnswerError, Api
from jobsys.batch.cluster.kube_making import JOBS_FROM, QUOTA, Maker
from jobsys.batch.cluster.kube_states import job_seen, pod_seen, task_of, waiting
from jobsys.batch.cluster.scheduler import Ask, Scheduler, Seen, Setting, TaskId, TaskState, settings_of
from jobsys.events import Reason
from jobsys.late import Logger
from jobsys.requirements import Requirements

logger = Logger(__name__)

Json = dict[str, Any]
Tell = Callable[[int, Seen | None], Seen | None]

NAMES: Final = 50
"""How many asks one query names."""
NUMBERS: Final = 500
"""How many tasks of an ask one query names."""
GRACE: Final = 5  # seconds that a task has after SIGTERM
STRETCH: Final = 5.0
"""For so many times as long as a look took, what it found is good enough."""
_LIVING: Final = "status.phase!=Succeeded,status.phase!=Failed"
_NOT_DONE: Final = "status.phase!=Succeeded"
_NOT_ALLOWED: Final = "cannot create resource"


class Kubernetes(Scheduler):
    """A namespace of a cluster."""

    name = "kubernetes"
    settings = (
        Setting("image", "container image with a Python", f"python:{sys.version_info.major}.{sys.version_info.minor}"),
        Setting("namespace", "namespace in which tasks run; else that of the context, or of the pod"),
        Setting("context", "context of the kubeconfig file"),
        Setting("kubeconfig", "kubeconfig file; else KUBECONFIG, ~/.kube/config, or the pod in which the leader runs"),
        Setting("service-account", "service account whose token tasks get; else they get none"),
        Setting("node-selector", "labels that hosts must have: KEY=VALUE,KEY=VALUE"),
        Setting("tolerations", "taints that hosts may have: KEY=VALUE:EFFECT,KEY"),
        Setting("accelerator", "name of the resource that accelerators are", "nvidia.com/gpu"),
        Setting("priority-class", "priority class of the tasks"),
        Setting("pull-policy", "Always, IfNotPresent or Never"),
        Setting("pull-secret", "secret with which the image is fetched"),
        Setting("start-seconds", "how long fetching the image may take, and how long one that can't be fetched is tried", "300"),
        Setting("unschedulable-seconds", "how long a task may wait that no host has room for; 0: for ever", "0"),
        Setting("ttl", "seconds after which ended Jobs are deleted", "3600"),
        Setting("pod", "JSON that is joined with the specification of pods; lists are appended"),
        Setting("container", "JSON that is joined with the specification of the container"),
    )
    enforces = frozenset({"cores", "memory", "disk", "accelerators", "walltime"})
    index = objects.INDEX

    def __init__(self, options: Mapping[str, str] | None = None, api: Api | None = None, clock: Callable[[], float] = time.time) -> None:
        """Take the settings that were given; nothing is sent yet.

        Raises:
            UsageError: there is no such setting, or a value makes no sense.
        """
        self.options = settings_of(self.name, self.settings, options or {})
        self._start_seconds = objects.whole(self.options, "start-seconds")
        self._unschedulable_seconds = objects.whole(self.options, "unschedulable-seconds")
        objects.job_plan(Ask("", 0, Requirements(), ""), self.options)  # which reads all others
        self._api = api or Api(self.options["kubeconfig"], self.options["context"], self.options["namespace"])
        self._maker = Maker(self._api, self.options)
        self._clock = clock
        self._seen: dict[TaskId, Seen] = {}
        self._asked: frozenset[str] = frozenset()
        self._good_until = 0.0
        self._given_up: dict[TaskId, Seen] = {}
        self._canceled: set[TaskId] = set()

    def learn(self) -> None:
        """Find out which version the server has, and whether it lets us in; take away what nobody needs any more."""
        if self._api.version() < JOBS_FROM:
            try:
                self._maker.sweep(self._clock())
            except AnswerError as error:  # nobody who may not list Secrets needs to: it is for tidiness
                logger.warning("what is left of earlier runs stays in %s: %s", self._api.namespace, error)

    def check(self, requirements: Requirements) -> str:
        """Say what the cluster says to such a pod, without making it: limits of the namespace, policies."""
        plan = objects.pod_plan(Ask("jobsys-check", 1, requirements, ""), self.options)
        try:
            self._api.create("pods", objects.pod("jobsys-check", 0, plan, "none"), dryRun="All")
        except AnswerError as error:
            unsure = error.status not in (403, 422) or any(words in str(error) for words in (QUOTA, _NOT_ALLOWED))
            return "" if unsure else str(error)
        return ""

    def submit(self, ask: Ask) -> str:
        """Make a Secret with all that is needed, then what mounts it."""
        return self._maker.submit(ask)

    def find(self, name: str) -> str | None:
        """Find the Secret of an ask, and make what is missing beside it."""
        return self._maker.find(name)

    def look(self, tasks: Mapping[str, Collection[int]]) -> dict[TaskId, Seen]:
        """List the Jobs and the pods of these asks, or tell what was found a moment ago."""
        now = self._clock()
        if not (self._asked >= set(tasks) and now < self._good_until):
            self._refresh(tasks, now)
        wanted = (TaskId(native, number) for native, numbers in tasks.items() for number in numbers)
        return {task: self._seen[task] for task in wanted if task in self._seen}

    def cancel(self, tasks: Mapping[str, Collection[int] | None]) -> None:
        """Delete pods that have not ended; those that have stay until their time has come."""
        self._good_until = 0.0
        whole = [native for native, numbers in tasks.items() if numbers is None]
        if whole and self._api.version() >= JOBS_FROM:
            for native in whole:  # it makes no more pods, and counts as ended
                self._api.patch("jobs", native, {"spec": {"activeDeadlineSeconds": 1}})
        self._maker.give_up(whole)
        for names in _portions(whole, NAMES):
            self._delete(objects.among(objects.ASK, names))
        for native, numbers in tasks.items():
            self._canceled.update(TaskId(native, number) for number in numbers or ())
            for some in _portions(map(str, sorted(numbers or ())), NUMBERS):
                self._delete(f"{objects.ASK}={native},{objects.among(objects.NUMBER, some)}")

    def _delete(self, selector: str) -> None:
        self._api.delete("pods", grace=GRACE, labelSelector=selector, fieldSelector=_LIVING)

    def _refresh(self, tasks: Mapping[str, Collection[int]], now: float) -> None:
        self._forget_others(tasks)
        self._maker.go_on()
        began = time.monotonic()
        jobs = self._jobs(tasks)
        pods = dict(self._list_pods([name for name in tasks if name in jobs], now, fieldSelector=_NOT_DONE))
        pods.update(self._list_pods([name for name in tasks if name not in jobs], now))
        found: dict[TaskId, Seen] = {}
        for native, numbers in tasks.items():
            tell = jobs.get(native) or _without_job(self._maker.short.get(native, 0))
            for task in (TaskId(native, number) for number in numbers):
                seen = self._given_up.get(task) or self._steady(task, tell(task.number, pods.get(task)))
                if seen is not None:
                    found[task] = seen
        self._seen, self._asked = found, frozenset(tasks)
        self._good_until = now + STRETCH * (time.monotonic() - began)

    def _steady(self, task: TaskId, seen: Seen | None) -> Seen | None:
        """Say no more that a task waits that was running: its pod has ended, and its Job does not know yet."""
        before = self._seen.get(task)
        back = seen is not None and seen.state is TaskState.QUEUED and before is not None and before.state is TaskState.RUNNING
        return before if back else seen

    def _jobs(self, names: Iterable[str]) -> dict[str, Tell]:
        if self._api.version() < JOBS_FROM:
            return {}
        queries = (self._api.list("jobs", labelSelector=objects.among(objects.ASK, some)) for some in _portions(names, NAMES))
        return {job["metadata"]["name"]: job_seen(job) for query in queries for job in query}

    def _list_pods(self, names: Iterable[str], now: float, **query: str) -> Iterator[tuple[TaskId, Seen]]:
        late: dict[str, list[int]] = {}
        for some in _portions(names, NAMES):
            for pod in self._api.list("pods", labelSelector=objects.among(objects.ASK, some), **query):
                task = task_of(pod)
                if task is None:
                    continue
                seen = pod_seen(pod, now)
                if seen.state is not TaskState.ENDED and self._is_unwanted(task, pod, now):
                    late.setdefault(task.native, []).append(task.number)
                yield task, seen
        if late:
            self.cancel(late)

    def _is_unwanted(self, task: TaskId, pod: Json, now: float) -> bool:
        """Tell whether a pod is to be deleted: it was canceled before it was there, or waits for what will not come."""
        if pod["metadata"].get("deletionTimestamp"):
            return False
        waits = waiting(pod.get("status") or {})
        seconds = self._unschedulable_seconds or float("inf") if waits and waits.unschedulable else self._start_seconds
        if waits is not None and waits.since and now - waits.since > seconds:
            text = f"it did not start within {seconds:g} s: {waits.message}"
            self._given_up[task] = Seen(TaskState.ENDED, Reason.FAILED, message=text)
        return task in self._given_up or task in self._canceled

    def _forget_others(self, tasks: Mapping[str, Collection[int]]) -> None:
        self._given_up = {task: seen for task, seen in self._given_up.items() if task.native in tasks}
        self._canceled = {task for task in self._canceled if task.native in tasks}


def _without_job(count: int) -> Tell:
    """Give what tells of tasks that are pods and nothing else, ``count`` of which may be still to be made."""
    return lambda number, seen: seen or (Seen(TaskState.QUEUED, message="the namespace's quota is used up") if number < count else None)


def _portions(values: Iterable[str], size: int) -> Iterator[list[str]]:
    listed = list(values)
    return (listed[start : start + size] for start in range(0, len(listed), size))
