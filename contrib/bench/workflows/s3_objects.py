"""Small objects in and out of a bucket by many threads: ``bare|jobsys BUCKET COUNT THREADS``; bare is boto3 and nothing else."""

import json
import resource
import sys
import time
from concurrent.futures import ThreadPoolExecutor

SIZE = 4096


def bare(bucket, threads):
    import boto3
    from botocore.config import Config

    client = boto3.client("s3", config=Config(max_pool_connections=threads))

    def put(key, data):
        client.put_object(Bucket=bucket, Key=key, Body=data)

    def get(key):
        return client.get_object(Bucket=bucket, Key=key)["Body"].read()

    return put, get


def jobsys(bucket, threads):
    from jobsys.jobstores.s3 import storage

    opened = storage(f"s3://{bucket}")
    return opened.put, opened.get


def content(key):
    return key.encode().ljust(SIZE, b".")


def used():
    now = resource.getrusage(resource.RUSAGE_SELF)
    return time.perf_counter(), now.ru_utime + now.ru_stime


def timed(name, deed, keys, threads):
    """Do something to each key, each thread to its own share of them, so that no queue stands between."""
    shares = [keys[number::threads] for number in range(threads)]
    begun, busy = used()
    with ThreadPoolExecutor(threads) as pool:
        right = sum(pool.map(lambda share: sum(map(deed, share)), shares))
    ended, later = used()
    if right != len(keys):
        sys.exit(f"{len(keys) - right} of {len(keys)} came back wrong from {name}")
    return {f"{name}s_per_s": round(len(keys) / (ended - begun), 2), f"{name}_cpu_ms": round((later - busy) / len(keys) * 1000, 4)}


if __name__ == "__main__":
    side, bucket, count, threads = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    put, get = {"bare": bare, "jobsys": jobsys}[side](bucket, threads)
    keys = [f"{side}/{number}" for number in range(count)]
    warm = [f"{side}/warm{number}" for number in range(threads)]

    def written(key):
        return put(key, content(key)) is not False

    def read(key):
        return get(key) == content(key)

    for deed in (written, read):
        timed("warm", deed, warm, threads)
    print(json.dumps({**timed("put", written, keys, threads), **timed("get", read, keys, threads)}))
