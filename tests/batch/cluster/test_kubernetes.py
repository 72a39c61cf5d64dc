"""Tasks on a pretended API server: indexed Jobs, pods of old versions, and what happens between two requests."""

import pytest

from batch.cluster.kube_pretend import PretendApi, down  # type: ignore[import-not-found]
from jobsys.batch.cluster.kube_api import AnswerError
from jobsys.batch.cluster.kubernetes import Kubernetes
from jobsys.batch.cluster.scheduler import Ask, AskRefusedError, PassingError, TaskState
from jobsys.events import Reason
from jobsys.requirements import Requirements

OLD, NEW = (1, 20), (1, 31)
START = 1_000_000.0


class Place:
    def __init__(self, version=NEW, **options):
        self.api = PretendApi(version)
        self.now = START
        self.options = options
        self.scheduler = self.another()

    def another(self):
        return Kubernetes(self.options, self.api, lambda: self.now)

    def submit(self, name="jobsys-a", count=4):
        return self.scheduler.submit(Ask(name, count, Requirements(), "exit 0\n", title="é"))

    def look(self, *numbers, native="jobsys-a"):
        self.now += 10  # what was found before is too old by then
        return {task.number: seen for task, seen in self.scheduler.look({native: numbers or range(4)}).items()}

    def states(self, *numbers):
        return {number: seen.state.value for number, seen in self.look(*numbers).items()}


def terminated(code, reason="Error"):
    return [{"name": "task", "state": {"terminated": {"exitCode": code, "reason": reason}}}]


@pytest.fixture(params=[OLD, NEW], ids=["pods", "jobs"])
def place(request):
    return Place(request.param)


def test_from_first_to_last(place):
    assert place.submit() == "jobsys-a"
    assert place.states() == dict.fromkeys(range(4), "queued")
    place.api.set("jobsys-a", 0, "Running")
    place.api.set("jobsys-a", 1, "Succeeded")
    place.api.set("jobsys-a", 2, "Failed", containerStatuses=terminated(137, "OOMKilled"))
    if place.api.objects["jobs"]:
        place.api.count("jobsys-a")
    seen = place.look(0, 1, 2, 3, 9)
    assert {number: what.state.value for number, what in seen.items()} == {0: "running", 1: "ended", 2: "ended", 3: "queued"}
    assert (seen[1].reason, seen[2].reason, seen[0].host) == (None, Reason.MEMORY, "n1")


def test_versions_choose():
    place = Place((1, 28))
    place.submit()
    assert (len(place.api.objects["jobs"]), len(place.api.objects["pods"])) == (0, 4)
    place = Place((1, 29))
    place.submit()
    assert list(place.api.objects["jobs"]) == ["jobsys-a"]


def test_a_look_takes_no_request_while_the_same_asks_are_looked_at(place):
    place.submit(count=9)
    kinds = ["jobs", "pods"] if place.api.objects["jobs"] else ["pods"]
    place.look(0)
    place.api.log.clear()
    place.api.set("jobsys-a", 0, "Running")
    assert place.states(0, 8) == {0: "running", 8: "queued"}
    place.submit("jobsys-b", count=0)
    assert place.api.log[-1].startswith("PATCH")
    place.api.log.clear()
    place.scheduler.look({"jobsys-a": range(3), "jobsys-b": range(3)})
    path = place.api.path
    assert place.api.log == [f"GET {path(kind)}" for kind in kinds]


def test_a_watch_that_was_cut_goes_on_where_it_was(place):
    place.submit()
    place.look(0)
    pods = place.scheduler._pods
    pods._stream.over = True
    place.api.set("jobsys-a", 0, "Running")
    place.api.log.clear()
    assert place.states(0) == {0: "queued"}
    assert place.states(0) == {0: "running"}
    assert place.api.log == ["WATCH pods"]


def test_what_happened_too_long_ago_is_listed(place):
    place.submit()
    place.look(0)
    place.scheduler._pods._stream.over = True
    place.api.set("jobsys-a", 0, "Running")
    place.api.remove("pods", place.api.pod("jobsys-a", 1)["metadata"]["name"])
    place.api.notice()
    place.api.forgotten = place.api.version_now
    place.api.log.clear()
    assert place.states(0, 1) == ({0: "running", 1: "queued"} if place.api.objects["jobs"] else {0: "running"})
    assert place.api.log == ["WATCH pods", f"GET {place.api.path('pods')}", "WATCH pods"]


def test_a_server_that_is_away_tells_nothing(place):
    place.submit()
    place.look(0)
    place.scheduler._pods._stream.over = True
    place.api.refuse = down
    with pytest.raises(PassingError):
        place.look(0)
    place.api.refuse = lambda *_: None
    assert place.states(0) == {0: "queued"}


def test_who_may_not_watch_lists(place, caplog):
    def refuse(method, kind, _):
        if method == "WATCH":
            raise AnswerError(f"{kind} is forbidden", 403, "Forbidden")

    place.api.refuse = refuse
    place.submit()
    place.states(0)
    place.scheduler._pods.doubt()
    place.api.set("jobsys-a", 0, "Running")
    assert place.states(0) == {0: "running"}
    place.api.set("jobsys-a", 0, "Succeeded")
    place.scheduler._pods._good_until = float("inf")
    assert place.states(0) == {0: "running"}
    place.scheduler.cancel({"jobsys-a": [1]})
    assert place.states(0) == {0: "ended"}
    assert caplog.text.count("pods is forbidden") == 1


def test_closed_and_used_again(place):
    place.submit()
    place.look(0)
    stream = place.scheduler._pods._stream
    place.scheduler.close()
    assert stream.over
    place.api.set("jobsys-a", 0, "Running")
    assert place.states(0) == {0: "running"}


def test_how_it_ended_is_known_when_the_pod_is_gone(place):
    place.submit()
    place.look()
    place.api.set("jobsys-a", 2, "Failed", containerStatuses=terminated(137, "OOMKilled"))
    place.api.notice()
    place.api.remove("pods", place.api.pod("jobsys-a", 2)["metadata"]["name"])
    assert place.look(2)[2].reason is Reason.MEMORY


def test_a_task_that_ran_does_not_wait_again_before_its_job_knows_that_its_pod_is_gone():
    place = Place()
    place.submit()
    place.api.set("jobsys-a", 0, "Running")
    assert place.states(0) == {0: "running"}
    place.api.remove("pods", place.api.pod("jobsys-a", 0)["metadata"]["name"])
    assert place.states(0) == {0: "running"}
    place.api.count("jobsys-a")
    assert place.look(0)[0].reason is Reason.LOST


def test_a_pod_that_is_gone(place):
    place.submit()
    place.api.remove("pods", place.api.pod("jobsys-a", 2)["metadata"]["name"])
    if place.api.objects["jobs"]:
        place.api.count("jobsys-a")
        assert place.look(2)[2].reason is Reason.LOST
    else:
        assert place.look(2) == {}


def test_what_was_never_there(place):
    assert place.look(0, native="jobsys-b") == {}
    assert place.scheduler.find("jobsys-b") is None
    place.scheduler.cancel({"jobsys-b": None, "jobsys-c": [1]})


@pytest.mark.parametrize("after", range(1, 12))
def test_whoever_finds_the_secret_goes_on(place, after):
    """Break off after each request in turn."""
    requests = iter(range(after))

    def broken(*_):
        if next(requests, None) is None:
            down()

    place.scheduler.learn()
    place.api.refuse = broken
    try:
        place.submit()
        whole = True
    except PassingError:
        whole = False
    place.api.refuse = lambda *_: None
    found = place.another().find("jobsys-a")
    assert found == ("jobsys-a" if whole or after >= 1 else None)
    assert place.states() == dict.fromkeys(range(4), "queued")
    assert len(place.api.objects["pods"]) == 4
    place.api.log.clear()
    assert place.another().find("jobsys-a") == "jobsys-a"
    assert len(place.api.log) == 1


def test_the_same_twice(place):
    assert place.submit() == place.submit()
    assert len(place.api.objects["pods"]) == 4


def test_the_secret_goes_with_the_job_and_pods_go_with_the_secret():
    place = Place()
    place.submit()
    place.api.remove("jobs", "jobsys-a")
    assert place.api.objects == {"secrets": {}, "jobs": {}, "pods": {}}
    place = Place(OLD)
    place.submit()
    place.api.remove("secrets", "jobsys-a")
    assert place.api.objects["pods"] == {}


def test_what_is_refused_leaves_nothing(place):
    def refuse(method, kind, _):
        if (method, kind) in (("POST", "pods"), ("POST", "jobs")):
            raise AnswerError("Kubernetes: no such priority class (HTTP 403)", 403, "Forbidden")

    place.api.refuse = refuse
    with pytest.raises(AskRefusedError, match=r"no such priority class.*kubectl auth can-i"):
        place.submit()
    assert place.api.objects["secrets"] == {}


class Quota:
    """Refuses to make more objects of a kind than there is room for, counting those that have ended, too."""

    def __init__(self, place, kind, room):
        self.place, self.kind, self.room = place, kind, room
        place.api.refuse = self

    def __call__(self, method, kind, body):
        there = self.place.api.objects[kind]
        if (method, kind) == ("POST", self.kind) and body["metadata"]["name"] not in there and len(there) >= self.room:
            said = f"exceeded quota: q, requested: {kind}=1, used: {kind}={len(there)}, limited: {kind}={self.room}"
            raise AnswerError(f'{kind} "x" is forbidden: {said} (HTTP 403)', 403, "Forbidden")


def test_pods_that_the_quota_has_no_room_for_are_made_later():
    place = Place(OLD)
    quota = Quota(place, "pods", 2)
    place.submit()
    assert place.look(3)[3].message == "the namespace's quota is used up"
    assert len(place.api.objects["pods"]) == 2
    quota.room = 9
    assert place.states(0, 3) == {0: "queued", 3: "queued"}
    assert len(place.api.objects["pods"]) == 4
    quota.room = 5
    place.submit("jobsys-b")
    place.scheduler.cancel({"jobsys-b": None})
    quota.room = 9
    place.look(0, native="jobsys-b")
    assert len(place.api.objects["pods"]) == 4


def test_a_pod_that_has_ended_and_is_gone_is_not_made_again_when_there_is_room_for_others():
    place = Place(OLD)
    Quota(place, "pods", 2)
    place.submit()
    place.look()
    for number in range(2):
        place.api.set("jobsys-a", number, "Succeeded")
        place.api.notice()
        place.api.remove("pods", f"jobsys-a-{number}")
    place.scheduler = place.another()
    place.scheduler.find("jobsys-a")
    assert sorted(place.api.objects["pods"]) == ["jobsys-a-2", "jobsys-a-3"]


def test_a_task_that_is_canceled_before_there_is_room_is_never_made():
    place = Place(OLD)
    quota = Quota(place, "pods", 2)
    place.submit()
    place.look()
    place.scheduler.cancel({"jobsys-a": [2]})
    assert place.look(2)[2].reason is Reason.CANCELED
    quota.room = 9
    place.look()
    assert sorted(place.api.objects["pods"]) == ["jobsys-a-0", "jobsys-a-1", "jobsys-a-3"]


def test_a_job_that_the_quota_has_no_room_for_is_made_later():
    place = Place()
    quota = Quota(place, "jobs", 1)
    place.submit()
    place.submit("jobsys-b")
    assert place.look(3, native="jobsys-b")[3].message == "the namespace's quota is used up"
    quota.room = 2
    place.look(native="jobsys-b")
    assert list(place.api.objects["jobs"]) == ["jobsys-a", "jobsys-b"]


def test_a_secret_that_the_quota_has_no_room_for_is_asked_for_again(place):
    Quota(place, "secrets", 1)
    place.submit()
    with pytest.raises(PassingError, match="exceeded quota"):
        place.submit("jobsys-b")


def test_a_quota_that_is_too_small_refuses():
    place = Place(OLD)
    Quota(place, "pods", 0)
    assert "limited: pods=0" in place.scheduler.check(Requirements())
    with pytest.raises(AskRefusedError, match="limited: pods=0"):
        place.submit()
    assert place.api.objects["secrets"] == {}


def test_cancel_all(place):
    place.submit()
    place.api.set("jobsys-a", 0, "Succeeded")
    place.api.set("jobsys-a", 1, "Running")
    if place.api.objects["jobs"]:
        place.api.count("jobsys-a")
    place.scheduler.cancel({"jobsys-a": None})
    assert len(place.api.objects["pods"]) == 1
    seen = place.look()
    assert seen[0].reason is None
    assert all(what.reason is Reason.CANCELED for number, what in seen.items() if number)


def test_cancel_some(place):
    place.submit()
    place.scheduler.cancel({"jobsys-a": [1, 3]})
    assert len(place.api.objects["pods"]) == 2
    assert place.states(0, 2) == {0: "queued", 2: "queued"}


def test_what_was_canceled_before_its_pod_was_made():
    place = Place()
    place.submit()
    pod = place.api.pod("jobsys-a", 1)
    del place.api.objects["pods"][pod["metadata"]["name"]]
    place.scheduler.cancel({"jobsys-a": [1]})
    place.api.objects["pods"][pod["metadata"]["name"]] = pod
    place.look()
    assert len(place.api.objects["pods"]) == 3


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (
            {
                "startTime": "1970-01-12T13:46:40Z",
                "containerStatuses": [{"name": "task", "state": {"waiting": {"reason": "ImagePullBackOff", "message": "no x"}}}],
            },
            "ImagePullBackOff: no x",
        ),
        (
            {
                "conditions": [
                    {
                        "type": "PodScheduled",
                        "status": "False",
                        "reason": "Unschedulable",
                        "message": "0/3 nodes",
                        "lastTransitionTime": "1970-01-12T13:46:40Z",
                    }
                ]
            },
            "Unschedulable: 0/3 nodes",
        ),
    ],
)
def test_what_never_starts_is_given_up(status, words, place):
    place.scheduler = Kubernetes({"start-seconds": "100", "unschedulable-seconds": "100"}, place.api, lambda: place.now)
    place.submit()
    place.api.set("jobsys-a", 1, "Pending", **status)
    seen = place.look(1)[1]
    assert (seen.state, seen.message) == (TaskState.QUEUED, words)
    place.now = START + 90
    seen = place.look(1)[1]
    assert (seen.state, seen.reason, seen.message) == (TaskState.QUEUED, None, words)
    seen = place.look(1)[1]
    assert (seen.state, seen.reason) == (TaskState.ENDED, Reason.FAILED)
    assert seen.message == f"it did not start within 100 s: {words}"
    assert len(place.api.objects["pods"]) == 3
    assert place.look(1)[1] == seen


@pytest.mark.parametrize("wrong", [-1000.0, 1000.0])
def test_how_long_something_lasts_is_told_by_the_clock_of_the_server(wrong, place):
    place.scheduler = Kubernetes({"start-seconds": "100"}, place.api, lambda: place.now + wrong)
    place.api.ahead = -wrong
    place.submit()
    waiting = [{"name": "task", "state": {"waiting": {"reason": "ErrImagePull", "message": "no such image"}}}]
    place.api.set("jobsys-a", 1, "Pending", startTime="1970-01-12T13:46:40Z", containerStatuses=waiting)
    place.api.set("jobsys-a", 2, "Running")
    place.api.pod("jobsys-a", 2)["metadata"]["deletionTimestamp"] = "1970-01-12T13:46:40Z"
    place.now = START + 80
    assert place.states(1, 2) == {1: "queued", 2: "running"}
    place.now = START + 120
    place.look(1, 2)
    assert place.states(1, 2) == {1: "ended", 2: "ended"}


def test_nobody_waits_for_hosts_unless_told_how_long(place):
    place.submit()
    condition = {"type": "PodScheduled", "status": "False", "lastTransitionTime": "1970-01-01T00:00:01Z"}
    place.api.set("jobsys-a", 0, "Pending", conditions=[condition])
    assert place.states(0) == {0: "queued"}


@pytest.mark.parametrize(
    ("status", "text", "told"),
    [
        (403, "maximum memory usage per Container is 1Gi", True),
        (422, "Invalid value: must be less than or equal to cpu limit", True),
        (403, "exceeded quota: q, used: 9", False),
        (403, 'User "u" cannot create resource "pods"', False),
        (400, "admission webhook does not support dry run", False),
    ],
)
def test_check_tells_what_the_cluster_says(place, status, text, told):
    def refuse(*_):
        raise AnswerError(text, status)

    assert place.scheduler.check(Requirements()) == ""
    place.api.refuse = refuse
    assert place.scheduler.check(Requirements()) == (text if told else "")
    assert place.api.objects["pods"] == {}


def test_what_is_over_is_swept_away_after_its_time():
    place = Place(OLD, ttl="100")

    def end(native):
        for number in range(4):
            place.api.set(native, number, "Succeeded", containerStatuses=terminated(0))
            state = place.api.pod(native, number)["status"]["containerStatuses"][0]["state"]
            state["terminated"]["finishedAt"] = "1970-01-12T13:46:40Z"

    place.submit()
    place.submit("jobsys-b")
    end("jobsys-a")
    place.now = START + 99
    place.scheduler.learn()
    assert len(place.api.objects["secrets"]) == 2
    place.now = START + 101
    place.scheduler.learn()
    assert list(place.api.objects["secrets"]) == ["jobsys-b"]
    assert len(place.api.objects["pods"]) == 4
    end("jobsys-b")
    place.now = START + 180
    place.look(native="jobsys-b")
    assert list(place.api.objects["secrets"]) == ["jobsys-b"]
    place.now = START + 195
    seen = place.look(native="jobsys-b")
    assert place.api.objects["secrets"] == {}
    assert place.look(native="jobsys-b") == seen


def test_who_may_not_list_secrets_sweeps_nothing(caplog):
    place = Place(OLD)

    def refuse(method, kind, _):
        if (method, kind) == ("GET", "secrets"):
            raise AnswerError("secrets is forbidden", 403, "Forbidden")

    place.api.refuse = refuse
    place.scheduler.learn()
    assert "secrets is forbidden" in caplog.text
