"""Makes what an ask needs in Kubernetes, in steps that may be interrupted and done again: the Secret first, which says what else."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from jobsys.batch.cluster import kube_objects as objects
from jobsys.batch.cluster.kube_api import METADATA, AnswerError, Api
from jobsys.batch.cluster.kube_quota import is_too_small, is_used_up
from jobsys.batch.cluster.kube_states import ended_at
from jobsys.batch.cluster.scheduler import Ask, AskRefusedError, PassingError, TaskId
from jobsys.errors import BatchSystemError
from jobsys.late import Logger

Json = dict[str, Any]

logger = Logger(__name__)

JOBS_FROM: Final = (1, 29)
"""The first version whose Jobs count the failures of each task by itself. Before, one that fails ends all others, or is started again."""
_OURS: Final = f"{objects.MANAGED}={objects.US}"


class Maker:
    """Makes Secrets, Jobs and pods."""

    def __init__(self, api: Api, options: Mapping[str, str]) -> None:
        """Make nothing yet."""
        self.short: dict[str, int] = {}
        """Asks for which the quota had no room yet, and how many tasks they are."""
        self.canceled: set[TaskId] = set()
        """Tasks that are not to be made any more."""
        self._api = api
        self._options = options

    def submit(self, ask: Ask) -> str:
        """Make everything of an ask; see `Scheduler.submit`."""
        plan = objects.job_plan if self._api.version() >= JOBS_FROM else objects.pod_plan
        secret = objects.secret(ask, plan(ask, self._options))
        try:
            found = self._api.create("secrets", secret) or self._api.get("secrets", ask.name)
            if found is None:
                raise PassingError(f"Kubernetes: the Secret {ask.name} was there, and is gone")
            self._complete(found)
        except AnswerError as error:
            if is_used_up(str(error)):  # of Secrets: where there is none, nothing is left to go on with
                raise PassingError(str(error)) from error
            self._withdraw(ask.name)
            way = f"`kubectl auth can-i --list --namespace {self._api.namespace}` tells what you may"
            raise AskRefusedError(f"{error}: {way}; docs/clusters/kubernetes.md tells what it takes") from error
        return ask.name

    def find(self, name: str) -> str | None:
        """Find the Secret of an ask, and make what is missing beside it."""
        secret = self._api.get("secrets", name)
        if secret is None:
            return None
        self._complete(secret)
        return name

    def go_on(self) -> None:
        """Make that for which there was no room."""
        for name in list(self.short):
            if self.find(name) is None:
                del self.short[name]

    def give_up(self, names: Iterable[str]) -> None:
        """Make no more pods of these asks."""
        for name in set(names) & set(self.short):
            del self.short[name]
            self._api.patch("secrets", name, {"metadata": {"annotations": {objects.MADE: "canceled"}}})

    def sweep(self, now: float) -> None:
        """Delete asks without a Job that have been over for ``ttl`` seconds, with their pods; Jobs do it themselves."""
        last: dict[str, float] = {}
        for pod in self._api.list("pods", labelSelector=_OURS):
            name = str(pod["metadata"]["labels"].get(objects.ASK))
            last[name] = max(last.get(name, 0.0), ended_at(pod))
        before = now - objects.whole(self._options, "ttl")
        for secret in self._api.list("secrets", accept=METADATA, labelSelector=_OURS):
            metadata = secret["metadata"]
            alone = objects.MADE in (metadata.get("annotations") or {}) and not metadata.get("ownerReferences")
            if alone and last.get(metadata["name"], ended_at(secret)) < before:
                self._withdraw(metadata["name"])

    def _complete(self, secret: Json) -> None:
        """Make what a Secret plans, once, as far as the quota has room: what has been made already is left alone."""
        metadata, plan = secret["metadata"], objects.plan_of(secret)
        name, notes, change = metadata["name"], metadata.get("annotations") or {}, {}
        if objects.MADE in notes:
            return
        first = name not in self.short and objects.SO_FAR not in notes
        try:
            if "job" in plan:
                change = self._make_job(name, plan["job"])
            else:
                self._make_pods(name, plan, metadata["uid"], int(notes.get(objects.SO_FAR, 0)))
        except AnswerError as error:
            if not is_used_up(str(error)) and (first or not is_too_small(str(error))):
                raise
            self.short[name] = plan["job"]["spec"]["completions"] if "job" in plan else plan["count"]
            return
        self.short.pop(name, None)
        self._api.patch("secrets", name, {"metadata": {**change, "annotations": {objects.MADE: "yes"}}})

    def _make_job(self, name: str, plan: Json) -> Json:
        """Make a Job; give what is noted in its Secret."""
        job = self._api.create("jobs", plan) or self._api.get("jobs", name)
        if job is None:
            raise PassingError(f"Kubernetes: the Job {name} was there, and is gone")
        return {"ownerReferences": [objects.reference("Job", name, job["metadata"]["uid"])]}

    def _make_pods(self, name: str, plan: Json, owner: str, start: int) -> None:
        """Make the pods of a plan from a number on; where that is refused, note how far it came: those before may have ended, and gone."""
        for number in range(start, plan["count"]):
            if TaskId(name, number) in self.canceled:
                continue
            try:
                self._api.create("pods", objects.pod(name, number, plan, owner))
            except AnswerError:
                if number > start:
                    self._api.patch("secrets", name, {"metadata": {"annotations": {objects.SO_FAR: str(number)}}})
                raise

    def _withdraw(self, name: str) -> None:
        """Leave nothing of an ask; its pods go with the Secret."""
        try:
            self._api.delete("secrets", labelSelector=f"{objects.ASK}={name}")
        except BatchSystemError as error:
            logger.warning("the Secret %s is left in %s: %s", name, self._api.namespace, error)
