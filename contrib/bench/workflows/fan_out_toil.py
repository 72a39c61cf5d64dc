"""N no-op jobs, made by one job and added up by another, in Toil; with an ``aws:`` job store also on an S3 server that is not Amazon's.

A server that is not Amazon's lacks two requests that Toil makes once, when it makes the bucket; here they are left out:

- ``put_bucket_encryption`` with ``BlockedEncryptionTypes``, which allows a customer's own keys again: refused as malformed.
- ``delete_bucket_ownership_controls``: Ceph 16 does not know the word and deletes the bucket.
"""

import toil.lib.aws.s3
from toil.common import Toil
from toil.job import Job
from toil.lib.aws import session

SMALL = {"cores": 1, "memory": "200M", "disk": "1M"}


def echo(job, number):
    return number


def add_up(job, numbers):
    return sum(numbers)


def fan_out(job, count):
    numbers = [job.addChildJobFn(echo, number, **SMALL).rv() for number in range(count)]
    return job.addFollowOnJobFn(add_up, numbers, **SMALL).rv()


def allow_public_objects(bucket_name):
    session.client("s3").delete_public_access_block(Bucket=bucket_name)


if __name__ == "__main__":
    toil.lib.aws.s3.enable_public_objects = allow_public_objects
    toil.lib.aws.s3.enable_encryption = lambda bucket_name: None
    parser = Job.Runner.getDefaultArgumentParser()
    parser.add_argument("--n", type=int, required=True)
    options = parser.parse_args()
    with Toil(options) as workflow:
        print(workflow.start(Job.wrapJobFn(fan_out, options.n, **SMALL)))
