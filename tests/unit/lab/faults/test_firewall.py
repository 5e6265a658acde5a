"""The program is run here by a small machine that knows the instructions it is made of, on packets made by hand.

That the kernel takes it and does the same is seen on the real lab.
"""

from __future__ import annotations

import socket
import struct

import pytest

from include.lab.faults.firewall import program

TCP, UDP = socket.IPPROTO_TCP, socket.IPPROTO_UDP
STACK = 512


def packet(port: int, *, protocol: int = TCP, options: int = 0) -> bytes:
    """An IPv4 header with so many words of options, and the first bytes of what it carries."""
    header = struct.pack("!BBHHHBBH4s4s", 0x45 + options, 0, 40, 1, 0, 64, protocol, 0, bytes(4), bytes(4))
    return header + bytes(4 * options) + struct.pack("!HH", 50_000, port) + bytes(16)


def passes(code: bytes, data: bytes, ethernet: int = 0x0800) -> bool:  # noqa: C901 - one branch an instruction
    """Run the program on the packet; whether it lets pass."""
    register: dict[int, int] = {10: STACK}
    stack = bytearray(STACK)
    at = 0
    for _ in range(100):
        operation, registers, offset, value = struct.unpack_from("<BBhi", code, at * 8)
        to, of = registers & 0xF, registers >> 4
        at += 1
        if operation == 0xB7:
            register[to] = value
        elif operation == 0xBF:
            register[to] = register.get(of, 0)
        elif operation == 0x07:
            register[to] += value
        elif operation == 0x57:
            register[to] &= value
        elif operation == 0x67:
            register[to] <<= value
        elif operation == 0x61:
            assert offset == 16, "the only field of the packet's context that is looked at"
            register[to] = socket.htons(ethernet)
        elif operation in (0x69, 0x71):
            size = 2 if operation == 0x69 else 1
            register[to] = int.from_bytes(stack[register[of] + offset :][:size], "little")
        elif operation == 0x85:
            begin, place, length = register[2], register[3], register[4]
            short = begin + length > len(data)
            if not short:
                stack[place : place + length] = data[begin : begin + length]
            register[0] = -14 if short else 0
        elif operation == 0x55:
            at += offset if register[to] != value else 0
        elif operation == 0x95:
            return register[0] == 1
        else:
            raise AssertionError(f"instruction {operation:#x} is not known")
    raise AssertionError("the program does not end")


@pytest.mark.parametrize("options", [0, 1, 10], ids=lambda words: f"{words} words of options")
@pytest.mark.parametrize("port", [22, 19981, 65535])
def test_only_tcp_to_the_port_is_dropped(port: int, options: int) -> None:
    code = program(port)
    assert not passes(code, packet(port, options=options))
    assert passes(code, packet(port - 1, options=options))
    assert passes(code, packet(socket.htons(port) if port != 65535 else 1, options=options))
    assert passes(code, packet(port, protocol=UDP, options=options))


def test_what_is_no_whole_packet_of_ipv4_passes() -> None:
    code = program(22)
    assert passes(code, packet(22), ethernet=0x86DD)
    assert passes(code, packet(22)[:19])
    assert passes(code, packet(22)[:22])
