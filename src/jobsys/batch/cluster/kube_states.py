"""What Kubernetes says of pods and Jobs, in our words: tables and pure functions."""

import signal
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Any, Final, NamedTuple

from jobsys.batch.cluster.kube_objects import ASK, CONTAINER, NUMBER
from jobsys.batch.cluster.scheduler import Seen, TaskId, TaskState
from jobsys.events import Reason
from jobsys.late import Logger

Json = dict[str, Any]

logger = Logger(__name__)

# What the API server, the node controller and kubelets write into a pod's `reason`, or into that of its condition DisruptionTarget.
REASONS: Final = {
    "DeadlineExceeded": Reason.TIME_LIMIT,
    "Evicted": Reason.PREEMPTED,  # but see OWN_FAULT
    "Preempted": Reason.PREEMPTED,
    "Preempting": Reason.PREEMPTED,
    "Shutdown": Reason.PREEMPTED,
    "Terminated": Reason.PREEMPTED,
    "NodeShutdown": Reason.PREEMPTED,
    "PreemptionByScheduler": Reason.PREEMPTED,
    "EvictionByEvictionAPI": Reason.PREEMPTED,
    "TerminationByKubelet": Reason.PREEMPTED,
    "DeletionByTaintManager": Reason.LOST,
    "DeletionByPodGC": Reason.LOST,
    "NodeLost": Reason.LOST,
    # the host did not take it on after all
    "NodeAffinity": Reason.LOST,
    "UnexpectedAdmissionError": Reason.LOST,
    "OutOfcpu": Reason.LOST,
    "OutOfmemory": Reason.LOST,
    "OutOfpods": Reason.LOST,
    "OutOfephemeral-storage": Reason.LOST,
}
OWN_FAULT: Final = ("exceeds the total limit", "exceeds its limit", "exceeded its local ephemeral storage limit", "exceeds the limit")
"""In the message of an eviction: it was for the pod's own use of disk, and would come again."""
CONTAINER_REASONS: Final = {
    "OOMKilled": Reason.MEMORY,
    "ContainerStatusUnknown": Reason.LOST,
}
STUCK: Final = frozenset(
    {
        "ErrImagePull",
        "ImagePullBackOff",
        "InvalidImageName",
        "ErrImageNeverPull",
        "ImageInspectError",
        "RegistryUnavailable",
        "CreateContainerConfigError",
        "CreateContainerError",
        "RunContainerError",
    }
)
"""Why a container waits that will not start by itself."""
DELETED: Final = (
    "its pod was deleted: by somebody or, which Kubernetes does not tell before 1.26, for another pod or its host to be drained"
)
GONE_SECONDS: Final = 120.0
"""How long after its last moment a pod that was deleted may still be there, before its host counts as lost."""
_SILENT: Final = "its host does not answer"
_SIGNALS: Final = 31
_told: set[str] = set()


class Wait(NamedTuple):
    """Why a pod does not start, since when (seconds since 1970; 0: unknown), and in whose words."""

    unschedulable: bool
    since: float
    message: str


def task_of(pod: Json) -> TaskId | None:
    """Tell which task a pod is; None if it is none of ours."""
    metadata = pod.get("metadata") or {}
    labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
    number = labels.get(NUMBER, annotations.get(NUMBER, ""))
    return TaskId(labels[ASK], int(number)) if ASK in labels and str(number).isdecimal() else None


class Sight(NamedTuple):
    """What a pod says of a task, to whomever looks at whatever time."""

    number: int
    """Of the task; -1: the pod is none."""
    born: tuple[str, str]
    """When it was made, and its name: of two pods of a task, the later one counts."""
    seen: Seen
    wait: Wait | None
    deleted: float
    """When it was to be gone by, in seconds since 1970; 0: nobody has deleted it."""

    def at(self, now: float) -> Seen:
        """Tell what is with the task; ``now`` in seconds since 1970.

        A host is lost whose pods were deleted and stay all the same, since nobody there says that they have ended.
        """
        if self.seen.state is TaskState.ENDED or not self.deleted or now - self.deleted <= GONE_SECONDS:
            return self.seen
        return self.seen._replace(state=TaskState.ENDED, reason=Reason.LOST, message=self.seen.message or _SILENT)


def sight(pod: Json) -> Sight:
    """Take from a pod what is worth keeping."""
    metadata, status = pod.get("metadata") or {}, pod.get("status") or {}
    seen = _PHASES.get(str(status.get("phase") or "Pending"), _unknown)(pod, status)
    deleted = seconds_of(metadata.get("deletionTimestamp"))
    wait = waiting(status) if seen.state is TaskState.QUEUED else None
    if seen.state is not TaskState.ENDED and deleted and status.get("reason") == "NodeLost":
        seen = Seen(TaskState.ENDED, Reason.LOST, message=_message(status, _SILENT))
    born = (str(metadata.get("creationTimestamp") or ""), str(metadata.get("name") or ""))
    task = task_of(pod)
    return Sight(-1 if task is None else task.number, born, seen._replace(host=_host(pod)), wait, deleted)


def is_final(one: Sight) -> bool:
    """Tell whether nothing can come after this."""
    return one.seen.state is TaskState.ENDED


def by_number(sights: Iterable[Sight]) -> dict[int, Sight]:
    """Give what is known of each task by its number."""
    found: dict[int, Sight] = {}
    for one in sights:
        if one.number not in found or found[one.number].born <= one.born:
            found[one.number] = one
    found.pop(-1, None)
    return found


def _pending(_: Json, status: Json) -> Seen:
    found = waiting(status)
    return Seen(TaskState.QUEUED, message=found.message if found else "")


def _running(_: Json, status: Json) -> Seen:
    return Seen(TaskState.RUNNING, message=_message(status, ""))


def _succeeded(_: Json, status: Json) -> Seen:
    return _disrupted(status, {}, 0) or Seen(TaskState.ENDED, exit_status=0)  # told to end, a task does so in order


def _unknown(pod: Json, status: Json) -> Seen:
    phase = str(status.get("phase"))
    if phase not in _told:
        _told.add(phase)
        logger.warning("Kubernetes says %r of a pod, which jobsys does not know: it is taken for one that goes on", phase)
    return Seen(TaskState.RUNNING if _host(pod) else TaskState.QUEUED, message=_message(status, phase))


def _failed(pod: Json, status: Json) -> Seen:
    terminated = _terminated(status)
    status_of_program = _exit_status(terminated)
    if (disrupted := _disrupted(status, terminated, status_of_program)) is not None:
        return disrupted
    word = str(terminated.get("reason") or status.get("reason") or "")
    message = _message(status, str(terminated.get("message") or "")) or word
    if word in CONTAINER_REASONS:
        return Seen(TaskState.ENDED, CONTAINER_REASONS[word], status_of_program, message)
    if (pod.get("metadata") or {}).get("deletionTimestamp"):
        return Seen(TaskState.ENDED, message=DELETED)
    if not terminated:
        return Seen(TaskState.ENDED, Reason.LOST, None, message or "its host did not start it")
    killed = status_of_program is not None and status_of_program < 0
    return Seen(TaskState.ENDED, Reason.KILLED if killed else Reason.FAILED, status_of_program, message)


def _disrupted(status: Json, terminated: Json, status_of_program: int | None) -> Seen | None:
    """Tell why a pod was ended that did not end by itself, if that was written down."""
    for words in (status, _condition(status, "DisruptionTarget") or {}):
        word = str(words.get("reason") or "")
        if word in REASONS:
            message = str(words.get("message") or terminated.get("message") or "")
            own = word == "Evicted" and any(part in message for part in OWN_FAULT)
            reason = Reason.FAILED if own else REASONS[word]
            return Seen(TaskState.ENDED, reason, None if reason is Reason.LOST else status_of_program, f"{word}: {message}".rstrip(": "))
    return None


_PHASES: Final[dict[str, Callable[[Json, Json], Seen]]] = {
    "Pending": _pending,
    "Running": _running,
    "Succeeded": _succeeded,
    "Failed": _failed,
}


def waiting(status: Json) -> Wait | None:
    """Tell why a pod does not start; None if it waits as every pod does."""
    scheduled = _condition(status, "PodScheduled") or {}
    if scheduled.get("status") == "False":
        gated = scheduled.get("reason") == "SchedulingGated"  # somebody else queues it, and says when it may start
        since = 0.0 if gated else seconds_of(scheduled.get("lastTransitionTime"))
        return Wait(True, since, f"{scheduled.get('reason', '')}: {scheduled.get('message', '')}")
    for container in [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]:
        waits = (container.get("state") or {}).get("waiting") or {}
        if waits.get("reason") in STUCK:
            return Wait(False, seconds_of(status.get("startTime")), f"{waits['reason']}: {waits.get('message', '')}".rstrip(": "))
    return None


def ended_at(thing: Json) -> float:
    """Give when a pod ended, in seconds since 1970; where that can't be told, when it was made; of one that goes on: never."""
    if (thing.get("status") or {}).get("phase") in ("Pending", "Running", "Unknown"):
        return float("inf")
    finished = seconds_of(_terminated(thing.get("status") or {}).get("finishedAt"))
    return finished or seconds_of(thing["metadata"].get("creationTimestamp"))


def job_seen(job: Json) -> Callable[[int, Seen | None], Seen | None]:
    """Give what tells what is with a task by its number, from its Job and from what its pod says."""
    status = job.get("status") or {}
    done, failed = numbers_of(status.get("completedIndexes")), numbers_of(status.get("failedIndexes"))
    count = int((job.get("spec") or {}).get("completions") or 0)
    over = next((one for kind in ("Failed", "FailureTarget") if (one := _condition(status, kind))), None)

    def tell(number: int, seen: Seen | None) -> Seen | None:
        if number >= count:
            return None
        host = seen.host if seen else ""
        if number in done:
            return seen if seen is not None and seen.state is TaskState.ENDED else Seen(TaskState.ENDED, exit_status=0, host=host)
        if seen is not None and (seen.state is TaskState.ENDED or not (number in failed or over)):
            return seen
        if over:
            text = f"{over.get('reason', '')}: {over.get('message', '')}"
            return Seen(TaskState.ENDED, Reason.CANCELED, message=text, host=host)
        if number in failed:
            return Seen(TaskState.ENDED, Reason.LOST, message="its pod was deleted", host=host)
        return Seen(TaskState.QUEUED)

    return tell


def numbers_of(text: object) -> "set[int]":
    """Read ``1-3,7``."""
    return set(_numbers(str(text or "")))


def _numbers(text: str) -> Iterator[int]:
    for part in filter(None, text.split(",")):
        low, _, high = part.partition("-")
        yield from range(int(low), int(high or low) + 1)


def seconds_of(text: object) -> float:
    """Read a time of Kubernetes as seconds since 1970; 0 if there is none."""
    return datetime.fromisoformat(str(text)).timestamp() if text else 0.0


def _terminated(status: Json) -> Json:
    for container in status.get("containerStatuses") or ():
        if container.get("name") == CONTAINER:
            found: Json = (container.get("state") or {}).get("terminated") or {}
            return found
    return {}


def _exit_status(terminated: Json) -> int | None:
    """Give the exit status of a program, or the signal that ended it, which a container tells as 128 more."""
    if not terminated:
        return None
    if terminated.get("signal"):
        return -int(terminated["signal"])
    code = int(terminated.get("exitCode") or 0)
    return 128 - code if 128 < code <= 128 + _SIGNALS and code - 128 in signal.valid_signals() else code


def _condition(status: Json, kind: str) -> Json | None:
    return next((one for one in status.get("conditions") or () if one.get("type") == kind and _counts(one)), None)


def _counts(condition: Json) -> bool:
    return condition.get("status") == "True" or condition.get("type") == "PodScheduled"


def _host(pod: Json) -> str:
    return str((pod.get("spec") or {}).get("nodeName") or "")


def _message(status: Json, otherwise: str) -> str:
    return str(status.get("message") or otherwise)
