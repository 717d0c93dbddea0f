"""From request lines to routes, without a server."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrepot.errors import MethodNotAllowed, RegistryError, RequestTooLong
from entrepot.oci.digest import Digest
from entrepot.server.router import match
from entrepot.server.routes import (
    Action,
    AppendUpload,
    BeginUpload,
    CancelUpload,
    CompleteUpload,
    DeleteBlob,
    DeleteManifest,
    Discover,
    GetBlob,
    GetManifest,
    GetUpload,
    ListReferrers,
    ListRepositories,
    ListTags,
    MountBlob,
    Page,
    PushBlob,
    PutManifest,
    Route,
    Support,
)

D = f"sha256:{'a' * 64}"
U = "0123456789abcdef" * 2

ROUTES = [
    ("GET", "/v2/", "", Support()),
    ("GET", "/v2", "", Support()),
    ("GET", "/v2/_catalog", "n=5&last=a", ListRepositories(Page(5, "a"))),
    ("GET", "/v2/_oci/ext/discover", "", Discover()),
    ("GET", f"/v2/a/b/blobs/{D}", "", GetBlob("a/b", D)),
    ("DELETE", f"/v2/a/blobs/{D}", "", DeleteBlob("a", D)),
    ("GET", "/v2/a/manifests/latest", "", GetManifest("a", "latest")),
    ("GET", f"/v2/a/manifests/{D}", "ns=docker.io", GetManifest("a", D)),
    ("PUT", "/v2/a/manifests/latest", "", PutManifest("a", None, ("latest",))),
    ("PUT", f"/v2/a/manifests/{D}", "tag=x&tag=y&tag=x", PutManifest("a", D, ("x", "y"))),
    ("PUT", "/v2/a/manifests/x", "tag=y&tag=x", PutManifest("a", None, ("x", "y"))),
    ("DELETE", "/v2/a/manifests/latest", "", DeleteManifest("a", "latest")),
    ("POST", "/v2/a/blobs/uploads/", "", BeginUpload("a", "sha256")),
    ("POST", "/v2/a/blobs/uploads", "digest-algorithm=sha512", BeginUpload("a", "sha512")),
    ("POST", "/v2/a/blobs/uploads/", f"digest={D}", PushBlob("a", D)),
    ("POST", "/v2/a/blobs/uploads/", f"mount={D}&from=b/c", MountBlob("a", D, "b/c")),
    ("POST", "/v2/a/blobs/uploads/", f"from=b%2Fc&mount={D.replace(':', '%3A')}", MountBlob("a", D, "b/c")),
    ("POST", "/v2/a/blobs/uploads/", f"mount={D}", MountBlob("a", D, None)),
    ("POST", "/v2/a/blobs/uploads/", f"mount={D}&from=B", BeginUpload("a", "sha256")),
    ("GET", f"/v2/a/blobs/uploads/{U}", "", GetUpload("a", U)),
    ("PATCH", f"/v2/a/blobs/uploads/{U}", "_state=x", AppendUpload("a", U)),
    ("PUT", f"/v2/a/blobs/uploads/{U}", f"digest={D}", CompleteUpload("a", U, D)),
    ("DELETE", f"/v2/a/blobs/uploads/{U}", "", CancelUpload("a", U)),
    ("GET", "/v2/a/tags/list", "", ListTags("a", Page())),
    ("GET", "/v2/a/tags/list", "n=5000&last=x", ListTags("a", Page(1_000, "x"))),
    ("GET", f"/v2/a/referrers/{D}", "", ListReferrers("a", D, None, Page())),
    ("GET", f"/v2/a/referrers/{D}", "artifactType=a%2Fb%2Bjson", ListReferrers("a", D, "a/b+json", Page())),
]


@pytest.mark.parametrize(("method", "path", "query", "route"), ROUTES)
def test_route(method, path, query, route):
    """Each endpoint has its route; HEAD has GET's."""
    assert match(method, path.encode(), query.encode()) == route
    if method == "GET":
        assert match("HEAD", path.encode(), query.encode()) == route


ACTIONS = {
    Action.PULL: {GetBlob, GetManifest, ListTags, ListReferrers},
    Action.PUSH: {
        AppendUpload,
        BeginUpload,
        CancelUpload,
        CompleteUpload,
        GetUpload,
        MountBlob,
        PushBlob,
        PutManifest,
    },
    Action.DELETE: {DeleteBlob, DeleteManifest},
    Action.LIST: {ListRepositories},
}


@pytest.mark.parametrize("route", [route for *_, route in ROUTES], ids=lambda route: type(route).__name__)
def test_permissions(route):
    """Each route needs exactly the right to do what it does, to the repository that it names."""
    needed = {action for action, kinds in ACTIONS.items() if type(route) in kinds}
    assert {permission.action for permission in route.permissions} == needed
    assert {permission.repository for permission in route.permissions} <= {getattr(route, "repository", None)}
    assert needed or isinstance(route, Support | Discover)


def test_route_without_permissions():
    """A route that states no permissions cannot be built."""

    class Forgotten(Route):
        pass

    with pytest.raises(TypeError, match="permissions"):
        Forgotten()


COMPONENT = st.from_regex(r"[a-z0-9]{1,5}(?:(?:\.|_|__|-{1,3})[a-z0-9]{1,5}){0,2}", fullmatch=True)
WORDS = st.sampled_from(["blobs", "uploads", "manifests", "tags", "list", "referrers", "v2"])
NAMES = st.lists(COMPONENT | WORDS, min_size=1, max_size=6).map("/".join)


@given(name=NAMES, tag=st.from_regex(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,20}", fullmatch=True))
def test_any_name(name, tag):
    """Whatever a repository is called, every endpoint finds it."""
    assert match("GET", f"/v2/{name}/manifests/{tag}".encode()) == GetManifest(name, tag)
    assert match("GET", f"/v2/{name}/blobs/{D}".encode()) == GetBlob(name, D)
    assert match("PATCH", f"/v2/{name}/blobs/uploads/{U}".encode()) == AppendUpload(name, U)
    assert match("POST", f"/v2/{name}/blobs/uploads/".encode()) == BeginUpload(name, "sha256")
    assert match("GET", f"/v2/{name}/tags/list".encode()) == ListTags(name, Page())
    assert match("GET", f"/v2/{name}/referrers/{D}".encode()) == ListReferrers(name, D, None, Page())


@given(
    method=st.sampled_from(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", ""]),
    path=st.binary(max_size=60)
    | st.lists(
        st.sampled_from([b"/", b"v2", b"..", b"a", b"blobs", b"uploads", b"tags", b"%2F", b"\0", b":", b"%"]),
        max_size=12,
    ).map(lambda parts: b"/v2/" + b"".join(parts)),
    query=st.binary(max_size=60)
    | st.sampled_from([b"n=1", b"digest=", b"mount=%00", b"tag=a", b"n=%31", b"&&&=", b"%"]),
)
def test_anything(method, path, query):
    """Any request line is a route or an error of the specification, and nothing gets through unparsed."""
    try:
        route = match(method, path, query)
    except RegistryError:
        return
    assert isinstance(route, Route)
    assert ".." not in getattr(route, "repository", "").split("/")


def test_methods_that_are_allowed():
    """A wrong method is told the right ones."""
    with pytest.raises(MethodNotAllowed) as caught:
        match("POST", b"/v2/a/tags/list")
    assert caught.value.allowed == ("GET", "HEAD")


def test_query_limit():
    """A query as long as is allowed is read, one byte more is not."""
    base = f"/v2/a/blobs/{D}".encode()
    assert match("GET", base, b"x" * 8_192) == GetBlob("a", Digest(D))
    with pytest.raises(RequestTooLong):
        match("GET", base, b"x" * 8_193)
