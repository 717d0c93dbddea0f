"""What settings change, and that nothing is left unanswered, uncounted or open."""

from __future__ import annotations

import inspect

import pytest

from entrepot.errors import StoreError
from entrepot.server import routes
from entrepot.server.app import handlers
from entrepot.server.origins import Origins

pytestmark = pytest.mark.anyio
DIGEST = f"sha256:{'0' * 64}"
UPLOAD = "0" * 32

READS = [
    ("GET", "/v2/"),
    ("GET", "/v2/_oci/ext/discover"),
    ("GET", "/v2/_catalog"),
    ("GET", "/v2/a/manifests/latest"),
    ("HEAD", f"/v2/a/blobs/{DIGEST}"),
    ("GET", "/v2/a/tags/list"),
    ("GET", f"/v2/a/referrers/{DIGEST}"),
]
WRITES = [
    ("PUT", "/v2/a/manifests/latest"),
    ("POST", "/v2/a/blobs/uploads/"),
    ("POST", f"/v2/a/blobs/uploads/?digest={DIGEST}"),
    ("POST", f"/v2/a/blobs/uploads/?mount={DIGEST}&from=b"),
    ("GET", f"/v2/a/blobs/uploads/{UPLOAD}"),
    ("PATCH", f"/v2/a/blobs/uploads/{UPLOAD}"),
    ("PUT", f"/v2/a/blobs/uploads/{UPLOAD}?digest={DIGEST}"),
    ("DELETE", f"/v2/a/blobs/uploads/{UPLOAD}"),
]
DELETES = [
    ("DELETE", "/v2/a/manifests/latest"),
    ("DELETE", f"/v2/a/manifests/{DIGEST}"),
    ("DELETE", f"/v2/a/blobs/{DIGEST}"),
]


async def statuses(driver, requests):
    """The statuses and codes of requests."""
    found = set()
    for method, target in requests:
        answer = await driver.ask(method, target)
        found.add((answer.status, answer.code if answer.status >= 400 and method != "HEAD" else None))
    return found


async def test_every_route_has_a_handler(run, root):
    """No type of route is without an answer."""
    async with run(root) as driver:
        known = set(handlers(driver.registry, Origins(None, ())))
    concrete = {
        kind
        for _, kind in inspect.getmembers(routes, inspect.isclass)
        if issubclass(kind, routes.Route) and not kind.__name__.startswith("_") and kind is not routes.Route
    }
    assert known == concrete


async def test_read_only(run, root):
    """A registry that is read only answers every write and delete with 405, and reads as ever."""
    async with run(root) as driver:
        digest = await driver.push_image("a", "latest")
    async with run(root, registry__read_only=True) as driver:
        assert await statuses(driver, WRITES + DELETES) == {(405, "UNSUPPORTED")}
        assert (await driver.ask("GET", "/v2/a/manifests/latest")).headers["docker-content-digest"] == digest
        assert (await driver.ask("PUT", "/v2/a/manifests/x")).headers["allow"] == "GET, HEAD"


async def test_no_deletes(run, root):
    """A registry that does not delete takes pushes, and lets uploads be cancelled."""
    async with run(root, registry__delete=False) as driver:
        await driver.push_image("a", "latest")
        assert await statuses(driver, DELETES) == {(405, "UNSUPPORTED")}
        upload = (
            (await driver.ask("POST", "/v2/a/blobs/uploads/"))
            .headers["location"]
            .removeprefix("http://registry.example")
        )
        assert (await driver.ask("DELETE", upload)).status == 204


async def test_anonymous_pull(run, root):
    """Who may only pull is refused every write, and may read all."""
    async with run(root) as driver:
        await driver.push_image("a", "latest")
    async with run(root, auth__anonymous="pull", http__listen="0.0.0.0:0") as driver:
        assert await statuses(driver, WRITES + DELETES) == {(403, "DENIED")}
        assert {status for status, _ in await statuses(driver, READS)} == {200, 404}


async def test_mount_without_the_right_to_pull_the_source(run, root):
    """A mount from where one may not pull begins an upload: it is not told whether the blob is there."""
    async with run(root) as driver:
        digest = await driver.push_blob("secret", b"secret")
        api = driver.app._api

        class PushOnly:
            def allows(self, permission):
                return permission.repository != "secret"

            def may_push(self, repository):
                return repository != "secret"

        class Authoriser:
            def authorise(self, route, request):
                return PushOnly()

        api._authoriser = Authoriser()
        answer = await driver.ask("POST", f"/v2/a/blobs/uploads/?mount={digest}&from=secret")
        assert answer.status == 202
        assert (await driver.ask("GET", f"/v2/a/blobs/{digest}")).status == 404


async def test_public_url(run, root):
    """`http.public-url` is what Locations begin with, whatever the request says."""
    async with run(root, http__public_url="https://images.example/") as driver:
        answer = await driver.ask("POST", "/v2/a/blobs/uploads/", headers={"host": "10.0.0.1:5000"})
        assert answer.headers["location"].startswith("https://images.example/v2/a/blobs/uploads/")


async def test_trusted_proxy(run, root):
    """What a trusted proxy says of scheme and host counts; what others say does not."""
    headers = {"host": "10.0.0.1:5000", "x-forwarded-proto": "https", "x-forwarded-host": "images.example"}
    async with run(root, http__trusted_proxies=["10.1.0.0/16"]) as driver:
        answer = await driver.ask("POST", "/v2/a/blobs/uploads/", headers=headers, client="10.1.2.3")
        assert answer.headers["location"].startswith("https://images.example/v2/")
        answer = await driver.ask("POST", "/v2/a/blobs/uploads/", headers=headers, client="10.2.2.3")
        assert answer.headers["location"].startswith("http://10.0.0.1:5000/v2/")


async def test_warnings(run, root):
    """Configured warnings are on every answer, in the specification's form, each in a header of its own."""
    async with run(root, registry__warnings=['Moving on "Friday"', "Read only soon"]) as driver:
        for method, target in READS:
            answer = await driver.ask(method, target)
            warnings = [value for name, value in answer.lines if name == b"warning"]
            assert warnings == [b'299 - "Moving on \\"Friday\\""', b'299 - "Read only soon"']


async def test_chunk_min_length(run, root):
    """The least size of a chunk is told when an upload begins, if there is one."""
    async with run(root, uploads__chunk_min_bytes=5_242_880) as driver:
        answer = await driver.ask("POST", "/v2/a/blobs/uploads/")
        assert answer.headers["oci-chunk-min-length"] == "5242880"
    async with run(root) as driver:
        assert "oci-chunk-min-length" not in (await driver.ask("POST", "/v2/a/blobs/uploads/")).headers


async def test_manifest_limit(run, root):
    """The largest manifest is a setting."""
    async with run(root, manifests__max_bytes=100) as driver:
        assert (await driver.ask("PUT", "/v2/a/manifests/x", b" " * 101)).status == 413


async def test_allow_missing(run, root):
    """With everything allowed to be missing, a manifest of absent blobs is taken."""
    raw = (
        b'{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","layers":[],'
        b'"config":{"mediaType":"application/x","size":1,"digest":"%b"}}' % DIGEST.encode()
    )
    async with run(root) as driver:
        assert (await driver.ask("PUT", "/v2/a/manifests/x", raw)).status == 400
    async with run(root, manifests__allow_missing="all") as driver:
        assert (await driver.ask("PUT", "/v2/a/manifests/x", raw)).status == 201


async def test_what_fails_is_not_told(run, root, capsys):
    """An error that is not for clients is 500 without its words, is counted, and is in the log with them."""

    async def fail(route, request, access):
        raise RuntimeError("the password is xyzzy")

    async with run(root) as driver:
        driver.app._api._handlers[routes.ListTags] = fail
        answer = await driver.ask("GET", "/v2/a/tags/list")
        assert (answer.status, answer.code) == (500, "UNKNOWN")
        assert b"xyzzy" not in answer.body
        assert b'"ListTags GET 500":1' in driver.metrics.snapshot()
        assert driver.metrics.in_flight == 0
    assert "xyzzy" in capsys.readouterr().err


async def test_not_ready(run, root):
    """Readiness is 503 while the storage does not work, and says no more than that."""

    async def check():
        raise StoreError("cannot write to /secret/path")

    async with run(root) as driver:
        assert (await driver.ask("GET", "/readyz")).status == 200
        driver.registry.check = check
        answer = await driver.ask("GET", "/readyz")
        assert (answer.status, b"secret" in answer.body) == (503, False)
        assert (await driver.ask("GET", "/livez")).status == 200


async def test_renewal(run, root):
    """Leases are renewed for those who may push, and for nobody else."""
    age = "SELECT {now} - touched_at FROM repository_blob"
    used_up = "UPDATE repository_blob SET touched_at = touched_at - 20 * 3600000"

    async def use_up(tx):
        await tx.execute(used_up)

    async with run(root) as driver:
        digest = await driver.push_blob("a", b"x")
        await driver.registry._database.transaction(use_up)
    for anonymous, renews in (("pull", False), ("push", True)):
        async with run(root, auth__anonymous=anonymous) as driver:
            assert (await driver.ask("HEAD", f"/v2/a/blobs/{digest}")).status == 200
            [(milliseconds,)] = await driver.registry._database.scan(age)
            assert (milliseconds < 3600000) is renews
