"""What must be allowed here before a server can start that has hosts of its own: each is tried out, what lacks is told by its cause."""

import os
import subprocess
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

TRIALS: Final = {
    "mount namespaces": "unshare --mount true",
    "network namespaces joined by cables": "unshare --net ip link add j0 type veth peer name j1",
    "network bridges": "unshare --net ip link add j0 type bridge",
    "network taps (/dev/net/tun)": "unshare --net ip tuntap add j0 mode tap",
    "overlay file systems": "mkdir l u w m && unshare --mount mount -t overlay overlay -o lowerdir=l,upperdir=u,workdir=w m",
    "cgroups that limit memory": "test -w /sys/fs/cgroup/memory || grep -w memory /sys/fs/cgroup/cgroup.controllers",
    "programs in /dev/shm": "cp /bin/true /dev/shm/$$ && /dev/shm/$$; status=$?; rm -f /dev/shm/$$; exit $status",
}
"""For each thing that a kernel, or the container around us, may not allow, a shell command that needs it; run in an empty directory."""
SECONDS: Final = 20


def refused(needs: Iterable[str], trials: Mapping[str, str] = TRIALS, prefix: Sequence[str] = ()) -> str:
    """Say which of the things that are needed can't be had here, and in whose words; empty if all can. The prefix runs the shell."""
    environment = {**os.environ, "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin", "LC_ALL": "C.UTF-8"}
    told = []
    for need in needs:
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run(
                [*prefix, "/bin/sh", "-c", trials[need]],
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=SECONDS,
                check=False,
            )
        if done.returncode:
            told.append(f"{need} ({done.stderr.strip() or f'exit status {done.returncode}'})")
    return f"the kernel, or a container that this runs in, does not allow {', '.join(told)}" if told else ""
