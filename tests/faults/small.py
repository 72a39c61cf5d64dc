"""A small workflow with everything a run can leave in a job store: files, large values, a retry, a service, deletions, dynamic jobs.

Its jobs note in a file of which environment variable FAULTS_RAN gives the path that they ran: they may run in other processes.
"""

import os

import jobsys
from jobsys.job import Service

RAN = "FAULTS_RAN"
LARGE = 300_000  # bytes: into an object of its own
EXPECTED = [[(True, LARGE), (True, LARGE)], "well", "address"]


def ran(what):
    with open(os.environ[RAN], "a") as stream:
        stream.write(f"{what}\n")


@jobsys.job(cores=0.2)
def write(name):
    ran(name)
    return jobsys.current().write_file(__file__, name=name), name * LARGE


@jobsys.job(cores=0.2)
def measure(pair):
    file, text = pair
    ran(f"measure {file.name}")
    with jobsys.current().read_stream(file) as stream:
        return len(stream.read()) > 1000, len(text)


@jobsys.job(cores=0.2)
def drop(pair):
    ran(f"drop {pair[0].name}")
    jobsys.current().delete_file(pair[0])


@jobsys.job(cores=0.2)
def stumble(value):
    ran("stumble")
    if jobsys.current().attempt == 1:
        jobsys.current().write_file(__file__, name="left")
        raise ValueError("the first time")
    return value


class Address(Service):
    def start(self, context):
        return "address " * 50_000

    def stop(self, context):
        pass


@jobsys.job(cores=0.2)
def client(address):
    ran("client")
    return address.split()[0]


@jobsys.job(cores=0.2)
def fan(names):
    ran("fan")
    pairs = [write(name) for name in names]
    measured = [measure(pair) for pair in pairs]
    for pair in pairs:
        drop(pair, after=measured)
    return measured


def workflow():
    beside = jobsys.FunctionJob(list, cores=0.2)
    address = beside.add_service(Address(cores=0.2))
    beside.add_child(served := jobsys.FunctionJob(client, (address,), cores=0.2))
    return [fan(["a", "b"]), stumble("well"), served.rv()]
