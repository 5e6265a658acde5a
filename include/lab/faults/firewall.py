"""Cutting off one TCP port of a cgroup, in the kernel, for the sockets of that cgroup alone.

A small BPF program attached to a cgroup of the lab drops what arrives at the port: a connection is not refused, it
gets no answer, as behind a broken cable. It stays when the command that attached it has ended, and goes with the
cgroup. Nothing of the machine's own network is touched, and no firewall program has to be installed.
Sources: bpf(2), and the kernel's include/uapi/linux/bpf.h.
"""

from __future__ import annotations

import ctypes
import os
import platform
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from include.lab import cgroups
from include.lab.errors import LabError

_SYSCALL = {"x86_64": 321, "aarch64": 280}
_PROG_LOAD, _PROG_ATTACH, _PROG_DETACH, _PROG_GET_FD_BY_ID, _OBJ_GET_INFO_BY_FD, _PROG_QUERY = 5, 8, 9, 13, 15, 16
_CGROUP_SKB, _INGRESS = 8, 0
_ALLOW_MULTI = 2  # systemd, here and in a node, may attach programs of its own
_NAME_BYTES = 16
_NAME_OFFSET = 64  # of `name` in struct bpf_prog_info
_MOST_PROGRAMS = 64
_IPV4 = 0x0800


@dataclass(frozen=True)
class Cut:
    """A port that is cut off. By its name any later command finds the cut and takes it away."""

    name: str
    """15 characters at most: letters, digits, underscores."""
    port: int


@dataclass(frozen=True)
class _Line:
    """One instruction; ``to`` and ``of`` are registers."""

    code: int
    to: int = 0
    of: int = 0
    offset: int = 0
    value: int = 0

    def packed(self, to_pass: int) -> bytes:
        """As the kernel takes it; ``to_pass`` is how far the instruction that lets pass lies ahead."""
        offset = to_pass if self.code == _UNLESS_EQUAL else self.offset
        return struct.pack("<BBhi", self.code, (self.of << 4) | self.to, offset, self.value)


_UNLESS_EQUAL = 0x55
"""Jump unless register ``to`` has the value; here always to where the packet passes."""
_RETURN = _Line(0x95)


def program(port: int) -> bytes:
    """BPF instructions that return 0, which drops the packet, for TCP over IPv4 to ``port``; else 1."""
    lines = [
        _Line(0xBF, to=6, of=1),  # r6 = packet
        _Line(0x61, to=2, of=6, offset=16),  # r2 = packet->protocol
        _Line(_UNLESS_EQUAL, to=2, value=socket.htons(_IPV4)),
        _Line(0xB7, to=2, value=0),
        *_load_bytes(to=-24, length=20),  # the IP header, from the packet's byte r2 on
        _Line(_UNLESS_EQUAL, to=0, value=0),  # the packet is shorter
        _Line(0x71, to=2, of=10, offset=-15),  # r2 = its protocol
        _Line(_UNLESS_EQUAL, to=2, value=socket.IPPROTO_TCP),
        _Line(0x71, to=2, of=10, offset=-24),
        _Line(0x57, to=2, value=0x0F),
        _Line(0x67, to=2, value=2),  # r2 = the header's length, told in words of four bytes
        *_load_bytes(to=-32, length=4),  # the ports of the TCP header
        _Line(_UNLESS_EQUAL, to=0, value=0),
        _Line(0x69, to=2, of=10, offset=-30),  # r2 = destination
        _Line(_UNLESS_EQUAL, to=2, value=socket.htons(port)),
        _Line(0xB7, to=0, value=0),
        _RETURN,
    ]
    passes = len(lines)
    lines += [_Line(0xB7, to=0, value=1), _RETURN]
    return b"".join(line.packed(passes - number - 1) for number, line in enumerate(lines))


def _load_bytes(*, to: int, length: int) -> list[_Line]:
    """r0 = bpf_skb_load_bytes(packet, r2, stack + to, length), which is 0 if it could."""
    return [
        _Line(0xBF, to=1, of=6),
        _Line(0xBF, to=3, of=10),
        _Line(0x07, to=3, value=to),
        _Line(0xB7, to=4, value=length),
        _Line(0x85, value=26),
    ]


def cut(group: str, wanted: Cut) -> None:
    """Attach the cut to the group, unless it is there. Raises LabError."""
    if is_cut(group, wanted):
        return
    code = ctypes.create_string_buffer(program(wanted.port))
    license_name = ctypes.create_string_buffer(b"GPL")
    with _group(group) as target:
        loaded = _bpf(
            _PROG_LOAD,
            struct.pack(
                "<IIQQIIQII16sII",
                _CGROUP_SKB, (len(code) - 1) // 8, ctypes.addressof(code), ctypes.addressof(license_name),
                0, 0, 0, 0, 0, wanted.name.encode(), 0, _INGRESS,
            ),
        )  # fmt: skip
        try:
            _bpf(_PROG_ATTACH, struct.pack("<IIII", target, loaded, _INGRESS, _ALLOW_MULTI))
        finally:
            os.close(loaded)


def mend(group: str, wanted: Cut) -> None:
    """Take the cut away, as often as it is there; nothing where it or the group is not."""
    if not cgroups.group_path(group).is_dir():
        return
    with _group(group) as target:
        for descriptor in _attached(target, wanted):
            _bpf(_PROG_DETACH, struct.pack("<IIII", target, descriptor, _INGRESS, 0))


def is_cut(group: str, wanted: Cut) -> bool:
    """True if the cut is attached to the group."""
    if not cgroups.group_path(group).is_dir():
        return False
    with _group(group) as target:
        return any(True for _ in _attached(target, wanted))


def _attached(target: int, wanted: Cut) -> Iterator[int]:
    """A descriptor of each program on the cgroup that has the cut's name; open until the next one is asked for."""
    numbers = (ctypes.c_uint32 * _MOST_PROGRAMS)()
    query = ctypes.create_string_buffer(
        struct.pack("<IIIIQII", target, _INGRESS, 0, 0, ctypes.addressof(numbers), _MOST_PROGRAMS, 0)
    )
    _call(_PROG_QUERY, query)
    count: int = struct.unpack_from("<I", query, 24)[0]
    for number in list(numbers)[:count]:
        descriptor = _bpf(_PROG_GET_FD_BY_ID, struct.pack("<III", number, 0, 0))
        try:
            if _name(descriptor) == wanted.name:
                yield descriptor
        finally:
            os.close(descriptor)


def _name(descriptor: int) -> str:
    info = ctypes.create_string_buffer(_NAME_OFFSET + _NAME_BYTES)
    _bpf(_OBJ_GET_INFO_BY_FD, struct.pack("<IIQ", descriptor, len(info), ctypes.addressof(info)))
    return info.raw[_NAME_OFFSET:].split(b"\0")[0].decode()


@contextmanager
def _group(group: str) -> Iterator[int]:
    descriptor = os.open(cgroups.group_path(group), os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _bpf(command: int, attributes: bytes) -> int:
    return _call(command, ctypes.create_string_buffer(attributes, len(attributes)))


def _call(command: int, attributes: ctypes.Array[ctypes.c_char]) -> int:
    number = _SYSCALL.get(platform.machine())
    if number is None:
        raise LabError(
            f"the lab does not know how to ask the kernel of a {platform.machine()} for this.",
            expected=f"one of {', '.join(_SYSCALL)}.",
            safe="nothing was changed.",
        )
    library = ctypes.CDLL(None, use_errno=True)
    result: int = library.syscall(number, command, attributes, len(attributes))
    if result < 0:
        code = ctypes.get_errno()
        raise LabError(
            f"the kernel refused to cut a port off (bpf command {command}: {os.strerror(code)}).",
            expected="a kernel with CONFIG_CGROUP_BPF, and root's rights to use it.",
            safe="nothing was changed.",
        )
    return result
