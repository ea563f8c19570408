"""Landlock: what of the file system and of the network a process may still reach, from now on and for ever.

The kernel's interface is three system calls without wrappers in libc. What an older kernel does not know is left out:
`version` tells which one this is (0 none, 4 with TCP ports, 6 with signals and abstract sockets).
"""

import ctypes
import os
import stat
from collections.abc import Iterable
from pathlib import Path

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same numbers on every architecture that we know
_CREATE_RULESET_VERSION = 1
_RULE_PATH_BENEATH, _RULE_NET_PORT = 1, 2

_WRITE_FILE, _READ_FILE, _READ_DIR, _TRUNCATE, _IOCTL_DEVICE = 1 << 1, 1 << 2, 1 << 3, 1 << 14, 1 << 15
_BIND_TCP, _CONNECT_TCP = 1 << 0, 1 << 1
_FILE_RIGHTS_OF_VERSION = (0, 0x1FFF, 0x3FFF, 0x7FFF, 0x7FFF, 0xFFFF)
_SCOPE_ABSTRACT_SOCKETS_AND_SIGNALS = 0b11
PORTS_SINCE = 4
"""The version that also guards TCP ports."""

_SCOPES_SINCE = 6


class _Ruleset(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("network", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("folder", ctypes.c_int32))


class _Port(ctypes.Structure):
    _fields_ = (("allowed", ctypes.c_uint64), ("port", ctypes.c_uint64))


def version() -> int:
    """Return the version of Landlock that this kernel offers, or 0 when it has none or hides it."""
    offered: int = ctypes.CDLL(None).syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _CREATE_RULESET_VERSION)
    return max(0, offered)


def restrict(*, readable: Iterable[Path], device: Path | None = None, tcp_port: int | None = None) -> int:
    """Leave this thread, and what it starts, only reading beneath some paths, one device and one TCP port.

    Paths that do not exist are left out. The process must have given up new privileges before. Return the version that
    is in force, 0 when there is none.

    Raises:
        OSError: The kernel offers Landlock and refuses it all the same.
    """
    offered = version()
    if offered == 0:
        return 0
    files = _FILE_RIGHTS_OF_VERSION[min(offered, len(_FILE_RIGHTS_OF_VERSION) - 1)]
    ports = _BIND_TCP | _CONNECT_TCP if offered >= PORTS_SINCE else 0
    scoped = _SCOPE_ABSTRACT_SOCKETS_AND_SIGNALS if offered >= _SCOPES_SINCE else 0
    rules = _Ruleset(files, ports, scoped)
    length = 24 if scoped else 16 if ports else 8
    handle = _call(_CREATE_RULESET, ctypes.byref(rules), ctypes.c_size_t(length), 0)
    try:
        for path in readable:
            _allow(handle, path, (_READ_FILE | _READ_DIR) & files)
        if device is not None:
            _allow(handle, device, (_READ_FILE | _WRITE_FILE | _IOCTL_DEVICE) & files)
        if tcp_port is not None and ports:
            _call(_ADD_RULE, handle, _RULE_NET_PORT, ctypes.byref(_Port(_CONNECT_TCP, tcp_port)), 0)
        _call(_RESTRICT_SELF, handle, 0)
    finally:
        os.close(handle)
    return offered


def _allow(handle: int, path: Path, rights: int) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not stat.S_ISDIR(os.fstat(place).st_mode):
            rights &= _READ_FILE | _WRITE_FILE | _TRUNCATE | _IOCTL_DEVICE
        _call(_ADD_RULE, handle, _RULE_PATH_BENEATH, ctypes.byref(_Beneath(rights, place)), 0)
    finally:
        os.close(place)


def _call(number: int, *arguments: object) -> int:
    result: int = ctypes.CDLL(None, use_errno=True).syscall(number, *arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
