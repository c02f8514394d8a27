"""`python -m tests.crash.refusing CALL ARGUMENT VALUE ERROR COMMAND…`: that call fails in it.

A seccomp filter lets a system call fail with ERROR where its argument number ARGUMENT (from 0) is
VALUE, in COMMAND and all that it starts: as on a kernel or a file system that cannot do that.
"""

import ctypes
import errno
import os
import platform
import struct
import sys

#: Numbers of the calls, by machine; see syscalls(2).
CALLS = {
    "x86_64": {"fcntl": 72, "renameat2": 316},
    "aarch64": {"fcntl": 25, "renameat2": 276},
}

_LOAD, _JUMP_EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALLOW, _FAIL = 0x7FFF0000, 0x00050000
_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _FILTER_MODE = 38, 22, 2


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def refuse(call: int, argument: int, value: int, error: int) -> None:
    """Let `call` fail from now on, in this process and its children."""
    steps = (
        (_LOAD, 0, 0, 0),
        (_JUMP_EQUAL, 0, 3, call),
        (_LOAD, 0, 0, 16 + 8 * argument),
        (_JUMP_EQUAL, 0, 1, value),
        (_RETURN, 0, 0, _FAIL | error),
        (_RETURN, 0, 0, _ALLOW),
    )
    packed = b"".join(struct.pack("=HBBI", *step) for step in steps)
    code = ctypes.create_string_buffer(packed, len(packed))
    program = _Program(len(steps), ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(
        _PR_SET_SECCOMP, _FILTER_MODE, ctypes.byref(program), 0, 0
    ):
        raise OSError(ctypes.get_errno(), "no seccomp here")


if __name__ == "__main__":
    name, argument, value, error, *command = sys.argv[1:]
    number = CALLS[platform.machine()][name]
    refuse(number, int(argument), int(value), getattr(errno, error))
    os.execvp(command[0], command)
