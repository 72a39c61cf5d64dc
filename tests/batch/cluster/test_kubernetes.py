"""Tasks on a pretended API server: indexed Jobs, pods of old versions, and what happens between two requests."""

import pytest

from batch.cluster.kube_pretend import PretendApi, down  # type: ignore[import-not-found]
from jobsys.batch.cluster.kube_api import AnswerError
from jobsys.batch.cluster.kubernetes import Kubernetes
from jobsys.batch.cluster.scheduler import Ask, AskRefusedError, PassingError, TaskId, TaskState
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


def test_a_look_takes_few_requests_whatever_the_number_of_tasks(place):
    place.submit(count=3)  # a page
    place.submit("jobsys-b", count=0)
    place.scheduler.look({"jobsys-a": [0]})
    place.api.log.clear()
    place.scheduler.look({"jobsys-a": range(3), "jobsys-b": range(3)})
    assert len(place.api.log) == (2 if place.api.objects["jobs"] else 1)


def test_a_task_that_ran_does_not_wait_again_before_its_job_knows_that_it_has_ended():
    place = Place()
    place.submit()
    place.api.set("jobsys-a", 0, "Running")
    assert place.states(0) == {0: "running"}
    place.api.set("jobsys-a", 0, "Succeeded")
    assert place.states(0) == {0: "running"}
    place.api.count("jobsys-a")
    assert place.states(0) == {0: "ended"}


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


def test_pods_that_the_quota_has_no_room_for_are_made_later():
    place, room = Place(OLD), [2]

    def refuse(method, kind, body):
        pods = place.api.objects["pods"]
        if (method, kind) == ("POST", "pods") and body["metadata"]["name"] not in pods and len(pods) >= room[0]:
            raise AnswerError("pods is forbidden: exceeded quota: q", 403, "Forbidden")

    place.api.refuse = refuse
    place.submit()
    assert place.look(3)[3].message == "the namespace's quota is used up"
    assert len(place.api.objects["pods"]) == 2
    room[0] = 9
    assert place.states(0, 3) == {0: "queued", 3: "queued"}
    assert len(place.api.objects["pods"]) == 4
    room[0] = 5
    place.submit("jobsys-b")
    place.scheduler.cancel({"jobsys-b": None})
    room[0] = 9
    place.look(0, native="jobsys-b")
    assert len(place.api.objects["pods"]) == 4


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
    place.submit()
    place.submit("jobsys-b")
    for number in range(4):
        place.api.set("jobsys-a", number, "Succeeded", containerStatuses=terminated(0))
        terminal = place.api.pod("jobsys-a", number)["status"]["containerStatuses"][0]["state"]["terminated"]
        terminal["finishedAt"] = "1970-01-12T13:46:40Z"
    place.now = START + 99
    place.scheduler.learn()
    assert len(place.api.objects["secrets"]) == 2
    place.now = START + 101
    place.scheduler.learn()
    assert list(place.api.objects["secrets"]) == ["jobsys-b"]
    assert len(place.api.objects["pods"]) == 4


def test_who_may_not_list_secrets_sweeps_nothing(caplog):
    place = Place(OLD)

    def refuse(method, kind, _):
        if (method, kind) == ("GET", "secrets"):
            raise AnswerError("secrets is forbidden", 403, "Forbidden")

    place.api.refuse = refuse
    place.scheduler.learn()
    assert "secrets is forbidden" in caplog.text


def test_what_was_found_is_good_for_a_moment():
    place = Place()
    place.submit()
    place.scheduler._good_until = place.now + 5
    place.scheduler._asked = frozenset({"jobsys-a"})
    assert place.scheduler.look({"jobsys-a": [0]}) == {}
    place.scheduler.cancel({"jobsys-a": [0]})
    assert TaskId("jobsys-a", 1) in place.scheduler.look({"jobsys-a": [1]})
