"""What a worker host does first: fetch the code that the leader shipped, check it, import it."""

import argparse
import io
import sys
from collections.abc import Sequence

from jobsys import namespace, shipment
from jobsys.jobstores import open_store
from jobsys.resource import ModuleDescriptor, Resource
from jobsys.worker.execute import JobExecutor


def arguments(locator: str, epoch: int, max_log: int, durable: bool) -> list[str]:
    """Make the command line that ``prepare`` reads."""
    return ["--job-store", locator, "--epoch", str(epoch), "--max-log", str(max_log), *([] if durable else ["--no-sync"])]


def prepare(command_line: Sequence[str]) -> JobExecutor:
    """Make this process able to run the jobs of a run.

    Raises:
        JobsysError: the store can't be read, or the code can't be fetched, verified or imported.
    """
    parser = argparse.ArgumentParser(prog="python -m jobsys.worker", add_help=False)
    parser.add_argument("--job-store", required=True)
    parser.add_argument("--epoch", type=int, required=True)
    parser.add_argument("--max-log", type=int, required=True)
    parser.add_argument("--no-sync", action="store_true")
    options = parser.parse_args(command_line)
    store = open_store(options.job_store, durable=not options.no_sync)
    shipped = shipment.read(store, options.epoch)
    shipment.check_python(shipped)
    Resource.prepareSystem()
    Resource.registerAll(shipped.environment)
    known = set(sys.path)
    sys.path += [entry for entry in shipped.path if entry not in known]
    places = []
    for number, descriptor in enumerate(ModuleDescriptor(*each) for each in shipped.modules):
        local = descriptor.localize()
        if local.dirPath != descriptor.dirPath:
            places.append((local.dirPath, descriptor.dirPath))
        if number == 0 and not shipped.session:
            shipment.load_script(local, shipped.argv)
        else:
            local.load()
    sys.argv[:] = shipped.argv
    if shipped.session:
        namespace.load(store, shipped.session)
    if isinstance(sys.stdout, io.TextIOWrapper):  # so that what a job prints and what its children print come in order
        sys.stdout.reconfigure(line_buffering=True, errors="backslashreplace")
    return JobExecutor(store, options.max_log, places)
