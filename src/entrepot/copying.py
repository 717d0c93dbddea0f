"""The one copy: pull, push, copy, sync and mirror are this walk between two stores.

The graph below a root is written from its leaves upwards, so that whatever is interrupted leaves nothing at
the destination that refers to something absent:

    blobs of an image  →  its manifest  →  the index that lists it  →  the names
                                                                    ⇢  second phase: referrers

Nothing is moved that is there already. A manifest of one image proves that everything below it is there, so
the walk stops; an index proves nothing (after `pull --platform amd64` the index is there and the arm64 child
is not), so it is always descended, from the destination's own bytes when it has them. An unchanged pull
therefore costs one request.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Literal, ParamSpec, Protocol, Self, TypeAlias, TypeVar

import anyio

from entrepot.errors import CopyError, EntrepotError, InvalidDocument, ManifestUnknown, VerificationError
from entrepot.graph import Edge, Kind, Role, edges
from entrepot.oci import mediatype
from entrepot.oci.descriptor import Descriptor
from entrepot.oci.digest import Digest
from entrepot.oci.document import Manifest, parse_manifest
from entrepot.oci.index import Index
from entrepot.oci.platform import Platform
from entrepot.reference import RefName
from entrepot.store import Destination, MountsBlobs, Origin, Source
from entrepot.wire.exchange import Action

__all__ = [
    "DEFAULT_JOBS",
    "MAX_DEPTH",
    "MAX_MANIFEST_BYTES",
    "MAX_NESTED",
    "MAX_REFERRERS",
    "CopyResult",
    "Report",
    "copy",
]

DEFAULT_JOBS = 4
"""How many blobs and manifests are on their way at a time."""

MAX_DEPTH = 16
"""How many indexes may be inside one another."""

MAX_NESTED = 1000
"""How many indexes inside an index are read in search of one for a platform."""

MAX_MANIFEST_BYTES = 4 << 20
"""What registries must take and hardly any takes more of ("at least 4 megabytes")."""

MAX_REFERRERS = 1000
"""How many referrers, and referrers of referrers, one copy takes along."""

Side: TypeAlias = Literal["source", "destination"]
ContentKind: TypeAlias = Literal["blob", "manifest"]
_T = TypeVar("_T")
_P = ParamSpec("_P")


class Report(Protocol):
    """Told about every descriptor that the walk meets, once dealt with; `Recorder.decide` is one."""

    def __call__(
        self,
        descriptor: Descriptor,
        *,
        kind: ContentKind,
        role: str,
        action: Action,
        reason: str,
        platform: str | None = None,
    ) -> None:
        """Take note; blocks the walk while it does."""


@dataclass(frozen=True, slots=True)
class CopyResult:
    """What a copy has done.

    Attributes:
        descriptor: The root, as the destination now has it.
        counts: How many descriptors were met, by what was done about them.
        moved_bytes: Bytes of content that was written; what was there, mounted or skipped does not count.
        referrers: The referrers that were taken along.
    """

    descriptor: Descriptor
    counts: dict[Action, int]
    moved_bytes: int
    referrers: tuple[Descriptor, ...] = ()


async def copy(
    source: Source,
    destination: Destination,
    reference: RefName | Digest,
    *,
    names: Collection[RefName] = (),
    platforms: Collection[Platform] | None = None,
    referrers: bool = False,
    origin: Origin | None = None,
    jobs: int = DEFAULT_JOBS,
    moved: Action = Action.COPIED,
    report: Report | None = None,
) -> CopyResult:
    """Copy what a reference stands for, and everything below it, without changing a byte.

    Idempotent, and a copy that was interrupted goes on where the destination's content ends. Cancelled, it
    returns after all it had begun has been cancelled; what was written stays.

    Args:
        source: Where from.
        destination: Where to; it verifies what it is given.
        reference: What, in the source.
        names: What the root is to be called at the destination; written last.
        platforms: Which children of a root index to copy, the best match for each; None for all. The index
            itself stays as it is and is sparse at the destination. No effect on a root that is no index.
        referrers: Whether to copy, after the root, the manifests whose subject is among what was copied.
        origin: Where the source's blobs are, for a destination that can mount them.
        jobs: How many blobs and manifests may be on their way at a time.
        moved: What to call it in decisions: downloaded, uploaded, copied.
        report: Told about each decision, once for each descriptor that was met.

    Raises:
        ManifestUnknown, NameUnknown: The source has no such reference, or nothing for one of the platforms.
        CopyError: One side failed; says which and at which digest, and `__cause__` says why.
    """
    walk = _Walk(source, destination, names=names, origin=origin, jobs=jobs, moved=moved, report=report)
    try:
        return await walk.run(reference, platforms=platforms, referrers=referrers)
    except BaseExceptionGroup as group:
        failure = first_failure(group)
        raise failure from failure.__cause__


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the walk met a descriptor; says nothing about its content."""

    role: str
    platform: str | None = None
    depth: int = 0


class _Walk:
    """One copy under way.

    Each digest is dealt with by the task that met it first; others that meet it wait for its event. A failure
    anywhere cancels the task group that all of them are in, so nobody waits for an event that never comes.
    The semaphore is held around single requests and transfers only, never while waiting for children, so a
    deep graph cannot use it up.
    """

    def __init__(
        self,
        source: Source,
        destination: Destination,
        *,
        names: Collection[RefName],
        origin: Origin | None,
        jobs: int,
        moved: Action,
        report: Report | None,
    ) -> None:
        self._source = source
        self._destination = destination
        self._names = names
        self._origin = origin
        self._slots = anyio.Semaphore(max(1, jobs))
        self._moved = moved
        self._report = report
        self._counts: dict[Action, int] = {}
        self._moved_bytes = 0
        self._settled: dict[Digest, anyio.Event] = {}
        self._manifests: dict[Digest, Manifest] = {}
        self._spoilt: set[Digest] = set()
        self._visited: list[Digest] = []
        self._named = not names
        self._chosen: frozenset[Digest] | None = None

    async def run(
        self, reference: RefName | Digest, *, platforms: Collection[Platform] | None, referrers: bool
    ) -> CopyResult:
        async with self._slots:
            root = await self._source.resolve(reference)
        if platforms is not None:
            self._chosen = await self._choose(root, platforms)
        await self._manifest(root, _Place("root"))
        if not self._named:
            await self._name(root)
        taken = await self._referrers() if referrers else ()
        return CopyResult(root, self._counts, self._moved_bytes, taken)

    # -- the graph

    async def _edge(self, edge: Edge, parent: _Place) -> None:
        descriptor = edge.descriptor
        platform = str(descriptor.platform) if descriptor.platform else parent.platform
        place = _Place(edge.role.value, platform, parent.depth + 1)
        if edge.optional:
            self._decide(descriptor, place, Action.SKIPPED, "its licence forbids to pass it on")
        elif (
            edge.role is Role.MANIFEST and self._chosen is not None and descriptor.digest not in self._chosen
        ):
            self._decide(descriptor, place, Action.SKIPPED, "another platform was asked for", kind="manifest")
        elif edge.kind is Kind.MANIFEST:
            await self._once(descriptor, place, self._manifest)
        elif edge.kind is Kind.BLOB:
            await self._once(descriptor, place, self._blob)
        else:
            await self._once(descriptor, place, self._either)

    async def _once(
        self, descriptor: Descriptor, place: _Place, work: Callable[[Descriptor, _Place], Awaitable[None]]
    ) -> None:
        """Deal with a digest, or wait until whoever met it first has."""
        settled = self._settled.get(descriptor.digest)
        if settled is None:
            settled = self._settled[descriptor.digest] = anyio.Event()
            await work(descriptor, place)
            settled.set()
        else:
            await settled.wait()
            kind: ContentKind = "manifest" if descriptor.digest in self._manifests else "blob"
            self._decide(descriptor, place, Action.EXISTS, "needed twice, moved once", kind=kind)

    async def _manifest(self, descriptor: Descriptor, place: _Place) -> None:
        self._visited.append(descriptor.digest)
        there = await self._has_manifest(descriptor)
        closed = mediatype.is_manifest(descriptor.media_type) and not mediatype.is_index(
            descriptor.media_type
        )
        if there and closed:
            self._decide(
                descriptor, place, Action.EXISTS, "there, with all that it is made of", kind="manifest"
            )
            return
        manifest, there = await self._read(descriptor, at_destination=there)
        await self._children(manifest, place)
        if there:
            self._decide(descriptor, place, Action.EXISTS, "there already", kind="manifest")
            return
        # the root's names come with it, in the same write
        names = self._names if place.role == "root" else ()
        await self._write_manifest(manifest, names=names)
        self._named = self._named or place.role == "root"
        self._decide(descriptor, place, self._moved, "was not there", kind="manifest")

    async def _children(self, manifest: Manifest, place: _Place) -> None:
        if isinstance(manifest.body, Index) and place.depth >= MAX_DEPTH:
            too_deep = InvalidDocument(f"more than {MAX_DEPTH} indexes inside one another")
            raise _failure("source", manifest.digest, "read", too_deep) from too_deep
        async with anyio.create_task_group() as group:
            for edge in edges(manifest):
                group.start_soon(self._edge, edge, place)

    async def _either(self, descriptor: Descriptor, place: _Place) -> None:
        """Copy an entry of an index whose media type is no manifest's: BuildKit lists layers there.

        A layout cannot tell a blob from a manifest, so what it gives as a manifest has to look like one.
        """
        if await self._has_blob(descriptor):
            self._decide(descriptor, place, Action.EXISTS, "there already")
        elif await self._has_manifest(descriptor):
            self._decide(descriptor, place, Action.EXISTS, "there already", kind="manifest")
        elif (manifest := await self._try_manifest(descriptor)) is not None:
            await self._children(manifest, place)
            await self._write_manifest(manifest)
            self._decide(descriptor, place, self._moved, "was not there", kind="manifest")
        else:
            await self._move_blob(descriptor, place)

    async def _try_manifest(self, descriptor: Descriptor) -> Manifest | None:
        if descriptor.size > MAX_MANIFEST_BYTES:
            return None
        try:
            async with self._slots:
                raw = await self._source.read_manifest(descriptor)
            manifest = parse_manifest(raw, digest=descriptor.digest)
        except (ManifestUnknown, InvalidDocument):
            return None
        except (EntrepotError, OSError) as error:
            raise _failure("source", descriptor.digest, "read", error) from error
        self._manifests[descriptor.digest] = manifest
        return manifest

    async def _name(self, root: Descriptor) -> None:
        """Make the names point at a root that was there before."""
        if not await self._lacks_names(root):
            return
        manifest, _ = await self._read(root, at_destination=True)
        await self._write_manifest(manifest, names=self._names)

    async def _lacks_names(self, root: Descriptor) -> bool:
        if not isinstance(self._destination, Source):
            return True
        for name in self._names:
            try:
                async with self._slots:
                    found = await self._destination.resolve(name)
            except (EntrepotError, OSError):
                return True
            if found.digest != root.digest:
                return True
        return False

    # -- platforms

    async def _choose(self, root: Descriptor, platforms: Collection[Platform]) -> frozenset[Digest] | None:
        """Return which entries of indexes to copy; None when the root is no index and there is no choice."""
        if mediatype.is_image(root.media_type):
            return None
        manifest, _ = await self._read(root, at_destination=None)
        if not isinstance(manifest.body, Index):
            return None
        chosen: set[Digest] = set()
        for platform in platforms:
            found = await self._pick(manifest.body, platform, seen={root.digest})
            if not found:
                raise _no_image(manifest.body, platform, root.digest)
            chosen |= found
        return frozenset(chosen)

    async def _pick(self, index: Index, platform: Platform, *, seen: set[Digest]) -> set[Digest]:
        """Return the best entry for a platform, and those on the way to it if it is further inside."""
        children = index.manifests or ()
        best = platform.select(child.platform for child in children)
        for child in children if best is None else (children[best],):
            if best is not None and not mediatype.is_index(child.media_type):
                return {child.digest}
            if not mediatype.is_index(child.media_type) or child.digest in seen or len(seen) > MAX_NESTED:
                continue
            seen.add(child.digest)
            manifest, _ = await self._read(child, at_destination=None)
            inside = isinstance(manifest.body, Index) and await self._pick(manifest.body, platform, seen=seen)
            if inside:
                return {child.digest, *inside}
        return set()

    # -- referrers

    async def _referrers(self) -> tuple[Descriptor, ...]:
        """Copy what refers to anything that was visited, and what refers to that, and so on."""
        self._chosen = None
        taken: dict[Digest, Descriptor] = {}
        position = 0
        while position < len(self._visited):
            subject = self._visited[position]
            position += 1
            for referrer in await self._list_referrers(subject):
                if referrer.digest in self._settled or referrer.digest in taken:
                    continue
                if len(taken) == MAX_REFERRERS:
                    too_many = InvalidDocument(f"more than {MAX_REFERRERS} referrers")
                    raise _failure("source", referrer.digest, "read", too_many) from too_many
                taken[referrer.digest] = referrer
                await self._once(referrer.plain(), _Place("referrer"), self._manifest)
        return tuple(taken.values())

    async def _list_referrers(self, subject: Digest) -> list[Descriptor]:
        found: list[Descriptor] = []
        try:
            async with self._slots:
                async for referrer in self._source.referrers(subject):
                    found.append(referrer)
                    if len(found) > MAX_REFERRERS:
                        break
        except (EntrepotError, OSError) as error:
            raise _failure("source", subject, "list referrers", error) from error
        return found

    # -- single requests and transfers

    async def _read(self, descriptor: Descriptor, *, at_destination: bool | None) -> tuple[Manifest, bool]:
        """Read a manifest where that is cheapest; also tell whether the destination has good bytes of it."""
        known = self._manifests.get(descriptor.digest)
        if at_destination is None:
            at_destination = await self._has_manifest(descriptor)
        if known is not None:
            return known, at_destination and descriptor.digest not in self._spoilt
        raw: bytes | None = None
        if at_destination and isinstance(self._destination, Source):
            try:
                async with self._slots:
                    raw = await self._destination.read_manifest(descriptor)
            except (ManifestUnknown, VerificationError):
                # taken away meanwhile, or spoilt: then it is written anew
                self._spoilt.add(descriptor.digest)
                at_destination = False
        if raw is None:
            raw = await self._at("source", "read", descriptor, self._source.read_manifest, descriptor)
        manifest = self._manifests[descriptor.digest] = _parse(raw, descriptor)
        return manifest, at_destination

    async def _has_manifest(self, descriptor: Descriptor) -> bool:
        return await self._at(
            "destination", "look for", descriptor, self._destination.has_manifest, descriptor.digest
        )

    async def _has_blob(self, descriptor: Descriptor) -> bool:
        return await self._at("destination", "look for", descriptor, self._destination.has_blob, descriptor)

    async def _write_manifest(self, manifest: Manifest, *, names: Collection[RefName] = ()) -> None:
        write, descriptor = self._destination.write_manifest, manifest.descriptor
        await self._at("destination", "write", descriptor, write, descriptor, manifest.raw, names=names)

    async def _blob(self, descriptor: Descriptor, place: _Place) -> None:
        if await self._has_blob(descriptor):
            self._decide(descriptor, place, Action.EXISTS, "there already")
        elif self._origin is not None and await self._mount(descriptor, self._origin):
            self._decide(descriptor, place, Action.MOUNTED, f"taken from {self._origin.repository}")
        else:
            await self._move_blob(descriptor, place)

    async def _mount(self, descriptor: Descriptor, origin: Origin) -> bool:
        if not isinstance(self._destination, MountsBlobs):
            return False
        mount = self._destination.mount
        return await self._at("destination", "mount", descriptor, mount, descriptor.digest, origin)

    async def _move_blob(self, descriptor: Descriptor, place: _Place) -> None:
        reader = _BlobReader(self._source, descriptor)
        try:
            async with self._slots:
                await self._destination.write_blob(descriptor, reader.open_at)
        except VerificationError as error:
            # the destination has found it out, but the bytes are the source's
            raise _failure("source", descriptor.digest, "read", error) from error
        except (EntrepotError, OSError) as error:
            if reader.is_cause_of(error):
                raise _failure("source", descriptor.digest, "read", error) from error
            raise _failure("destination", descriptor.digest, "write", error) from error
        self._decide(descriptor, place, self._moved, "was not there")

    async def _at(
        self,
        side: Side,
        verb: str,
        descriptor: Descriptor,
        request: Callable[_P, Awaitable[_T]],
        *args: _P.args,
        **kwargs: _P.kwargs,
    ) -> _T:
        """Do one request while holding a slot, and say which side it was if it fails."""
        try:
            async with self._slots:
                return await request(*args, **kwargs)
        except (EntrepotError, OSError) as error:
            raise _failure(side, descriptor.digest, verb, error) from error

    def _decide(
        self,
        descriptor: Descriptor,
        place: _Place,
        action: Action,
        reason: str,
        *,
        kind: ContentKind = "blob",
    ) -> None:
        self._counts[action] = self._counts.get(action, 0) + 1
        if action is self._moved:
            self._moved_bytes += descriptor.size
        if self._report is not None:
            self._report(
                descriptor, kind=kind, role=place.role, action=action, reason=reason, platform=place.platform
            )


class _BlobReader:
    """Opens a blob of the source, and remembers its failures, so that we know whom to blame."""

    def __init__(self, source: Source, descriptor: Descriptor) -> None:
        self._source = source
        self._descriptor = descriptor
        self._failures: list[BaseException] = []

    @asynccontextmanager
    async def open_at(self, offset: int) -> AsyncIterator[AsyncIterator[bytes]]:
        async with AsyncExitStack() as stack:
            with self.blaming():
                content = self._descriptor.embedded()
                if content is not None:
                    chunks = _one(content[offset:])
                else:
                    chunks = await stack.enter_async_context(self._source.open_blob(self._descriptor, offset))
            yield _Watched(chunks, self)

    @contextmanager
    def blaming(self) -> Iterator[None]:
        try:
            yield
        except (EntrepotError, OSError) as error:
            self._failures.append(error)
            raise

    def is_cause_of(self, error: BaseException | None) -> bool:
        """Tell whether an error is one of the source's, or was raised because of one."""
        while error is not None:
            if any(error is failure for failure in self._failures):
                return True
            error = error.__cause__
        return False


class _Watched:
    """The chunks of a source, whose failures its reader remembers."""

    def __init__(self, chunks: AsyncIterator[bytes], reader: _BlobReader) -> None:
        self._chunks = chunks
        self._reader = reader

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        with self._reader.blaming():
            return await anext(self._chunks)


async def _one(content: bytes) -> AsyncIterator[bytes]:
    yield content


def _parse(raw: bytes, descriptor: Descriptor) -> Manifest:
    try:
        return parse_manifest(raw, descriptor.media_type, digest=descriptor.digest)
    except InvalidDocument as error:
        raise _failure("source", descriptor.digest, "read", error) from error


def _failure(side: Side, digest: Digest, verb: str, error: EntrepotError | OSError) -> CopyError:
    """Return the error that says where it happened; the caller raises it from the one that says what."""
    if isinstance(error, CopyError):
        return error
    failure = CopyError(
        f"cannot {verb} at the {side}: {digest}",
        side=side,
        digest=digest,
        hint=getattr(error, "hint", None),
    )
    failure.peer = getattr(error, "peer", None)
    return failure


def _no_image(index: Index, platform: Platform, digest: Digest) -> ManifestUnknown:
    offers = sorted({str(child.platform) for child in index.manifests or () if child.platform})
    hint = f"it has {', '.join(offers)}" if offers else "its entries name no platform"
    return ManifestUnknown(f"no image for {platform} in the index: {digest}", hint=hint)


def first_failure(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the error that came first: a task group keeps them in order, and cancels the others because of it."""
    error = group.exceptions[0]
    return first_failure(error) if isinstance(error, BaseExceptionGroup) else error
