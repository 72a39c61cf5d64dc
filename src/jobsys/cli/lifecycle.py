"""Print a rule by which S3 itself removes what no command can: parts of uploads that were broken off, and versions of deleted objects.

Examples:
  jobsys lifecycle s3://bucket/team > rule.json
  aws s3api put-bucket-lifecycle-configuration --bucket bucket --lifecycle-configuration file://rule.json
  jobsys lifecycle s3://bucket/scratch --expire 90      whole runs go, too, 90 days after they were written

Nothing is sent and nothing is changed. The rule takes the place of all that the bucket has: add those to the file. With --expire, a run
that is still wanted after that time is lost, and so is code that later runs share: give it a prefix of runs that are all done by then.
"""

from __future__ import annotations

import argparse
import importlib
from typing import TYPE_CHECKING

from jobsys.cli.output import print_json
from jobsys.errors import UsageError

if TYPE_CHECKING:
    from jobsys.jobstores.s3 import Place


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("locator", metavar="LOCATOR", help="the bucket, or a prefix in it: s3://bucket/prefix; there need be no job store")
    parser.add_argument("--days", type=int, default=7, metavar="N", help="days after which an upload counts as broken off (default: 7)")
    parser.add_argument("--expire", type=int, metavar="N", help="delete everything below the prefix so many days after it was written")


def execute(arguments: argparse.Namespace) -> int:
    """Print it."""
    if arguments.days < 1 or (arguments.expire is not None and arguments.expire < 1):
        raise UsageError("--days and --expire count whole days, from 1 on")
    place = importlib.import_module("jobsys.jobstores.s3").parse(arguments.locator)  # loaded on use: boto3 takes its time
    print_json(rules(place, arguments.days, arguments.expire))
    return 0


def rules(place: Place, days: int, expire: int | None = None) -> dict[str, object]:
    """Make the configuration, as S3's PutBucketLifecycleConfiguration takes it.

    Args:
        place: the bucket and the prefix that it is for.
        days: after which parts of unfinished uploads, and versions that are no longer current, go.
        expire: days after which every object goes; None: they stay.
    """
    rule: dict[str, object] = {
        "ID": f"jobsys {place.prefix}".strip(),
        "Status": "Enabled",
        "Filter": {"Prefix": f"{place.prefix}/" if place.prefix else ""},
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": days},
        "NoncurrentVersionExpiration": {"NoncurrentDays": days},
    }
    if expire is not None:
        rule["Expiration"] = {"Days": expire}
    return {"Rules": [rule]}
