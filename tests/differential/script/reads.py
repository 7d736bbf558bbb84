"""Reading: selectors, paging, revisions, watches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.differential.script.protocol import ALL_MAPS, MAPS, PODS, named
from tests.differential.steps import (
    MERGE,
    PARTIAL,
    PARTIALS,
    TABLE,
    YAML,
    Script,
    Step,
)


def steps() -> Iterator[Step]:
    for part in (_lists, _paging, _revisions, _watches):
        add = Script(part.__name__.strip("_"))
        part(add)
        yield from add.steps


def _lists(add: Script) -> None:
    for number in range(6):
        labels = {"set": "lists", "n": str(number), "even": str(number % 2 == 0).lower()}
        if number < 3:
            labels["low"] = ""
        body = named(f"list-{number}", data={"n": str(number)})
        body["metadata"]["labels"] = labels
        add(f"make-{number}", "POST", MAPS, body)
    for name, selector in {
        "equal": "set=lists,n=1",
        "double-equal": "set==lists,n==2",
        "not-equal": "set=lists,n!=1",
        "in": "set=lists,n in (1,2)",
        "in-spaces": "set=lists, n in ( 1 , 2 )",
        "notin": "set=lists,n notin (1,2)",
        "exists": "set=lists,low",
        "not-exists": "set=lists,!low",
        "greater": "set=lists,n>3",
        "less": "set=lists,n<1",
        "empty-value": "set=lists,low=",
        "nothing": "set=none",
        "bad-operator": "set=>lists",
        "bad-key": "a b=c",
        "bad-key-slash": "a/b/c=d",
        "bad-value": "set=a b",
        "bad-value-characters": "set=-a",
        "bad-in": "n in 1,2",
        "empty-in": "n in ()",
        "open-in": "n in (1",
        "comma": "set=lists,",
        "not-a-number": "n>x",
        "long": "set=" + "x" * 64,
    }.items():
        add(f"label-{name}", "GET", f"{MAPS}?labelSelector={selector}", accept=PARTIALS)
    for name, selector in {
        "name": "metadata.name=list-1",
        "not-name": "metadata.name!=list-1,metadata.namespace={ns}",
        "namespace": "metadata.namespace={other}",
        "two-names": "metadata.name=list-1,metadata.name=list-2",
        "unknown": "data.a=b",
        "no-operator": "metadata.name",
        "double-equal": "metadata.name==list-2",
        "escape": "metadata.name=a\\",
        "in": "metadata.name in (a)",
    }.items():
        add(f"field-{name}", "GET", f"{MAPS}?labelSelector=set=lists&fieldSelector={selector}", accept=PARTIALS)
    pods = {"node": "spec.nodeName=none", "phase": "status.phase=Pending", "ip": "status.podIP=", "host": "spec.hostNetwork=false",
            "policy": "spec.restartPolicy=Always", "bad": "spec.containers=c"}  # fmt: skip
    for name, selector in pods.items():
        add(f"pod-field-{name}", "GET", f"{PODS}?fieldSelector={selector}", accept=PARTIALS)
    add("secret-field", "GET", "/api/v1/namespaces/{ns}/secrets?fieldSelector=type=Opaque", accept=PARTIALS)
    add("namespace-field", "GET", "/api/v1/namespaces?fieldSelector=status.phase=None", accept=PARTIALS)
    add("node-field", "GET", "/api/v1/nodes?fieldSelector=spec.unschedulable=true", accept=PARTIALS)
    add(
        "event-field",
        "GET",
        "/api/v1/namespaces/{ns}/events?fieldSelector=involvedObject.kind=Nothing",
        accept=PARTIALS,
    )
    add("job-field", "GET", "/apis/batch/v1/namespaces/{ns}/jobs?fieldSelector=status.successful=9", accept=PARTIALS)
    add(
        "all-namespaces",
        "GET",
        ALL_MAPS + "?labelSelector=set=lists&fieldSelector=metadata.namespace={ns}",
        accept=PARTIALS,
    )
    add("empty-list", "GET", "/api/v1/namespaces/{other}/secrets?labelSelector=none")
    add("empty-table", "GET", "/api/v1/namespaces/{other}/secrets?labelSelector=none", accept=TABLE)
    add("whole", "GET", MAPS + "?labelSelector=set=lists,low")
    add("whole-yaml", "GET", MAPS + "?labelSelector=set=lists,low", accept=YAML)
    add("whole-pretty", "GET", MAPS + "?labelSelector=set=lists,low&pretty=true")


def _paging(add: Script) -> None:
    query = MAPS + "?labelSelector=set=lists&limit="
    add("first", "GET", query + "2", accept=PARTIALS)
    add("second", "GET", query + "2&continue={paging/first:metadata.continue}", accept=PARTIALS)
    add("third", "GET", query + "2&continue={paging/second:metadata.continue}", accept=PARTIALS)
    add("exact", "GET", query + "6", accept=PARTIALS)
    add("more", "GET", query + "100", accept=PARTIALS)
    add("zero", "GET", query + "0", accept=PARTIALS)
    add("negative", "GET", query + "-1", accept=PARTIALS)
    add("not-a-number", "GET", query + "x", accept=PARTIALS)
    add("bad-continue", "GET", query + "2&continue=zz", accept=PARTIALS)
    add("continue-base64", "GET", query + "2&continue=e30", accept=PARTIALS)
    add(
        "continue-with-revision",
        "GET",
        query + "2&resourceVersion=5&continue={paging/first:metadata.continue}",
        accept=PARTIALS,
    )
    add(
        "continue-with-zero",
        "GET",
        query + "2&resourceVersion=0&continue={paging/first:metadata.continue}",
        accept=PARTIALS,
    )
    match = "2&resourceVersionMatch=Exact&continue={paging/first:metadata.continue}"
    add("continue-with-match", "GET", query + match, accept=PARTIALS)
    add(
        "no-selector-table",
        "GET",
        "/api/v1/namespaces/{ns}/configmaps?limit=1&fieldSelector=metadata.namespace={ns}",
        accept=TABLE,
    )
    add("from-zero", "GET", query + "2&resourceVersion=0", accept=PARTIALS)
    add("all-of-one-kind", "GET", MAPS + "?limit=1", accept=PARTIALS)


def _revisions(add: Script) -> None:
    one = MAPS + "/list-1"
    add("current", "GET", MAPS + "?labelSelector=set=lists,n=0")
    add("change", "PATCH", MAPS + "/list-0", {"data": {"n": "changed"}}, type=MERGE)
    current = "{revisions/current:metadata.resourceVersion}"
    query = MAPS + "?labelSelector=set=lists,n=0&"
    for name, asked in {
        "zero": "resourceVersion=0",
        "not-older": f"resourceVersion={current}&resourceVersionMatch=NotOlderThan",
        "exact": f"resourceVersion={current}&resourceVersionMatch=Exact",
        "plain": f"resourceVersion={current}",
        "match-alone": "resourceVersionMatch=Exact",
        "match-zero-exact": "resourceVersion=0&resourceVersionMatch=Exact",
        "match-zero-not-older": "resourceVersion=0&resourceVersionMatch=NotOlderThan",
        "match-nonsense": f"resourceVersion={current}&resourceVersionMatch=Nonsense",
        "letters": "resourceVersion=x",
        "negative": "resourceVersion=-1",
        "exact-limit": f"resourceVersion={current}&resourceVersionMatch=Exact&limit=1",
        "plain-limit": f"resourceVersion={current}&limit=1",
        "initial-events": "sendInitialEvents=true",
    }.items():
        add(f"list-{name}", "GET", query + asked)
    for name, asked in {"zero": "0", "letters": "x", "future": "999999999", "current": current}.items():
        add(f"get-{name}", "GET", f"{one}?resourceVersion={asked}")
    add("list-compacted", "GET", query + "resourceVersion=1&resourceVersionMatch=Exact")


def _watches(add: Script) -> None:
    query = MAPS + "?watch=true&labelSelector=set=watched"
    add("start", "GET", MAPS + "?labelSelector=set=watched")
    since = "&resourceVersion={watches/start:metadata.resourceVersion}"

    def changed(labels: dict[str, str], value: str) -> dict[str, Any]:
        body = named("watched", data={"v": value})
        body["metadata"]["labels"] = labels
        return body

    add("make", "POST", MAPS, changed({"set": "watched"}, "1"))
    add("change", "PUT", MAPS + "/watched", changed({"set": "watched"}, "2"))
    add("leave", "PUT", MAPS + "/watched", changed({"set": "left"}, "3"))
    add("return", "PUT", MAPS + "/watched", changed({"set": "watched"}, "4"))
    add("delete", "DELETE", MAPS + "/watched")
    add("all-events", "GET", query + since, events=5)
    add("as-table", "GET", query + since, events=3, accept=TABLE)
    add("as-partial", "GET", query + since, events=2, accept=PARTIAL)
    add("by-field", "GET", MAPS + "?watch=1&fieldSelector=metadata.name=watched" + since, events=4)
    add("old-path", "GET", "/api/v1/watch/namespaces/{ns}/configmaps?labelSelector=set=watched" + since, events=1)
    add("old-path-named", "GET", "/api/v1/watch/namespaces/{ns}/configmaps/watched?" + since[1:], events=1)
    initial = "&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    add("initial-events", "GET", MAPS + "?watch=true&labelSelector=set=lists,n=1" + initial, events=2)
    add(
        "initial-events-table",
        "GET",
        MAPS + "?watch=true&labelSelector=set=lists,n=1" + initial,
        events=2,
        accept=TABLE,
    )
    add("initial-events-no-match", "GET", query + "&sendInitialEvents=true")
    add(
        "initial-events-no-bookmarks",
        "GET",
        query + "&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&timeoutSeconds=1",
    )
    add("match-without-initial", "GET", query + since + "&resourceVersionMatch=NotOlderThan")
    add("match-exact", "GET", query + "&sendInitialEvents=true&resourceVersionMatch=Exact")
    add("too-old", "GET", query + "&resourceVersion=1")
    add("letters", "GET", query + "&resourceVersion=x")
    add("with-limit", "GET", query + since + "&limit=1", events=1)
    add("with-continue", "GET", query + since + "&continue=x&timeoutSeconds=1")
    add("bad-timeout", "GET", query + "&timeoutSeconds=x")
    add("bad-watch-value", "GET", MAPS + "?watch=nonsense&labelSelector=set=none&timeoutSeconds=1")
    add("watch-false", "GET", MAPS + "?watch=false&labelSelector=set=none")
    add("watch-zero", "GET", MAPS + "?watch=0&labelSelector=set=none")
    add("yaml", "GET", query + since, accept=YAML)
    add("one-by-path", "GET", MAPS + "/list-1?watch=true")
    add("ends", "GET", query + "&timeoutSeconds=1")
