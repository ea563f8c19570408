"""Which system calls a camera worker may still make: a filter that the kernel holds it to (seccomp).

Three answers: what decoding needs is let through, what only an intruder would do ends the process (SIGSYS), and all
else is answered as by a kernel that does not have it, so that libraries fall back. Needs libseccomp; see `sandbox`.
"""

import errno
import os
import socket
from types import ModuleType

_ALLOWED = """
read readv pread64 preadv preadv2 write writev close close_range fstat newfstatat stat lstat statx fstatfs lseek _llseek
poll ppoll select pselect6 epoll_create1 epoll_create epoll_ctl epoll_wait epoll_pwait epoll_pwait2 eventfd2 pipe pipe2
munmap mremap madvise brk mincore msync membarrier get_mempolicy fadvise64 readahead
rt_sigaction rt_sigprocmask rt_sigreturn sigreturn sigaltstack futex futex_waitv sched_yield sched_getaffinity
sched_getparam sched_getscheduler sched_get_priority_max sched_get_priority_min getpriority
nanosleep clock_nanosleep clock_gettime clock_getres gettimeofday time times getrusage getrlimit getcpu uname sysinfo
getpid getppid gettid getuid geteuid getgid getegid getresuid getresgid getgroups getpgrp getsid getrandom
exit exit_group set_robust_list rseq set_tid_address restart_syscall
getcwd readlink readlinkat getdents64 access faccessat faccessat2 fcntl dup dup2 dup3
recvfrom recvmsg recvmmsg sendto sendmsg sendmmsg shutdown getsockname getpeername getsockopt
""".split()  # noqa: SIM905  (a list of names, one a line, would fill pages)
_NETWORK = ("connect", "bind", "setsockopt")

# No picture needs these; a worker that calls them is no longer ours.
_FATAL = """
execve execveat fork vfork ptrace process_vm_readv process_vm_writev kill tkill rt_sigqueueinfo rt_tgsigqueueinfo
pidfd_open pidfd_send_signal pidfd_getfd setuid setgid setreuid setregid setresuid setresgid setgroups capset chroot
pivot_root mount umount2 move_mount open_tree fsopen unshare setns bpf perf_event_open keyctl add_key request_key
init_module finit_module delete_module kexec_load kexec_file_load reboot swapon swapoff userfaultfd io_uring_setup
""".split()  # noqa: SIM905
_REFUSED = """
unlink unlinkat rename renameat renameat2 mkdir mkdirat rmdir link linkat symlink symlinkat mknod mknodat chmod fchmod
fchmodat chown fchown lchown fchownat truncate ftruncate fallocate utimensat setxattr memfd_create listen accept accept4
""".split()  # noqa: SIM905

_CLONE_THREAD = 0x00010000
_PROT_WRITE, _PROT_EXEC = 2, 4
_WRITING = (os.O_WRONLY, os.O_RDWR, os.O_CREAT, os.O_TRUNC)
_SOCKET_TYPE_MASK = 0xF
_HARMLESS_IOCTLS = (0x5401, 0x541B, 0x5421, 0x5450, 0x5451)  # TCGETS FIONREAD FIONBIO FIONCLEX FIOCLEX
_VIDEO_IOCTLS, _IOCTL_KIND_MASK = ord("V") << 8, 0xFF00
_NAMING_PRCTLS = (15, 16, 0x53564D41)  # PR_SET_NAME PR_GET_NAME PR_SET_VMA
_UNKNOWN = -1


def why_not() -> str | None:
    """Return why no filter can be set here, or None when one can."""
    try:
        import pyseccomp  # noqa: F401, PLC0415  (an optional part, looked for only where it is used)
    except (ImportError, OSError, RuntimeError, AttributeError):
        return "no filter of system calls: install the system's libseccomp (Debian: libseccomp2) and pyseccomp"
    try:
        with open("/proc/sys/kernel/seccomp/actions_avail", encoding="ascii") as actions:  # noqa: PTH123
            if "kill_process" not in actions.read():
                return "no filter of system calls: this kernel's seccomp cannot end a process"
    except OSError:
        return "no filter of system calls: this kernel has no seccomp"
    return None


def restrict(*, connections: bool, device: bool, peer: bool = False) -> None:
    """Leave every thread of this process only what a worker needs: sockets for `connections`, a camera where `device`.

    A `peer` has a loop, which wakes itself through a pair of sockets, and datagrams.

    Raises:
        OSError: The kernel refuses.
    """
    import pyseccomp  # noqa: PLC0415

    rules = pyseccomp.SyscallFilter(pyseccomp.ERRNO(errno.ENOSYS))
    rules.set_attr(pyseccomp.Attr.CTL_TSYNC, 1)
    writer = _Rules(pyseccomp, rules)
    for name in (*_ALLOWED, *(_NETWORK if connections or peer else ())):
        writer.allow(name)
    for name in _FATAL:
        writer.rule(pyseccomp.KILL_PROCESS, name)
    for name in _REFUSED:
        writer.rule(pyseccomp.ERRNO(errno.EACCES), name)
    _processes(writer)
    _files(writer, device=device)
    _memory(writer)
    _sockets(writer, connections=connections, peer=peer)
    rules.load()


class _Rules:
    """Adds rules to a filter; a call that this machine or libseccomp does not know needs none."""

    def __init__(self, library: ModuleType, rules: "object") -> None:
        self.seccomp, self._rules = library, rules

    def allow(self, name: str, *conditions: object) -> None:
        self.rule(self.seccomp.ALLOW, name, *conditions)

    def refuse(self, name: str, *conditions: object) -> None:
        self.rule(self.seccomp.ERRNO(errno.EACCES), name, *conditions)

    def rule(self, action: int, name: str, *conditions: object) -> None:
        number = self.seccomp.resolve_syscall(self.seccomp.system_arch(), name)
        if number != _UNKNOWN:
            self._rules.add_rule(action, number, *conditions)  # type: ignore[attr-defined]

    def masked(self, argument: int, mask: int, value: int) -> object:
        return self.seccomp.Arg(argument, self.seccomp.MASKED_EQ, mask, value)

    def equal(self, argument: int, value: int) -> object:
        return self.seccomp.Arg(argument, self.seccomp.EQ, value)


def _processes(writer: _Rules) -> None:
    """Threads, but no processes; signals only to itself, which is how abort() ends."""
    writer.allow("clone", writer.masked(0, _CLONE_THREAD, _CLONE_THREAD))
    writer.rule(writer.seccomp.KILL_PROCESS, "clone", writer.masked(0, _CLONE_THREAD, 0))
    own = os.getpid()
    writer.allow("tgkill", writer.equal(0, own))
    writer.rule(writer.seccomp.KILL_PROCESS, "tgkill", writer.seccomp.Arg(0, writer.seccomp.NE, own))
    writer.allow("prlimit64", writer.equal(2, 0))  # reads a limit, sets none
    for name in _NAMING_PRCTLS:
        writer.allow("prctl", writer.equal(0, name))


def _files(writer: _Rules, *, device: bool) -> None:
    for name, argument in (("open", 1), ("openat", 2)):
        writer.allow(name, writer.masked(argument, os.O_ACCMODE | os.O_CREAT | os.O_TRUNC, os.O_RDONLY))
        if device:
            writer.allow(name, writer.masked(argument, os.O_ACCMODE | os.O_CREAT | os.O_TRUNC, os.O_RDWR))
        for flag in _WRITING:
            if not (device and flag == os.O_RDWR):
                writer.refuse(name, writer.masked(argument, flag, flag))
    for request in _HARMLESS_IOCTLS:
        writer.allow("ioctl", writer.equal(1, request))
    if device:
        writer.allow("ioctl", writer.masked(1, _IOCTL_KIND_MASK, _VIDEO_IOCTLS))


def _memory(writer: _Rules) -> None:
    """No memory that can be written and run: libraries come from files, code from nowhere else."""
    both = _PROT_WRITE | _PROT_EXEC
    for name in ("mmap", "mmap2"):
        writer.allow(name, writer.masked(2, _PROT_WRITE, 0))
        writer.allow(name, writer.masked(2, both, _PROT_WRITE))
        writer.refuse(name, writer.masked(2, both, both))
    for name in ("mprotect", "pkey_mprotect"):
        writer.allow(name, writer.masked(2, _PROT_EXEC, 0))
        writer.refuse(name, writer.masked(2, _PROT_EXEC, _PROT_EXEC))


def _sockets(writer: _Rules, *, connections: bool, peer: bool) -> None:
    network = connections or peer
    families = (socket.AF_INET, socket.AF_INET6) if network else ()
    kinds = (socket.SOCK_STREAM, socket.SOCK_DGRAM) if connections else (socket.SOCK_DGRAM,)
    for family in families:
        for kind in kinds:
            writer.allow("socket", writer.equal(0, family), writer.masked(1, _SOCKET_TYPE_MASK, kind))
        writer.refuse(
            "socket", writer.equal(0, family), writer.seccomp.Arg(1, writer.seccomp.MASKED_EQ, _SOCKET_TYPE_MASK, 3)
        )
    if peer:
        writer.allow("socketpair", writer.equal(0, socket.AF_UNIX))
    if not network:
        writer.refuse("socket")
        writer.refuse("connect")
