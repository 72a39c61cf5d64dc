"""The cases, in the order in which they run; a new one is a module here and a line below."""

from cases.cluster import CLUSTER, CLUSTER_BEGIN
from cases.fanout import FAN_OUT, ISOLATION
from cases.files import BIG, SMALL
from cases.graphs import CHAIN, LATTICE, MAP_REDUCE, PASSING
from cases.idle import IDLE
from cases.long import LOOK, MILLION, RESUME
from cases.onejob import ONE_JOB
from cases.s3 import S3, S3_BIG, S3_FAN_OUT, S3_SMALL
from cases.shipping import SHIPPING

BENCHES = {
    bench.name: bench
    for bench in (
        FAN_OUT, ISOLATION, CHAIN, MAP_REDUCE, LATTICE, PASSING, SMALL, BIG, ONE_JOB, IDLE, RESUME, LOOK, MILLION, SHIPPING, S3, S3_SMALL,
        S3_BIG, S3_FAN_OUT, CLUSTER, CLUSTER_BEGIN,
    )
}  # fmt: skip
