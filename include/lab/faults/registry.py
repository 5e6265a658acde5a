"""Every fault there is, in the order in which they are lifted: first those without which others cannot be."""

from __future__ import annotations

from include.lab.errors import LabError
from include.lab.faults import (
    balancer_restart,
    balancer_unreachable,
    corrupt_archive,
    crash_loop,
    error_responses,
    full_disk,
    node_freeze,
    node_power_off,
    orphans,
    slow_transfer,
    ssh_cut,
    stop_hangs,
    wrong_server_name,
)
from include.lab.faults.fault import Fault, Injection

ALL: tuple[Fault, ...] = (
    node_power_off.FAULT,
    node_freeze.FAULT,
    balancer_unreachable.FAULT,
    ssh_cut.FAULT,
    slow_transfer.FAULT,
    full_disk.FAULT,
    stop_hangs.FAULT,
    orphans.FAULT,
    crash_loop.FAULT,
    corrupt_archive.FAULT,
    error_responses.FAULT,
    wrong_server_name.FAULT,
    balancer_restart.FAULT,
)


def fault(name: str) -> Fault:
    """The fault of that name. Raises LabError for none."""
    for known in ALL:
        if known.name == name:
            return known
    raise LabError(
        f"{name!r} is no fault.",
        expected=f"one of {', '.join(known.name for known in ALL)}.",
        safe="nothing was changed.",
        next_step="`./lab fault inject --help` says what each does.",
    )


def in_order(injections: list[Injection]) -> list[Injection]:
    """As they are to be lifted."""
    names = [known.name for known in ALL]
    return sorted(injections, key=lambda injection: names.index(injection.fault))


def check_options(injection: Injection) -> None:
    """Raises LabError where the fault needs another option or does not know one that was given."""
    known = fault(injection.fault)
    given = injection.options()
    if any(form <= given <= form | known.may for form in known.forms):
        return
    forms = " or ".join(_words(form) or "nothing" for form in known.forms)
    raise LabError(
        f"{known.name} was given {_words(given) or 'no option'}.",
        expected=forms + (f", and, if wanted, {_words(known.may)}" if known.may else "") + ".",
        safe="nothing was changed.",
    )


def _words(options: frozenset[str]) -> str:
    return " ".join(f"--{name}" for name in sorted(options))


def told() -> str:
    """What each fault does, for the help."""
    return "\n\n".join(
        f"{known.name} ({' or '.join(_words(form) or 'no option' for form in known.forms)}): {known.does}"
        for known in sorted(ALL, key=lambda one: one.name)
    )
