"""Tasks on AWS Batch, as far as moto has it: it runs nothing, and says that all jobs succeeded. The real thing has not been tried."""

import json
from unittest.mock import Mock

import boto3
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError, ReadTimeoutError
from moto import mock_aws

from jobsys.batch.cluster.aws_batch import AwsBatch
from jobsys.batch.cluster.scheduler import Ask, AskRefusedError, PassingError, Seen, TaskId, TaskState
from jobsys.errors import BatchSystemError, UsageError
from jobsys.events import Reason
from jobsys.requirements import Requirements
from jobsys.testing import scheduler as contract

REGION = "eu-west-1"
ROLE = "arn:aws:iam::123456789012:role/task"
OPTIONS = {"queue": "q", "scripts": "s3://scripts/runs", "job-role": ROLE, "region": REGION}
SECRET = "the-key-of-the-run"
ALL = Requirements(cores=1.5, memory=(1 << 30) + 1, accelerators=1, walltime=90.5)


@pytest.fixture(scope="module")
def amazon():
    """Give the clients of an account with a queue and a bucket; making clients takes its time."""
    with pytest.MonkeyPatch.context() as patch, mock_aws(config={"batch": {"use_docker": False}}):
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "test")
        batch, s3, iam = (boto3.client(name, region_name=REGION) for name in ("batch", "s3", "iam"))
        s3.create_bucket(Bucket="scripts", CreateBucketConfiguration={"LocationConstraint": REGION})
        role = iam.create_role(RoleName="batch", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
        made = batch.create_compute_environment(computeEnvironmentName="hosts", type="UNMANAGED", serviceRole=role)
        order = [{"order": 1, "computeEnvironment": made["computeEnvironmentArn"]}]
        batch.create_job_queue(jobQueueName="q", state="ENABLED", priority=1, computeEnvironmentOrder=order)
        yield batch, s3


def scheduler_of(amazon, **more):
    clients = dict(zip(("batch", "s3"), amazon, strict=True))
    return AwsBatch({**OPTIONS, **more}, clients.__getitem__)


def ask(count=3, requirements=ALL, **more):
    return Ask(**{"name": contract.new_name(), "count": count, "requirements": requirements, "script": f"echo {SECRET}\n", **more})


@pytest.mark.parametrize("check", [contract.check_one_task, contract.check_two_asks, contract.check_find, contract.check_same_twice])
def test_as_much_of_the_contract_as_moto_has(check, amazon):
    check(contract.Bench(lambda: scheduler_of(amazon), requirements=ALL))


def test_an_array(amazon):
    batch, s3 = amazon
    scheduler, asked = scheduler_of(amazon), ask()
    native = scheduler.submit(asked)
    key = f"runs/{asked.name}.sh"
    assert s3.get_object(Bucket="scripts", Key=key)["Body"].read().decode() == asked.script
    (job,) = batch.describe_jobs(jobs=[native])["jobs"]
    (definition,) = batch.describe_job_definitions(jobDefinitions=[job["jobDefinition"]])["jobDefinitions"]
    assert SECRET not in json.dumps([job, definition], default=str)
    assert job["arrayProperties"]["size"] == 3
    seen = scheduler_of(amazon).look({native: [0, 2, 3], "unknown": [0]})
    assert {task: what.state for task, what in seen.items()} == {TaskId(native, number): TaskState.ENDED for number in (0, 2)}
    listed = s3.list_objects_v2(Bucket="scripts", Prefix=key).get("Contents", ())
    assert not listed, "a script is still there, which nobody needs any more"


def test_one_definition_for_equal_settings(amazon):
    batch, _ = amazon
    for _ in range(2):
        scheduler_of(amazon, image="registry.example/x:1").submit(ask())
    images = [one["containerProperties"]["image"] for one in batch.describe_job_definitions()["jobDefinitions"]]
    assert images.count("registry.example/x:1") == 1


def test_nobody_knows_how_many_cores_other_peoples_hosts_have(amazon):
    assert AwsBatch(OPTIONS).check(Requirements(cores=1000)) == ""


def test_a_queue_that_is_nowhere(amazon):
    with pytest.raises(AskRefusedError, match="nowhere"):
        scheduler_of(amazon, queue="nowhere").submit(ask())


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"queue": ""}, "needs --batch-option queue"),
        ({"job-role": ""}, "needs --batch-option job-role"),
        ({"scripts": "file:///x"}, "s3://BUCKET"),
        ({"scripts": "s3://"}, "s3://BUCKET"),
        ({"memory": "much"}, "MiB"),
        ({"container": "{"}, "no JSON"),
        ({"container": "[]"}, "JSON object"),
        ({"que": "x"}, "queue"),
    ],
)
def test_settings_that_make_no_sense(given, words):
    with pytest.raises(UsageError, match=words):
        AwsBatch({**OPTIONS, **given})


# ── what moto has not ────────────────────────────────────────────────────────────────────────────────────────────────


class Pretended:
    """Clients that write down what they are asked, and answer as they are told."""

    def __init__(self, *jobs):
        self.batch, self.s3 = Mock(), Mock()
        self.batch.meta.region_name = REGION
        self.batch.submit_job.return_value = {"jobId": "native"}
        self.batch.describe_job_definitions.return_value = {"jobDefinitions": [{"jobDefinitionArn": "d:1"}]}
        self.jobs = {job["jobId"]: {"jobName": job["jobId"], **job} for job in jobs}
        self.batch.describe_jobs.side_effect = lambda jobs: {"jobs": [self.jobs[id] for id in jobs if id in self.jobs]}
        self.scheduler = AwsBatch(OPTIONS, lambda service: getattr(self, service))


def array(size=250, status="PENDING", **counts):
    return {"jobId": "a", "status": status, "arrayProperties": {"size": size, "statusSummary": counts}}


def children(size=250, status="SUCCEEDED", **more):
    return [{"jobId": f"a:{number}", "status": status, **more} for number in range(size)]


def test_more_cores_than_there_are():
    amazon = Pretended()
    order = [{"computeEnvironment": name} for name in ("small", "large")]
    amazon.batch.describe_job_queues.return_value = {"jobQueues": [{"computeEnvironmentOrder": order}]}
    environments = [{"computeResources": {"maxvCpus": most}} for most in (16, 64)]
    amazon.batch.describe_compute_environments.return_value = {"computeEnvironments": environments}
    assert amazon.scheduler.check(Requirements(cores=64)) == ""
    assert "64 vCPUs" in amazon.scheduler.check(Requirements(cores=64.5))


def test_what_is_asked_for():
    amazon = Pretended()
    amazon.scheduler.submit(ask(name="jobsys-a"))
    (asked,) = (call.kwargs for call in amazon.batch.submit_job.call_args_list)
    digest = asked["parameters"].pop("digest")
    assert len(digest) == 64
    assert asked == {
        "jobName": "jobsys-a",
        "jobQueue": "q",
        "jobDefinition": "d:1",
        "parameters": {"bucket": "scripts", "key": "runs/jobsys-a.sh", "region": REGION},
        "containerOverrides": {
            "resourceRequirements": [
                {"type": "VCPU", "value": "2"},
                {"type": "MEMORY", "value": "1025"},
                {"type": "GPU", "value": "1"},
            ]
        },
        "retryStrategy": {"attempts": 1},
        "arrayProperties": {"size": 3},
        "timeout": {"attemptDurationSeconds": 91},
    }
    amazon.scheduler.submit(ask(count=1, requirements=Requirements(walltime=5)))
    asked = amazon.batch.submit_job.call_args.kwargs
    assert "arrayProperties" not in asked
    assert asked["timeout"] == {"attemptDurationSeconds": 60}
    assert {"type": "MEMORY", "value": "2048"} in asked["containerOverrides"]["resourceRequirements"]


def test_an_array_that_waits_takes_one_request():
    amazon = Pretended(array(RUNNABLE=250))
    seen = amazon.scheduler.look({"a": range(250)})
    assert {what.state for what in seen.values()} == {TaskState.QUEUED}
    assert len(seen) == 250
    assert amazon.batch.describe_jobs.call_count == 1


def test_tasks_are_described_by_hundreds_until_they_have_ended():
    mixed = [*children(249), {"jobId": "a:249", "status": "RUNNING"}]
    amazon = Pretended(array(SUCCEEDED=249, RUNNING=1), *mixed)
    seen = amazon.scheduler.look({"a": range(250)})
    assert seen[TaskId("a", 249)] == Seen(TaskState.RUNNING)
    assert amazon.batch.describe_jobs.call_count == 1 + 3
    assert amazon.scheduler.look({"a": range(250)}) == seen
    assert amazon.batch.describe_jobs.call_count == 4 + 2
    assert amazon.s3.delete_object.call_count == 0


def test_a_script_stays_while_tasks_of_a_failed_array_run():
    failed = {"jobId": "a:0", "status": "FAILED", "statusReason": "Host EC2 (instance i-1) terminated."}
    amazon = Pretended(array(2, "FAILED", FAILED=1, RUNNING=1), failed, {"jobId": "a:1", "status": "RUNNING"})
    assert amazon.scheduler.look({"a": [0, 1]})[TaskId("a", 0)].reason is Reason.PREEMPTED
    amazon.s3.delete_object.assert_not_called()


def test_cancel():
    amazon = Pretended(array(4, RUNNING=4), {"jobId": "b", "status": "RUNNING"})
    amazon.scheduler.cancel({"a": [1, 3, 9], "b": [0], "gone": None})
    amazon.scheduler.cancel({"a": None})
    amazon.scheduler.cancel({"a": range(4)})
    asked = [call.kwargs["jobId"] for call in amazon.batch.terminate_job.call_args_list]
    assert asked == ["a:1", "a:3", "b", "a", "a"]


def test_find_goes_through_all_pages():
    amazon = Pretended()
    amazon.batch.list_jobs.side_effect = [
        {"jobSummaryList": [{"jobName": "jobsys-A", "jobId": "x"}], "nextToken": "more"},
        {"jobSummaryList": [{"jobName": "jobsys-a", "jobId": "y"}]},
    ]
    assert amazon.scheduler.find("jobsys-a") == "y"


def client_error(code, status):
    return ClientError({"Error": {"Code": code, "Message": "said so"}, "ResponseMetadata": {"HTTPStatusCode": status}}, "SubmitJob")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (client_error("TooManyRequestsException", 429), PassingError),
        (client_error("ThrottlingException", 400), PassingError),
        (client_error("ServerException", 500), PassingError),
        (EndpointConnectionError(endpoint_url="https://x"), PassingError),
        (ReadTimeoutError(endpoint_url="https://x"), PassingError),
        (client_error("ClientException", 400), AskRefusedError),
        (client_error("AccessDeniedException", 403), AskRefusedError),
        (NoCredentialsError(), BatchSystemError),
    ],
)
def test_whether_it_may_pass(error, kind):
    amazon = Pretended()
    amazon.batch.submit_job.side_effect = error
    with pytest.raises(kind) as caught:
        amazon.scheduler.submit(ask())
    assert type(caught.value) is kind
    amazon.batch.describe_jobs.side_effect = error
    with pytest.raises(PassingError if kind is PassingError else BatchSystemError) as looked:
        amazon.scheduler.look({"a": [0]})
    assert not isinstance(looked.value, AskRefusedError)
