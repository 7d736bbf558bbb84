"""From a question to an answer, out of the zone: a pure function."""

from __future__ import annotations

from navarch.dns import wire
from navarch.dns.records import Zone
from navarch.dns.wire import Question, Record


def answer(zone: Zone, question: Question, rotation: int, limit: int) -> bytes | None:
    """The packed answer, or None where the name is not ours (it goes upstream). `rotation` turns address sets round,
    so that clients which take the first spread over all."""
    name = question.name
    if not zone.holds(name):
        return None
    found = zone.look_up(name)
    if found is None:
        return wire.pack_answer(question, wire.NXDOMAIN, authority=[zone.soa()], limit=limit)
    answers = [r for r in found if question.type in (r.type, wire.ANY) or r.type == wire.CNAME]
    if name == zone.domain and question.type == wire.SOA:
        answers = [zone.soa()]
    if not answers:
        return wire.pack_answer(question, wire.NOERROR, authority=[zone.soa()], limit=limit)
    if len(answers) > 1:
        turn = rotation % len(answers)
        answers = answers[turn:] + answers[:turn]
    return wire.pack_answer(question, wire.NOERROR, answers, additional=_targets(zone, answers), limit=limit)


def _targets(zone: Zone, answers: list[Record]) -> list[Record]:
    """The addresses of SRV targets, to save the client a question each."""
    names: dict[str, None] = {}
    for record in answers:
        if record.type == wire.SRV:
            names[_unpack_name(record.data[6:])] = None
    return [r for name in names for r in zone.look_up(name) or () if r.type in (wire.A, wire.AAAA)]


def _unpack_name(data: bytes) -> str:
    labels: list[str] = []
    at = 0
    while length := data[at]:
        labels.append(data[at + 1 : at + 1 + length].decode())
        at += 1 + length
    return ".".join(labels)
