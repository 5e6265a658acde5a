"""Injecting and lifting faults. The record is written first, so that a killed command leaves nothing unknown."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from include.lab import record as lab_record
from include.lab import releases
from include.lab.errors import LabError
from include.lab.faults import record, registry
from include.lab.faults.fault import Injection
from include.lab.settings import BALANCERS, LabSettings


@dataclass(frozen=True)
class Seen:
    """One injection, whether it can be seen in the world now, and what more there is to tell."""

    injection: Injection
    is_there: bool
    detail: str

    def as_dict(self) -> dict[str, Any]:
        return self.injection.as_dict() | {"is_there": self.is_there, "detail": self.detail}


def inject(settings: LabSettings, injection: Injection) -> bool:
    """Inject the fault and see that it is there; False where it was before. Raises LabError; then it was undone."""
    fault = registry.fault(injection.fault)
    registry.check_options(injection)
    settings = _running_lab(settings)
    _check_places(settings, injection)
    if fault.lift is None:
        fault.check(settings, injection)
        fault.inject(settings, injection)
        return True
    known = next((one for one in record.read(settings) if one.place == injection.place), None)
    if known is not None:
        if known.done and fault.is_there(settings, known):
            return False
        fault.lift(settings, known)  # what a killed command left half done
        record.remove(settings, known)
    fault.check(settings, injection)
    record.add(settings, replace(injection, done=False))
    try:
        fault.inject(settings, injection)
        if not fault.is_there(settings, injection):
            raise LabError(f"{injection} was injected and cannot be seen.", expected="it in the world.")
    except BaseException:
        with suppress(LabError, OSError):  # the record stays then, and what failed first is what is told
            fault.lift(settings, injection)
            record.remove(settings, injection)
        raise
    record.add(settings, replace(injection, done=True))
    return True


def lift(
    settings: LabSettings, name: str | None = None, node: str | None = None, balancer: str | None = None
) -> list[Seen]:
    """Lift what was injected and fits; returns it with the last there is to tell. Raises LabError.

    One that cannot be lifted does not keep the others from being lifted.
    """
    if name is not None:
        registry.fault(name)
    settings = lab_record.as_recorded(settings)
    failed: list[str] = []
    lifted = []
    for injection in registry.in_order(record.read(settings)):
        wanted = zip((name, node, balancer), (injection.fault, injection.node, injection.balancer), strict=True)
        if any(given not in (None, found) for given, found in wanted):
            continue
        try:
            lifted.append(_lift_one(settings, injection))
        except LabError as error:
            failed.append(f"{injection}: {error.text()}")
    if failed:
        raise LabError(
            "not everything could be lifted.\n" + "\n".join(failed),
            expected="every fault that was asked for to be gone.",
            safe="what is not named is lifted; the rest is still recorded.",
            next_step="`./lab fault lift` again, or `./lab reset`, which makes everything anew.",
        )
    return lifted


def _lift_one(settings: LabSettings, injection: Injection) -> Seen:
    fault = registry.fault(injection.fault)
    if fault.lift is not None:
        fault.lift(settings, injection)
    if fault.is_there(settings, injection):
        raise LabError("it was lifted and is still there.", expected="it to be gone.")
    record.remove(settings, injection)
    return Seen(injection, is_there=False, detail=fault.detail(settings, injection))


def seen(settings: LabSettings) -> list[Seen]:
    """What is injected now. One that is recorded and not there has ended by itself, or by a loss of power."""
    settings = lab_record.as_recorded(settings)
    found = []
    for injection in record.read(settings):
        fault = registry.fault(injection.fault)
        found.append(Seen(injection, fault.is_there(settings, injection), fault.detail(settings, injection)))
    return found


def settle(settings: LabSettings) -> None:
    """End what making machines, balancers and database anew, or taking them down, would not end; forget the rest."""
    settings = lab_record.as_recorded(settings)
    for injection in record.read(settings):
        outside = registry.fault(injection.fault).outside
        if outside is not None:
            outside(settings, injection)
        record.remove(settings, injection)


def refuse_while_injected(settings: LabSettings) -> None:
    """Raises LabError where faults are injected: a repair would fight some of them, and hide others."""
    known = record.read(settings)
    if known:
        raise LabError(
            f"faults are injected: {', '.join(map(str, known))}.",
            expected="none, or it is not known what is meant to be broken.",
            safe="nothing was changed.",
            next_step="`./lab fault lift`, then this command again; or `./lab reset`.",
        )


def _running_lab(settings: LabSettings) -> LabSettings:
    known = lab_record.read(settings)
    if known is None or not known.ready:
        raise LabError("the lab is not up.", expected="a lab that serves.", next_step="`./lab up`.")
    return lab_record.as_recorded(settings)


def _check_places(settings: LabSettings, injection: Injection) -> None:
    for what, given, known in (
        ("node", injection.node, [node.name for node in settings.nodes]),
        ("balancer", injection.balancer, [balancer.name for balancer in BALANCERS]),
        ("release", injection.release, list(releases.available())),
    ):
        if given is not None and given not in known:
            raise LabError(
                f"{given!r} is no {what} of the lab.",
                expected=f"one of {', '.join(known)}.",
                safe="nothing was changed.",
            )
