"""Tasks on AWS Batch: array jobs, with their script in a bucket. Not yet tried on the real thing."""

import hashlib
import importlib
import json
import math
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, Final

from jobsys.batch.cluster.aws_errors import calling
from jobsys.batch.cluster.aws_fetch import FETCH
from jobsys.batch.cluster.aws_states import all_in, is_over, job_seen
from jobsys.batch.cluster.scheduler import Ask, Scheduler, Seen, Setting, TaskId, TaskState, mebibytes, settings_of, whole_cores
from jobsys.errors import UsageError
from jobsys.requirements import Requirements

Json = dict[str, Any]

PORTION: Final = 100
"""How many jobs one description is asked for."""
SHORTEST: Final = 60  # seconds that Amazon takes for a limit of time
_CANCELED: Final = "canceled by jobsys"
_COMMAND: Final = ["python3", "-c", FETCH, "Ref::bucket", "Ref::key", "Ref::region", "Ref::digest"]
_MINIMUM: Final = [{"type": "VCPU", "value": "1"}, {"type": "MEMORY", "value": "512"}]


class AwsBatch(Scheduler):
    """A job queue."""

    name = "aws-batch"
    settings = (
        Setting("queue", "job queue, by name or ARN"),
        Setting("scripts", "s3://BUCKET/PREFIX where tasks' scripts lie while they are needed"),
        Setting("job-role", "ARN of the role that tasks have; it must be able to read SCRIPTS"),
        Setting("execution-role", "ARN of the role by which hosts fetch the image"),
        Setting("image", "container image with a Python and a shell", f"python:{sys.version_info.major}.{sys.version_info.minor}"),
        Setting("memory", "MiB of a task that does not say", "2048"),
        Setting("region", "region of queue and bucket; else that of boto3's configuration"),
        Setting("profile", "profile of boto3's configuration"),
        Setting("container", "JSON that is joined with the container's properties in the job definition"),
    )
    most = 1000
    enforces = frozenset({"cores", "memory", "accelerators", "walltime"})
    index = "AWS_BATCH_JOB_ARRAY_INDEX"

    def __init__(self, options: Mapping[str, str] | None = None, client: Callable[[str], Any] | None = None) -> None:
        """Take the settings that were given; nothing is sent yet.

        Raises:
            UsageError: there is no such setting, one is missing, or a value makes no sense.
        """
        self.options = settings_of(self.name, self.settings, options or {})
        self._bucket, self._prefix = _place(self.options)
        self._container = _container(self.options)
        self._make = client or self._client
        self._clients: dict[str, Any] = {}
        self._definition = ""
        self._ended: dict[TaskId, Seen] = {}
        self._scripts: dict[str, str] = {}  # native id -> key of the script, which goes when all have ended

    def check(self, requirements: Requirements) -> str:
        """Say that a task asks for more cores than its queue's environments may have together."""
        most = self._most_cores()
        if most is not None and whole_cores(requirements) > most:
            return f"no environment of the queue {self.options['queue']!r} has more than {most} vCPUs, and a task asks for {requirements}"
        return ""

    def submit(self, ask: Ask) -> str:
        """Put the script into the bucket, and submit an array; a single task is a job of its own."""
        script = ask.script.encode("utf-8", "surrogateescape")
        key = self._key(ask.name)
        with calling("submit", refusal=True):
            self._at("s3").put_object(Bucket=self._bucket, Key=key, Body=script)
            batch = self._at("batch")
            digest = hashlib.sha256(script).hexdigest()
            asked: Json = {
                "jobName": ask.name,
                "jobQueue": self.options["queue"],
                "jobDefinition": self._defined(),
                "parameters": {"bucket": self._bucket, "key": key, "region": batch.meta.region_name, "digest": digest},
                "containerOverrides": {"resourceRequirements": self._resources(ask.requirements)},
                "retryStrategy": {"attempts": 1},
            }
            if ask.count > 1:
                asked["arrayProperties"] = {"size": ask.count}
            if ask.requirements.walltime is not None:
                asked["timeout"] = {"attemptDurationSeconds": max(SHORTEST, math.ceil(ask.requirements.walltime))}
            native = str(batch.submit_job(**asked)["jobId"])
        self._scripts[native] = key
        return native

    def find(self, name: str) -> str | None:
        """Find a job by its name, in all states; Amazon forgets those that ended a week ago."""
        query: Json = {"jobQueue": self.options["queue"], "filters": [{"name": "JOB_NAME", "values": [name]}]}
        with calling("find jobs"):
            while True:
                told = self._at("batch").list_jobs(**query)
                for job in told["jobSummaryList"]:
                    if job["jobName"] == name:
                        return str(job["jobId"])
                if not told.get("nextToken"):
                    return None
                query["nextToken"] = told["nextToken"]

    def look(self, tasks: Mapping[str, Collection[int]]) -> dict[TaskId, Seen]:
        """Describe the arrays, and of those in which not all tasks are alike the tasks that had not ended before."""
        self._ended = {task: seen for task, seen in self._ended.items() if task.native in tasks}
        wanted: dict[str, TaskId] = {}
        found: dict[TaskId, Seen] = {}
        for native, job in self._described(list(tasks)):
            self._scripts.setdefault(native, self._key(job["jobName"]))
            size = int((job.get("arrayProperties") or {}).get("size") or 0)
            mine = [TaskId(native, number) for number in tasks[native] if number < max(size, 1)]
            alike = all_in(job) if size else job_seen(job)
            found.update({task: seen for task in mine if (seen := self._ended.get(task) or alike)})
            wanted.update({f"{native}:{task.number}": task for task in mine if task not in found})
            if is_over(job):
                self._drop(native)
        found.update({wanted[id]: job_seen(job) for id, job in self._described(list(wanted))})
        self._ended.update({task: seen for task, seen in found.items() if seen.state is TaskState.ENDED})
        return found

    def cancel(self, tasks: Mapping[str, Collection[int] | None]) -> None:
        """Terminate jobs, which also cancels those that wait."""
        arrays = {native: int((job.get("arrayProperties") or {}).get("size") or 0) for native, job in self._described(list(tasks))}
        with calling("cancel"):
            for native, size in arrays.items():
                numbers = tasks[native]
                whole = numbers is None or (not size and 0 in numbers) or (size and set(numbers) >= set(range(size)))
                children = [] if numbers is None else [f"{native}:{number}" for number in sorted(numbers) if number < size]
                for id in [native] if whole else children:
                    self._at("batch").terminate_job(jobId=id, reason=_CANCELED)

    # ── jobs, definitions, scripts ───────────────────────────────────────────────────────────────────────────────────

    def _described(self, ids: list[str]) -> Iterator[tuple[str, Json]]:
        for start in range(0, len(ids), PORTION):
            with calling("look at jobs"):
                told = self._at("batch").describe_jobs(jobs=ids[start : start + PORTION])["jobs"]
            yield from ((str(job["jobId"]), job) for job in told)

    def _defined(self) -> str:
        """Give the job definition of these settings, which is named by its content, made by whoever needs it first."""
        if not self._definition:
            name = f"jobsys-{hashlib.sha256(json.dumps(self._container, sort_keys=True).encode()).hexdigest()[:24]}"
            batch = self._at("batch")
            there = batch.describe_job_definitions(jobDefinitionName=name, status="ACTIVE")["jobDefinitions"]
            made = there or [batch.register_job_definition(jobDefinitionName=name, type="container", containerProperties=self._container)]
            self._definition = str(made[0]["jobDefinitionArn"])
        return self._definition

    def _resources(self, requirements: Requirements) -> list[Json]:
        memory = int(self.options["memory"]) if requirements.memory is None else mebibytes(requirements.memory)
        amounts = {"VCPU": whole_cores(requirements), "MEMORY": max(4, memory), "GPU": requirements.accelerators}
        return [{"type": name, "value": str(amount)} for name, amount in amounts.items() if amount]

    def _most_cores(self) -> int | None:
        """Give the vCPUs of the queue's largest environment; None if that can't be told."""
        with calling("look at the queue"):
            batch = self._at("batch")
            queues = batch.describe_job_queues(jobQueues=[self.options["queue"]])["jobQueues"]
            names = [order["computeEnvironment"] for queue in queues for order in queue.get("computeEnvironmentOrder", ())]
            environments = batch.describe_compute_environments(computeEnvironments=names)["computeEnvironments"] if names else []
        sizes = [int((one.get("computeResources") or {}).get("maxvCpus") or 0) for one in environments]
        return max(sizes) if sizes and all(sizes) else None

    def _key(self, name: str) -> str:
        return f"{self._prefix}{name}.sh"

    def _drop(self, native: str) -> None:
        """Delete a script that nobody needs any more, once."""
        key = self._scripts.pop(native, "")
        if key:
            with calling("delete a script"):
                self._at("s3").delete_object(Bucket=self._bucket, Key=key)

    def _at(self, service: str) -> Any:
        if service not in self._clients:
            with calling("find the credentials"):
                self._clients[service] = self._make(service)
        return self._clients[service]

    def _client(self, service: str) -> Any:
        session = importlib.import_module("boto3.session").Session(
            profile_name=self.options["profile"] or None, region_name=self.options["region"] or None
        )
        config = importlib.import_module(
            "botocore.config"
        ).Config(  # what was sent may have been taken: `find` tells, a second job does not
            retries={"total_max_attempts": 1}, connect_timeout=15, read_timeout=60
        )
        return session.client(service, config=config)


def _place(options: Mapping[str, str]) -> tuple[str, str]:
    for name in ("queue", "scripts", "job-role"):
        if not options[name]:
            raise UsageError(f"--batch-system aws-batch needs --batch-option {name}=…: docs/clusters/aws-batch.md tells what it is")
    if not options["memory"].isdecimal():
        raise UsageError(f"--batch-option memory={options['memory']}: give a whole number of MiB")
    scheme, _, place = options["scripts"].partition("://")
    bucket, _, prefix = place.partition("/")
    if scheme != "s3" or not bucket:
        raise UsageError(f"--batch-option scripts={options['scripts']}: give s3://BUCKET/PREFIX")
    return bucket, f"{prefix.strip('/')}/" if prefix.strip("/") else ""


def _container(options: Mapping[str, str]) -> Json:
    made: Json = {"image": options["image"], "command": _COMMAND, "jobRoleArn": options["job-role"], "resourceRequirements": _MINIMUM}
    if options["execution-role"]:
        made["executionRoleArn"] = options["execution-role"]
    try:
        more = json.loads(options["container"] or "{}")
    except ValueError as error:
        raise UsageError(f"--batch-option container: that is no JSON: {error}") from error
    if not isinstance(more, dict):
        raise UsageError("--batch-option container: give a JSON object, such as {}")
    return made | more
