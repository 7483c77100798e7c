"""Confining a process of ours before it looks at what strangers sent: limits, no files, no network, no other programs.

`confine` is called once, when everything is imported and before the first stranger's byte. Each part is put in place
where the system has it, and the answer says which are. Linux: resource limits, another user than root, Landlock
(https://docs.kernel.org/userspace-api/landlock.html), a seccomp filter. Elsewhere resource limits only.
"""

import ctypes
import os
import platform
import struct
import sys
from collections.abc import Sequence

NOBODY = 65534
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS = 1, 4, 38
SIGKILL = 9

LANDLOCK_CREATE, LANDLOCK_ADD, LANDLOCK_RESTRICT = 444, 445, 446
LANDLOCK_VERSION = 1
FILE_ACCESS = {1: 0x1FFF, 2: 0x3FFF, 3: 0x7FFF, 4: 0x7FFF, 5: 0xFFFF}
"""Every access to files that a version of Landlock can refuse."""
READ_AND_RUN = 1 << 0 | 1 << 2 | 1 << 3  # execute, read file, read folder
TCP = 1 << 0 | 1 << 1  # bind, connect
SCOPES = 1 << 0 | 1 << 1  # abstract sockets, signals

SECCOMP_SET_MODE_FILTER, SECCOMP_TSYNC = 1, 1
ALLOW, ERRNO, KILL = 0x7FFF0000, 0x00050000, 0x80000000
EPERM, ENOSYS = 1, 38
CLONE_THREAD = 0x00010000

NETWORK = {
    "x86_64": (41, 42, 43, 44, 46, 49, 50, 53, 288),
    "aarch64": (198, 199, 200, 201, 202, 203, 206, 211, 242),
}
"""socket, socketpair, connect, accept, accept4, bind, listen, sendto, sendmsg."""

PROGRAMS = {"x86_64": (57, 58, 59, 322), "aarch64": (221, 281)}
"""fork, vfork, execve, execveat."""

KERNEL = {
    # ptrace, process_vm_readv, _writev, kill, tkill, tgkill, bpf, userfaultfd, perf_event_open, keyctl, add_key,
    # request_key, mount, umount2, pivot_root, chroot, unshare, setns, init_module, finit_module, kexec_load,
    # name_to_handle_at, open_by_handle_at; and under one number everywhere: pidfd_send_signal, io_uring_setup,
    # pidfd_open, pidfd_getfd
    "x86_64": (101, 310, 311, 62, 200, 234, 321, 323, 298, 250, 248, 249, 165, 166, 155, 161, 272, 308, 175, 313, 246,
               303, 304, 424, 425, 434, 438),
    "aarch64": (117, 270, 271, 129, 130, 131, 280, 282, 241, 219, 217, 218, 40, 39, 41, 51, 97, 268, 105, 273, 104,
                264, 265, 424, 425, 434, 438),
}  # fmt: skip

ARCHITECTURE = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
SECCOMP = {"x86_64": 317, "aarch64": 277}
CLONE = {"x86_64": 56, "aarch64": 220}
CLONE3 = 435


def confine(memory: int, *, readable: Sequence[str] = (), programs: bool = False) -> dict[str, str]:
    """Confine this process, whatever it is sent later. Says what is in place: part → in words.

    memory: bytes that it may take on top of what it has. readable: folders of which it may read and run files; none.
    programs: whether it may start programs, which are confined like it.
    """
    placed = {"limits": _limit(memory)}
    if not sys.platform.startswith("linux"):
        return placed | {"files": "open", "network": "open", "user": "as it was"}
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0)
    placed["user"] = _leave_root()
    libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    placed["files"] = _lock_files(libc, readable)
    placed["network"] = _filter_calls(libc, programs)
    return placed


def allow_time(seconds: float) -> None:
    """Let the process compute for so long from now on; the system ends it then."""
    try:
        import resource
    except ImportError:  # Windows
        return
    used = resource.getrusage(resource.RUSAGE_SELF)
    until = int(used.ru_utime + used.ru_stime + seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (until, resource.getrlimit(resource.RLIMIT_CPU)[1]))


def _limit(memory: int) -> str:
    try:
        import resource
    except ImportError:  # Windows
        return "none"
    for what, most in ((resource.RLIMIT_CORE, 0), (resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_NOFILE, 32)):
        resource.setrlimit(what, (most, most))
    try:
        with open("/proc/self/statm") as file:
            size = int(file.read().split()[0]) * resource.getpagesize() + memory
        resource.setrlimit(resource.RLIMIT_AS, (size, size))
    except OSError:  # no /proc: macOS, whose limit of address space nobody heeds
        return "files, cores"
    return "memory, files, cores, time"


def _leave_root() -> str:
    if os.getuid() != 0:
        return "not root"
    try:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    except OSError:
        return "root"
    return "nobody"


def _lock_files(libc: ctypes.CDLL, readable: Sequence[str]) -> str:
    version = libc.syscall(LANDLOCK_CREATE, None, ctypes.c_size_t(0), LANDLOCK_VERSION)
    if version < 1:
        return "open: this kernel has no Landlock"
    files = FILE_ACCESS.get(version, FILE_ACCESS[5])
    parts = [files] + [TCP] * (version >= 4) + [SCOPES] * (version >= 6)
    rules = struct.pack(f"{len(parts)}Q", *parts)
    ruleset = libc.syscall(LANDLOCK_CREATE, rules, ctypes.c_size_t(len(rules)), 0)
    if ruleset < 0:
        return "open: Landlock refused"
    for folder in readable:
        try:
            place = os.open(folder, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            continue
        allowed = READ_AND_RUN if os.path.isdir(folder) else READ_AND_RUN & ~(1 << 3)
        libc.syscall(LANDLOCK_ADD, ruleset, 1, struct.pack("=Qi", allowed, place), 0)
        os.close(place)
    done = libc.syscall(LANDLOCK_RESTRICT, ruleset, 0)
    os.close(ruleset)
    return f"Landlock {version}" if done == 0 else "open: Landlock refused"


def _filter_calls(libc: ctypes.CDLL, programs: bool) -> str:
    machine = platform.machine()
    if machine not in ARCHITECTURE:
        return f"open: no filter for {machine}"
    refused = NETWORK[machine] + KERNEL[machine] + (() if programs else PROGRAMS[machine])
    code = _program(machine, refused, threads_only=not programs)
    buffer = ctypes.create_string_buffer(code)
    header = struct.pack("HxxxxxxQ", len(code) // 8, ctypes.addressof(buffer))
    done = libc.syscall(SECCOMP[machine], SECCOMP_SET_MODE_FILTER, SECCOMP_TSYNC, header)
    return "seccomp" if done == 0 else "open: seccomp refused"


def _program(machine: str, refused: Sequence[int], threads_only: bool) -> bytes:
    """A classic BPF program over struct seccomp_data: number at 0, architecture at 4, first argument at 16."""
    load, equal, at_least, any_bit, answer = 0x20, 0x15, 0x35, 0x45, 0x06

    def step(code: int, value: int, yes: int = 0, no: int = 0) -> bytes:
        return struct.pack("HBBI", code, yes, no, value)

    lines = [
        step(load, 4), step(equal, ARCHITECTURE[machine], 1, 0), step(answer, KILL),
        step(load, 0), step(at_least, 0x40000000, 0, 1), step(answer, ERRNO | EPERM),
    ]  # fmt: skip
    for number in refused:
        lines += [step(equal, number, 0, 1), step(answer, ERRNO | EPERM)]
    if threads_only:
        lines += [
            step(equal, CLONE3, 0, 1), step(answer, ERRNO | ENOSYS),  # its flags are in memory: libc uses clone then
            step(equal, CLONE[machine], 0, 3), step(load, 16),
            step(any_bit, CLONE_THREAD, 1, 0), step(answer, ERRNO | EPERM),
        ]  # fmt: skip
    return b"".join([*lines, step(answer, ALLOW)])
