"""An interpreter that lacks what Windows or macOS lack: imported first, it takes these names from ``os``, ``signal`` and the path.

It simulates what is missing, and the translation of line ends that O_BINARY turns off; not Windows' own rules for names and locks.
"""

import os
import signal
import sys

MISSING = {
    "windows": {
        "os": "pread preadv pwrite pwritev O_NONBLOCK O_CLOEXEC O_DIRECTORY O_NOFOLLOW O_TMPFILE copy_file_range sendfile "
        "posix_fadvise posix_fallocate sched_getaffinity sched_setaffinity getuid geteuid getgid fchmod fchown chown fork "
        "mkfifo statvfs fstatvfs setsid killpg getpgid sysconf getloadavg nice",
        "signal": "SIGKILL SIGHUP SIGALRM SIGUSR1 SIGUSR2 SIGPIPE alarm setitimer pthread_sigmask sigwait",
        "modules": "fcntl resource pwd grp termios",
    },
    "macos": {
        "os": "preadv pwritev copy_file_range posix_fadvise posix_fallocate sched_getaffinity sched_setaffinity O_TMPFILE",
        "signal": "",
        "modules": "",
    },
}
BINARY = 1 << 30
"""Stands for O_BINARY, which Linux does not know."""


def become(system: str) -> None:
    """Take away what a system lacks; on Windows every file that is opened must say that it is binary."""
    missing = MISSING[system]
    for module, names in ((os, missing["os"]), (signal, missing["signal"])):
        for name in names.split():
            if hasattr(module, name):
                delattr(module, name)
    for name in missing["modules"].split():
        sys.modules[name] = None  # type: ignore[assignment]
    if system != "windows":
        return
    os.O_BINARY = BINARY  # type: ignore[attr-defined]
    opened = os.open

    def open_as_windows(path, flags, mode=0o777, *, dir_fd=None):  # type: ignore[no-untyped-def]
        ours = str(path).endswith((".onnx", ".record", ".partial", ".bin"))
        assert flags & BINARY or not ours, f"{path} would be read or written as text"
        if os.path.isdir(path):  # noqa: PTH112 - what is simulated is below pathlib
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, flags & ~BINARY, mode, dir_fd=dir_fd)

    os.open = open_as_windows
