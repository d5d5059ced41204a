"""Holds one thread of a process: whatever must be slow is stopped, not raced.

ptrace(2) stops a single thread, which no signal does; the others run on. It is allowed for root and
for a process's ancestors, which a proof is of varnishd's.
"""

import contextlib
import ctypes
import os
import pathlib

from e2e import rig

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.ptrace.argtypes = [ctypes.c_ulong, ctypes.c_ulong, ctypes.c_void_p, ctypes.c_void_p]
SEIZE, INTERRUPT, DETACH = 0x4206, 0x4207, 17
# wait(2) for what is not a child of ours.
WALL = 0x40000000


def ptrace(request, thread):
    if LIBC.ptrace(request, thread, None, None) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def threads(pid, name):
    """The threads of a process with this name."""
    found = []
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        if (task / "comm").read_text().strip() == name:
            found.append(int(task.name))
    return found


@contextlib.contextmanager
def held(pid, name):
    """The only thread of this name stands still in the body. It is found and stopped once it is there."""
    (thread,) = rig.wait_for(f"the thread {name}", lambda: threads(pid, name))
    try:
        ptrace(SEIZE, thread)
    except PermissionError as error:
        raise rig.Skip(f"this machine does not let us hold a thread: {error}") from None
    ptrace(INTERRUPT, thread)
    os.waitpid(thread, WALL)
    try:
        yield
    finally:
        # Of a process that has died in the meantime there is nothing to let go.
        with contextlib.suppress(ProcessLookupError):
            ptrace(DETACH, thread)
