"""Which devices claims get: shared counters, shares of devices, bindings, pools that are not whole, many devices at once."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.scheduler.test_scheduler_cycle import node
from tests.unit.scheduler.test_scheduler_devices import claim, device_class, exactly, gpu, slice_of

from navarch.machinery.types import Obj
from navarch.scheduler.devices.allocator import Allocator
from navarch.scheduler.devices.capacity import consumed, is_enough
from navarch.scheduler.devices.state import Devices, NotHere, Unallocatable


def known(*objects: Obj) -> Devices:
    devices = Devices()
    for obj in (device_class(), *objects):
        if obj["kind"] == "DeviceClass":
            devices.set_class(obj["metadata"]["name"], obj)
        elif obj["kind"] == "ResourceSlice":
            devices.set_slice(obj["metadata"]["name"], obj)
        else:
            devices.set_claim(None, obj)
    return devices


def allocate(devices: Devices, *claims: Obj, where: str = "n", **labels: str) -> list[Obj] | None:
    ids = iter(range(1000))
    return Allocator(devices, lambda: f"share-{next(ids)}").allocate(claims, node(where, labels=labels))


def chosen(found: list[Obj] | None) -> list[list[str]] | None:
    """The devices of each claim."""
    return found and [[r["device"] for r in each["devices"].get("results", ())] for each in found]


def keep(devices: Devices, name: str, allocation: Obj) -> Obj:
    """A claim of that name has the allocation."""
    made = {**claim(name, exactly()), "status": {"allocation": allocation}}
    devices.set_claim(None, made)
    return made


# -- shared counters


def counters(amount: str, name: str = "counters", count: int = 2, **more: Any) -> Obj:
    sets = [{"name": "card", "counters": {"memory": {"value": amount}}}]
    return slice_of("n", count=count, name=name, devices=None, sharedCounters=sets, **more)


def part(name: str, amount: str, counter_set: str = "card") -> Obj:
    return {
        **gpu(name),
        "consumesCounters": [{"counterSet": counter_set, "counters": {"memory": {"value": amount}}}],
    }


def parts(*devices: Obj, amount: str = "8Gi") -> Devices:
    return known(counters(amount), slice_of("n", *devices, count=2))


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ([1], [["whole"]]),
        ([2], [["half-0", "half-1"]]),
        ([3], None),
        ([1, 1], [["half-0"], ["half-1"]]),
    ],
)
def test_devices_that_share_counters_are_given_as_long_as_these_last(wanted: list[int], found: Any) -> None:
    devices = parts(part("whole", "8Gi"), part("half-0", "4Gi"), part("half-1", "4Gi"))
    claims = [claim(f"c{index}", exactly(count=count)) for index, count in enumerate(wanted)]
    assert chosen(allocate(devices, *claims)) == found


def test_counters_in_use_are_missing_and_come_back() -> None:
    devices = parts(part("whole", "8Gi"), part("half-0", "4Gi"), part("half-1", "4Gi"))
    (half,) = allocate(devices, claim("c", exactly("gpu"))) or [{}]
    half = {"devices": {"results": [{**half["devices"]["results"][0], "device": "half-1"}]}}
    held = keep(devices, "held", half)
    assert chosen(allocate(devices, claim("c", exactly()))) == [["half-0"]]
    devices.set_claim(held, None)
    assert chosen(allocate(devices, claim("c", exactly()))) == [["whole"]]


def test_a_device_on_another_node_uses_the_same_counters() -> None:
    one = {**part("here", "4Gi"), "nodeName": "n"}
    two = {**part("there", "6Gi"), "nodeName": "other"}
    devices = known(
        counters("8Gi", nodeName=None, allNodes=True, count=3),
        slice_of("n", one, nodeName=None, perDeviceNodeSelection=True, count=3, name="one"),
        slice_of("n", two, nodeName=None, perDeviceNodeSelection=True, count=3, name="two"),
    )
    assert chosen(allocate(devices, claim("c", exactly()))) == [["here"]]
    there = allocate(devices, claim("c", exactly()), where="other")
    assert chosen(there) == [["there"]]
    keep(devices, "held", (there or [])[0])
    assert allocate(devices, claim("c", exactly())) is None


@pytest.mark.parametrize(
    "flawed",
    [
        [slice_of("n", part("p", "1Gi", "unknown"))],
        [slice_of("n", gpu("a"), gpu("a"))],
        [counters("8Gi"), counters("8Gi", name="again")],
    ],
)
def test_nothing_comes_of_pools_that_contradict_themselves(flawed: list[Obj]) -> None:
    devices = known(*flawed)
    with pytest.raises(NotHere, match="invalid resource pools were encountered"):
        allocate(devices, claim("c", exactly()))
    with pytest.raises(Unallocatable, match=r"asks for all devices, but resource pool .*/n is currently invalid"):
        allocate(devices, claim("c", exactly(allocationMode="All")))
    good = slice_of("good", gpu("good"), nodeName="n")
    devices.set_slice("good", good)
    assert chosen(allocate(devices, claim("c", exactly()))) == [["good"]]


def test_all_devices_are_not_known_while_a_pool_is_being_updated() -> None:
    devices = known(slice_of("n", gpu("a"), count=2))
    assert allocate(devices, claim("c", exactly())) is None
    with pytest.raises(Unallocatable, match="is currently being updated"):
        allocate(devices, claim("c", exactly(allocationMode="All")))


# -- shares


def shared(name: str = "nic", amount: str = "10", **policy: Any) -> Obj:
    capacity: Obj = {"bandwidth": {"value": amount, **({"requestPolicy": policy} if policy else {})}}
    return {"name": name, "allowMultipleAllocations": True, "capacity": capacity}


def asks(amount: str, **more: Any) -> Obj:
    return exactly(capacity={"requests": {"bandwidth": amount}}, **more)


def test_shares_of_a_device_are_given_until_it_has_no_more() -> None:
    devices = known(slice_of("n", shared()))
    for name in ("a", "b"):
        (found,) = allocate(devices, claim(name, asks("4"))) or [{}]
        (result,) = found["devices"]["results"]
        assert result["consumedCapacity"] == {"bandwidth": "4"} and result["shareID"]
        held = keep(devices, name, found)
    assert allocate(devices, claim("c", asks("4"))) is None
    assert chosen(allocate(devices, claim("c", asks("2")))) == [["nic"]]
    devices.set_claim(held, None)
    assert chosen(allocate(devices, claim("c", asks("4")))) == [["nic"]]


def test_claims_of_one_pod_and_requests_of_one_claim_share_devices_too() -> None:
    devices = known(slice_of("n", shared("n0"), shared("n1")))
    assert chosen(allocate(devices, claim("a", asks("6")), claim("b", asks("6")))) == [["n0"], ["n1"]]
    two = claim("a", {**asks("5"), "name": "one"}, {**asks("5"), "name": "two"})
    found = allocate(devices, two) or []
    assert chosen(found) == [["n0", "n0"]]
    assert len({r["shareID"] for r in found[0]["devices"]["results"]}) == 2
    assert allocate(devices, claim("a", asks("11"))) is None
    assert allocate(devices, claim("a", exactly(capacity={"requests": {"unknown": "1"}}))) is None


def test_a_request_without_an_amount_takes_all_or_what_is_usual() -> None:
    devices = known(slice_of("n", shared()))
    (found,) = allocate(devices, claim("a", exactly())) or [{}]
    assert found["devices"]["results"][0]["consumedCapacity"] == {"bandwidth": "10"}
    devices = known(slice_of("n", shared(default="3", validRange={"min": "1"})))
    (found,) = allocate(devices, claim("a", exactly())) or [{}]
    assert found["devices"]["results"][0]["consumedCapacity"] == {"bandwidth": "3"}


@pytest.mark.parametrize(
    ("policy", "asked", "taken"),
    [
        (None, "3", "3"),
        ({"default": "1", "validRange": {"min": "2"}}, "1", "2"),
        ({"default": "1", "validRange": {"min": "1", "step": "4"}}, "3", "5"),
        ({"default": "1", "validRange": {"min": "1", "step": "4"}}, "5", "5"),
        ({"default": "1", "validRange": {"min": "1", "max": "4"}}, "5", None),
        ({"default": "1", "validRange": {"min": "1", "max": "9", "step": "8"}}, "10", None),
        ({"default": "2", "validValues": ["2", "4", "8"]}, "3", "4"),
        ({"default": "2", "validValues": ["2", "4", "8"]}, "9", None),
        ({"default": "2", "validValues": ["2", "4", "8"]}, None, "2"),
    ],
)
def test_amounts_are_rounded_up_to_what_a_device_gives_out(policy: Any, asked: str | None, taken: str | None) -> None:
    capacity = {"bandwidth": {"value": "100", **({"requestPolicy": policy} if policy else {})}}
    requests = {"bandwidth": asked} if asked else {}
    assert is_enough(requests, capacity, {}) is (taken is not None)
    if taken is not None:
        assert str(consumed(requests, capacity)["bandwidth"]) == taken


def test_a_device_for_one_claim_only_must_be_large_enough_as_a_whole() -> None:
    devices = known(slice_of("n", gpu("a", memory="4Gi"), gpu("b", memory="16Gi")))
    asked = exactly(capacity={"requests": {"memory": "8Gi"}})
    found = allocate(devices, claim("c", asked)) or []
    assert chosen(found) == [["b"]]
    assert "consumedCapacity" not in found[0]["devices"]["results"][0]


# -- what is written


def test_what_has_to_be_ready_first_is_written_down_and_comes_last() -> None:
    fabric = {
        **gpu("a"),
        "bindsToNode": True,
        "bindingConditions": ["attached"],
        "bindingFailureConditions": ["broken"],
    }
    late = slice_of("anywhere", fabric, nodeName=None, allNodes=True)
    devices = known(late, slice_of("n", gpu("z")))
    assert chosen(allocate(devices, claim("c", exactly()))) == [["z"]]
    (found,) = allocate(devices, claim("c", exactly()), where="m") or [{}]
    (result,) = found["devices"]["results"]
    assert (result["bindingConditions"], result["bindingFailureConditions"]) == (["attached"], ["broken"])
    fields = found["nodeSelector"]["nodeSelectorTerms"][0]["matchFields"]
    assert fields == [{"key": "metadata.name", "operator": "In", "values": ["m"]}]


def test_the_nodes_of_an_allocation_are_those_that_all_its_devices_are_for() -> None:
    def zone(*values: str) -> Obj:
        expression = {"key": "zone", "operator": "In", "values": list(values)}
        return {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}

    def placed(name: str, selector: Obj) -> Obj:
        return slice_of(name, gpu(name), nodeName=None, nodeSelector=selector)

    devices = known(placed("a", zone("x", "y")), placed("b", zone("y", "x")), placed("c", zone("x")))
    assert allocate(devices, claim("c", exactly(count=3)), zone="y") is None
    (found,) = allocate(devices, claim("c", exactly(count=3)), zone="x") or [{}]
    (term,) = found["nodeSelector"]["nodeSelectorTerms"]
    assert [e["values"] for e in term["matchExpressions"]] == [["x", "y"], ["x"]]


def test_who_only_looks_gets_devices_in_use_and_each_once() -> None:
    devices = known(slice_of("n", gpu("a"), gpu("b")))
    (taken,) = allocate(devices, claim("c", exactly(count=2))) or [{}]
    keep(devices, "held", taken)
    looking = claim("c", exactly(adminAccess=True, allocationMode="All"))
    assert chosen(allocate(devices, looking)) == [["a", "b"]]
    assert chosen(allocate(devices, claim("c", exactly(adminAccess=True, count=2)))) == [["a", "b"]]
    assert allocate(devices, claim("c", exactly(adminAccess=True, count=3))) is None


def test_configuration_names_the_requests_that_it_is_for() -> None:
    opaque = {"opaque": {"driver": "gpu.example.com", "parameters": {"a": 1}}}
    fancy = {**device_class("fancy"), "spec": {"config": [opaque]}}
    devices = known(fancy, slice_of("n", gpu("a"), gpu("b"), gpu("c")))
    one, two = exactly("one", deviceClassName="fancy"), exactly("two", deviceClassName="fancy")
    config = [{**opaque, "requests": ["two", "three"]}, opaque, {**opaque, "requests": ["nobody"]}]
    (found,) = allocate(devices, claim("c", one, two, exactly("three"), config=config)) or [{}]
    told = [(c["source"], c.get("requests")) for c in found["devices"]["config"]]
    assert told == [("FromClass", ["one", "two"]), ("FromClaim", ["two", "three"]), ("FromClaim", None)]


# -- searching


def test_an_alternative_is_left_again_where_it_would_be_too_many_or_spoil_the_rest() -> None:
    large = gpu("large", model="large")
    devices = known(slice_of("n", large, gpu("small-0", model="small"), gpu("small-1", model="small")))
    model = "device.attributes['gpu.example.com'].model"
    options = [
        {"name": "any", "deviceClassName": "gpu"},
        {"name": "small", "deviceClassName": "gpu", "selectors": [{"cel": {"expression": f"{model} == 'small'"}}]},
    ]
    either = {"name": "either", "firstAvailable": options}
    only_large = exactly("large", f"{model} == 'large'")
    (found,) = allocate(devices, claim("c", either, only_large)) or [{}]
    assert [(r["request"], r["device"]) for r in found["devices"]["results"]] == [
        ("either/any", "small-0"),
        ("large", "large"),
    ]
    both = [either, only_large, {"name": "more", "firstAvailable": [{**options[0], "count": 2}, options[1]]}]
    (found,) = allocate(devices, claim("c", *both)) or [{}]
    assert [r["request"] for r in found["devices"]["results"]] == ["either/any", "large", "more/small"]


def test_no_claim_has_more_devices_than_can_be_written_down() -> None:
    devices = known(slice_of("n", *(gpu(f"g{index:02}") for index in range(40))))
    assert len((chosen(allocate(devices, claim("c", exactly(count=32)))) or [[]])[0]) == 32
    message = "claim default/c: number of requested devices 33 exceeds the claim limit of 32"
    with pytest.raises(Unallocatable, match=message):
        allocate(devices, claim("c", exactly(count=33)))
    with pytest.raises(Unallocatable, match="exceeds the claim limit"):
        allocate(devices, claim("c", exactly(allocationMode="All")))
    found = allocate(devices, *(claim(f"c{index}", exactly()) for index in range(40)))
    assert found and len({names[0] for names in chosen(found) or ()}) == 40
    options = [{"name": "all", "deviceClassName": "gpu", "count": 32}, {"name": "one", "deviceClassName": "gpu"}]
    two = claim("c", exactly("first"), {"name": "rest", "firstAvailable": options})
    (made,) = allocate(devices, two) or [{}]
    assert [r["request"] for r in made["devices"]["results"]] == ["first", "rest/one"]


def test_a_search_comes_to_an_end() -> None:
    alike = [gpu(f"g{index:02}", numa=index) for index in range(24)]
    hopeless = claim("c", exactly(count=12), constraints=[{"matchAttribute": "gpu.example.com/numa"}])
    assert allocate(known(slice_of("n", *alike)), hopeless) is None
    pairs = [gpu(f"g{index:02}", numa=index // 2) for index in range(24)]
    three = [exactly(f"r{index}", count=2) for index in range(3)]
    constraint = {"matchAttribute": "gpu.example.com/other"}
    endless = claim("c", *three, exactly("last"), constraints=[{**constraint, "requests": ["last"]}])
    with pytest.raises(Unallocatable, match="node n: timed out trying to allocate devices"):
        allocate(known(slice_of("n", *pairs)), endless)


def test_all_devices_that_do_not_go_together_are_a_mistake() -> None:
    devices = known(slice_of("n", gpu("a", numa=0), gpu("b", numa=1)))
    wanted = claim("c", exactly(allocationMode="All"), constraints=[{"matchAttribute": "gpu.example.com/numa"}])
    with pytest.raises(Unallocatable, match=r"cannot add device gpu.example.com/n/b because a claim constraint"):
        allocate(devices, wanted)


def test_a_selector_that_fails_says_whose_it_is() -> None:
    devices = known(slice_of("n", gpu("a")))
    with pytest.raises(Unallocatable, match=r"^claim default/c: selector #0: CEL runtime error: .*no such key: nope"):
        allocate(devices, claim("c", exactly("gpu", "device.attributes['gpu.example.com'].nope == 1")))
    bad = {**device_class(), "spec": {"selectors": [{"cel": {"expression": "device.attributes['x'].nope"}}]}}
    devices.set_class("gpu", bad)
    with pytest.raises(Unallocatable, match=r"^class gpu: selector #0: CEL runtime error"):
        allocate(devices, claim("c", exactly()))
