"""Grid Engine itself does with tasks what the seam promises."""

import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from jobsys.batch.cluster.commands import CommandScheduler
from jobsys.batch.cluster.grid_engine import GridEngine
from jobsys.batch.cluster.scheduler import Ask, AskRefusedError, PassingError, Seen, TaskId, TaskState
from jobsys.events import Reason
from jobsys.requirements import Requirements
from jobsys.testing import scheduler as contract

CROWDED = (contract.check_each_once, contract.check_cancel_queued, contract.check_cancel_by_number, contract.check_large)
MIB = 1 << 20


def make(**options: str) -> CommandScheduler:
    return CommandScheduler(GridEngine({"pe": "smp", **options}))


def ask(script: str, requirements: Requirements = contract.MODEST, count: int = 1, **more: str) -> Ask:
    return Ask(contract.new_name(), count, requirements, script, **more)


def ends(scheduler: CommandScheduler, *natives: str) -> list[Seen]:
    """Wait for the ends of asks of one task each."""
    seen: dict[TaskId, Seen] = {}
    deadline = time.monotonic() + contract.PATIENCE
    while len(seen) < len(natives):
        assert time.monotonic() < deadline, f"{natives}: {seen}"
        looked = scheduler.look({native: [0] for native in natives})
        seen = {task: what for task, what in looked.items() if what.state is TaskState.ENDED} | seen  # what it said first
        time.sleep(0.1)
    return [seen[TaskId(native, 0)] for native in natives]


def test_the_contract_of_schedulers(grid_engine: dict[str, str], tmp_path: Path) -> None:
    bench = contract.Bench(make, folder=tmp_path)

    def run(check: Callable[[contract.Bench], None]) -> str:
        try:
            check(bench)
        except Exception as error:
            return f"{check.__name__}: {type(error).__name__}: {error}"
        return ""

    with ThreadPoolExecutor(6) as pool:  # most of the time goes by until Grid Engine looks at its queue, once a second
        told = list(pool.map(run, [check for check in contract.CHECKS if check not in CROWDED]))
    told += map(run, CROWDED)
    assert len(told) == len(contract.CHECKS)
    assert not (failed := [line for line in told if line]), "\n".join(failed)


def test_reasons(grid_engine: dict[str, str], tmp_path: Path) -> None:
    scheduler, once = make(), tmp_path / "once"
    greedy = 'for i in 1 2; do python3 -c "import time; x = bytearray(150 << 20); time.sleep(60)" & done; wait'
    natives = [
        scheduler.submit(ask("sleep 60", Requirements(walltime=1.0))),
        scheduler.submit(ask(greedy, Requirements(memory=200 * MIB))),
        scheduler.submit(ask(f"echo x >>{once}; exit 99")),
        scheduler.submit(ask("exit 100")),
        make(args="-wd /dev/null/x").submit(ask("exit 0")),
        scheduler.submit(ask("kill -TERM $$; sleep 60")),
    ]
    time_limit, memory, again, held, broken, signal = ends(scheduler, *natives)
    assert time_limit.reason is Reason.TIME_LIMIT
    assert memory.reason is Reason.MEMORY
    assert (again.reason, again.exit_status, once.read_text()) == (Reason.FAILED, 1, "x\n")
    assert (held.reason, held.exit_status) == (Reason.FAILED, 1)
    assert broken.reason is Reason.LOST
    assert "/dev/null/x" in broken.message
    assert (signal.reason, signal.exit_status) == (Reason.KILLED, -15)


def test_what_somebody_else_cancels(grid_engine: dict[str, str]) -> None:
    scheduler = make()
    native = scheduler.submit(ask("sleep 60"))
    while scheduler.look({native: [0]})[TaskId(native, 0)].state is not TaskState.RUNNING:
        time.sleep(0.1)
    subprocess.run(["qdel", native], check=True, stdout=subprocess.DEVNULL)
    assert ends(scheduler, native)[0].reason is Reason.CANCELED


def test_memory_is_that_of_all_cores_together(grid_engine: dict[str, str], tmp_path: Path) -> None:
    script = f'ulimit -v >{tmp_path}/limit; echo "$NSLOTS" >{tmp_path}/slots'
    scheduler = make()
    native = scheduler.submit(ask(script, Requirements(cores=2.5, memory=300 * MIB)))
    assert ends(scheduler, native)[0].reason is None
    assert int((tmp_path / "limit").read_text()) == 300 * 1024
    assert (tmp_path / "slots").read_text() == "3\n"


def test_other_users_cannot_read_a_script_in_a_shared_directory(grid_engine: dict[str, str], tmp_path: Path) -> None:
    scheduler = make(scripts=str(tmp_path))
    native = scheduler.submit(asked := ask(f"echo secret-word >{tmp_path}/found; sleep 60"))
    while not (tmp_path / "found").exists():
        time.sleep(0.1)
    spool = Path(grid_engine["SGE_ROOT"]).parent / "spool/execd"
    copies = list(spool.glob(f"*/job_scripts/{native}"))
    scheduler.cancel({native: None})
    assert (tmp_path / f"{asked.name}.sh").stat().st_mode & 0o777 == 0o600
    assert [path for path in spool.rglob("*") if path.is_file() and b"secret-word" in path.read_bytes()] == []
    assert copies


def test_refusals(grid_engine: dict[str, str]) -> None:
    with pytest.raises(AskRefusedError, match=r"unknown queue \"nope\.q\""):
        make(queue="nope.q").submit(ask("exit 0"))
    with pytest.raises(AskRefusedError, match="--batch-option pe=NAME, where NAME is one of these: mpi, smp"):
        make(pe="").submit(ask("exit 0", Requirements(cores=2)))
    assert "one of these: mpi, smp" in make(pe="").check(Requirements(cores=2))
    assert "offers" in make().check(Requirements(cores=1000))
    assert 'unknown resource "gpu"' in make(accelerators="gpu").check(Requirements(accelerators=1))
    assert make().check(Requirements(cores=2, memory=MIB, walltime=1.0)) == ""
    assert make(memory="mem_free,h_vmem").check(Requirements(memory=1 << 50)) == ""  # only measured: nobody can tell


def test_qmaster_is_down(grid_engine: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SGE_QMASTER_PORT", "1")
    scheduler = make()
    for deed in (
        lambda: scheduler.submit(ask("exit 0")),
        lambda: scheduler.find(contract.new_name()),
        lambda: scheduler.look({"1": [0]}),
        lambda: scheduler.cancel({"1": None}),
    ):
        with pytest.raises(PassingError, match="qmaster"):
            deed()
    assert scheduler.check(Requirements()) == ""
