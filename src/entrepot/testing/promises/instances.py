"""Promises about a store that is opened again, twice, or by another process."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import msgspec
from anyio.abc import Process

from entrepot.testing.images import artifact, index
from entrepot.testing.promises.other import Job, contended_blob, image_named, write_part
from entrepot.testing.promises.trial import (
    Broken,
    Promise,
    Trial,
    blob_absent,
    blob_present,
    require,
    together,
    tree_present,
)

__all__ = ["PROMISES"]


async def reopened(trial: Trial) -> None:
    built = index(trial.image("amd64"), trial.image("beside"))
    about = artifact(trial.blob(10), subject=built)
    async with trial.open() as store:
        await built.write_to(store, names=[trial.name("a"), trial.name("b")])
        await about.write_to(store)
    async with trial.open() as store:
        when = "after the store was closed and opened again"
        await tree_present(store, built, when, trial.name("a"), trial.name("b"))
        await tree_present(store, about, when)
        found = [one.digest async for one in store.referrers(built.digest)]
        require(found == [about.digest], f"{when}, there are {len(found)} referrers, not 1")
        listed = {name async for name in store.tags()}
        require({trial.name("a"), trial.name("b")} <= listed, f"{when}, tags() leaves names out")


async def seen_by_another(trial: Trial) -> None:
    built = trial.image()
    async with trial.open_twice() as (store, another):
        require(not await another.has_manifest(built.digest), "has_manifest says True before it is written")
        await built.write_to(store, names=[trial.name()])
        await tree_present(another, built, "to an instance that was open before", trial.name())


async def two_processes(trial: Trial) -> None:
    here, there = ([trial.name(f"{side}-{number}") for number in range(5)] for side in ("here", "there"))
    contended, present = trial.name("contended"), trial.name("present")
    async with trial.open() as store:
        await image_named(present).write_to(store, names=[present])
        async with _other_process(
            trial, "write", present=str(present), names=tuple(map(str, there)), contended=str(contended)
        ) as other:
            assert other.stdin is not None
            await other.stdin.send(b"go\n")
            await together(lambda: write_part(store, here, contended, trial.seed), other.wait)
            require(other.returncode == 0, f"the other process failed: {await _last_words(other)}")
        for name in (present, *here, *there):
            await tree_present(store, image_named(name), "after two processes wrote at once", name)
        await blob_present(store, contended_blob(trial.seed), "after two processes wrote it at once")
        winner = await store.resolve(contended)
        require(
            winner.digest in {image_named(here[-1]).digest, image_named(there[-1]).digest},
            "the last name given was lost",
        )


async def killed_writer(trial: Trial) -> None:
    blob = contended_blob(trial.seed)
    async with trial.open() as store:
        async with _other_process(trial, "stall") as other:
            await blob_absent(store, blob, "while another process writes it")
            other.kill()
            await other.wait()
        await blob_absent(store, blob, "after the process that wrote it was killed")
        await store.write_blob(blob.descriptor, blob.open_at)
        await blob_present(store, blob, "after the process that wrote it was killed and it was written again")


@asynccontextmanager
async def _other_process(trial: Trial, action: str, **details: object) -> AsyncIterator[Process]:
    """Start the other process and wait until it is ready; it is gone when the block has ended."""
    assert trial.elsewhere is not None
    job = msgspec.convert(
        {
            "factory": trial.elsewhere.factory,
            "arguments": tuple(trial.elsewhere.arguments),
            "seed": trial.seed,
            "action": action,
            **details,
        },
        Job,
    )
    command = [sys.executable, "-m", "entrepot.testing.promises.other", msgspec.json.encode(job).decode()]
    async with await anyio.open_process(command, stdin=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            try:
                await process.stdout.receive()
            except anyio.EndOfStream:
                raise Broken(f"the other process could not begin: {await _last_words(process)}") from None
            yield process
        finally:
            if process.returncode is None:
                process.kill()


async def _last_words(process: Process) -> str:
    assert process.stderr is not None
    words = b"".join([part async for part in process.stderr]).decode(errors="replace").strip()
    return words.rpartition("\n")[2]


PROMISES = (
    Promise("reopen", "what was written is there when the store is opened again", reopened),
    Promise("instances", "what one instance has written, another sees", seen_by_another),
)

BETWEEN_PROCESSES = (
    Promise("two-processes", "two processes that write at once lose nothing", two_processes),
    Promise(
        "killed-writer", "a process that is killed leaves nothing visible and nothing locked", killed_writer
    ),
)
