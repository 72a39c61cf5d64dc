"""Tasks on Kubernetes: an indexed Job, or pods where that would start tasks again, with the script in a Secret beside."""

import sys
import time
from collections.abc import Callable, Collection, Mapping
from typing import Final

from jobsys.batch.cluster import kube_objects as objects
from jobsys.batch.cluster.kube_api import AnswerError, Api
from jobsys.batch.cluster.kube_making import JOBS_FROM, Maker
from jobsys.batch.cluster.kube_quota import is_used_up
from jobsys.batch.cluster.kube_states import Sight, by_number, is_final, job_seen, sight
from jobsys.batch.cluster.kube_store import Store
from jobsys.batch.cluster.kube_watch import NAMES, Watched, portions
from jobsys.batch.cluster.scheduler import Ask, Scheduler, Seen, Setting, TaskId, TaskState, settings_of
from jobsys.events import Reason
from jobsys.late import Logger
from jobsys.requirements import Requirements

logger = Logger(__name__)

Tell = Callable[[int, Seen | None], Seen | None]

NUMBERS: Final = 500
"""How many tasks of an ask one query names."""
GRACE: Final = 5  # seconds that a task has after SIGTERM
SWEEP: Final = 60.0
"""Seconds between two looks for what is over, at least."""
_LIVING: Final = "status.phase!=Succeeded,status.phase!=Failed"
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
        self._ttl = objects.whole(self.options, "ttl")
        objects.job_plan(Ask("", 0, Requirements(), ""), self.options)  # which reads all others
        self._api = api or Api(self.options["kubeconfig"], self.options["context"], self.options["namespace"])
        self._maker = Maker(self._api, self.options)
        self._clock = clock
        self._seen: dict[TaskId, Seen] = {}
        self._jobs: Watched[Tell] = Watched(self._api, "jobs", Store(job_seen))
        self._pods: Watched[Sight] = Watched(self._api, "pods", Store(sight, is_final))
        self._given_up: dict[TaskId, Seen] = {}
        self._sweep_at = float("inf")

    def learn(self) -> None:
        """Find out which version the server has, and whether it lets us in; take away what nobody needs any more."""
        if not self._has_jobs():
            self._sweep(self._now())

    def check(self, requirements: Requirements) -> str:
        """Say what the cluster says to such a pod, without making it: limits of the namespace, policies."""
        plan = objects.pod_plan(Ask("jobsys-check", 1, requirements, ""), self.options)
        try:
            self._api.create("pods", objects.pod("jobsys-check", 0, plan, "none"), dryRun="All")
        except AnswerError as error:
            unsure = error.status not in (403, 422) or is_used_up(str(error)) or _NOT_ALLOWED in str(error)
            return "" if unsure else str(error)
        return ""

    def submit(self, ask: Ask) -> str:
        """Make a Secret with all that is needed, then what mounts it."""
        return self._maker.submit(ask)

    def find(self, name: str) -> str | None:
        """Find the Secret of an ask, and make what is missing beside it."""
        return self._maker.find(name)

    def look(self, tasks: Mapping[str, Collection[int]]) -> dict[TaskId, Seen]:
        """Tell what the watch of the Jobs and the pods has told up to now; asks that are new to it are listed."""
        now = self._now()
        self._forget_others(tasks)
        self._maker.go_on()
        if now >= self._sweep_at:
            self._sweep(now)
        jobs = self._jobs.look(tasks.keys()) if self._has_jobs() else {}
        pods = {native: by_number(sights) for native, sights in self._pods.look(tasks.keys()).items()}
        self._cancel_unwanted(pods, now)
        found: dict[TaskId, Seen] = {}
        for native, numbers in tasks.items():
            tell = jobs[native][0] if jobs.get(native) else self._without_job(native)
            for task in (TaskId(native, number) for number in numbers):
                one = pods[native].get(task.number)
                seen = self._given_up.get(task) or self._steady(task, tell(task.number, one and one.at(now)))
                if seen is not None:
                    found[task] = seen
        self._seen = found
        return found

    def cancel(self, tasks: Mapping[str, Collection[int] | None]) -> None:
        """Delete pods that have not ended; those that have stay until their time has come."""
        for watched in (self._jobs, self._pods):
            watched.doubt()
        whole = [native for native, numbers in tasks.items() if numbers is None]
        if whole and self._has_jobs():
            for native in whole:  # it makes no more pods, and counts as ended
                self._api.patch("jobs", native, {"spec": {"activeDeadlineSeconds": 1}})
        self._maker.give_up(whole)
        for names in portions(whole, NAMES):
            self._delete(objects.among(objects.ASK, names))
        for native, numbers in tasks.items():
            self._maker.canceled.update(TaskId(native, number) for number in numbers or ())
            for some in portions(map(str, sorted(numbers or ())), NUMBERS):
                self._delete(f"{objects.ASK}={native},{objects.among(objects.NUMBER, some)}")

    def close(self) -> None:
        """Let go of the watches."""
        for watched in (self._jobs, self._pods):
            watched.close()
        self._seen.clear()

    def _delete(self, selector: str) -> None:
        self._api.delete("pods", grace=GRACE, labelSelector=selector, fieldSelector=_LIVING)

    def _steady(self, task: TaskId, seen: Seen | None) -> Seen | None:
        """Say no more that a task waits that was running: its pod has ended, and its Job does not know yet."""
        before = self._seen.get(task)
        back = seen is not None and seen.state is TaskState.QUEUED and before is not None and before.state is TaskState.RUNNING
        return before if back else seen

    def _cancel_unwanted(self, pods: Mapping[str, Mapping[int, Sight]], now: float) -> None:
        late: dict[str, list[int]] = {}
        for native, sights in pods.items():
            for number, one in sights.items():
                if not one.deleted and not is_final(one) and self._is_unwanted(TaskId(native, number), one, now):
                    late.setdefault(native, []).append(number)
        if late:
            self.cancel(late)

    def _is_unwanted(self, task: TaskId, one: Sight, now: float) -> bool:
        """Tell whether a pod is to be deleted: it was canceled before it was there, or waits for what will not come."""
        if (wait := one.wait) is not None and wait.since:
            seconds = self._unschedulable_seconds or float("inf") if wait.unschedulable else self._start_seconds
            if now - wait.since > seconds:
                text = f"it did not start within {seconds:g} s: {wait.message}"
                self._given_up[task] = Seen(TaskState.ENDED, Reason.FAILED, message=text)
        return task in self._given_up or task in self._maker.canceled

    def _without_job(self, native: str) -> Tell:
        """Give what tells of tasks that are pods and nothing else, some of which may be still to be made."""
        count = self._maker.short.get(native, 0)

        def tell(number: int, seen: Seen | None) -> Seen | None:
            if seen is not None or number >= count:
                return seen
            if TaskId(native, number) in self._maker.canceled:
                return Seen(TaskState.ENDED, Reason.CANCELED)
            return Seen(TaskState.QUEUED, message="the namespace's quota is used up")

        return tell

    def _now(self) -> float:
        """Give the time by the server's clock, as all that it says of times is."""
        return self._clock() + self._api.ahead

    def _has_jobs(self) -> bool:
        return self._api.version() >= JOBS_FROM

    def _sweep(self, now: float) -> None:
        """Delete what is over; nobody has to be able to do that, for it is for tidiness."""
        self._sweep_at = now + max(SWEEP, self._ttl)
        try:
            self._maker.sweep(now)
        except AnswerError as error:
            self._sweep_at = float("inf")
            logger.warning("what is left of earlier runs stays in %s: %s", self._api.namespace, error)

    def _forget_others(self, tasks: Mapping[str, Collection[int]]) -> None:
        self._given_up = {task: seen for task, seen in self._given_up.items() if task.native in tasks}
        self._maker.canceled = {task for task in self._maker.canceled if task.native in tasks}
