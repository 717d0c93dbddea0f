"""A disk that loses its power: an ext4 file system in a file, cut off from it in one system call.

What a kernel has not written to the file by then is gone, as it would be from memory. What it has written stays, so
this does not show sectors that are torn or written in another order.
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.processes import ProcessError, output_of, poll
from bench.programs import program

__all__ = ["Disk", "disk"]

_IMAGE_BYTES = 1 << 30
_EXT4_IOC_SHUTDOWN = 0x8004587D
_NO_LOG_FLUSH = struct.pack("I", 2)
_SECONDS_TO_UNMOUNT = 10


class Disk:
    """A file system that is mounted.

    Args:
        image: The file that it lives in.
        mount_point: Where it is mounted.
    """

    def __init__(self, image: Path, mount_point: Path) -> None:
        self._image = image
        self._mount_point = mount_point

    def cut_power(self) -> None:
        """Lose everything that has not been written. Whoever uses the file system gets errors from now on.

        An fsync that is under way just then may report success although its bytes are lost.
        """
        descriptor = os.open(self._mount_point, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.ioctl(descriptor, _EXT4_IOC_SHUTDOWN, _NO_LOG_FLUSH)
        finally:
            os.close(descriptor)

    def mount(self) -> None:
        """Mount it, with the repairs from its journal that this brings about."""
        output_of([program("mount"), "-t", "ext4", "-o", "loop", self._image, self._mount_point])

    def unmount(self) -> None:
        """Unmount it, as soon as nobody uses it any more."""

        def unmounted() -> bool:
            try:
                output_of([program("umount"), self._mount_point])
            except ProcessError:
                return False
            return True

        if not poll(unmounted, seconds=_SECONDS_TO_UNMOUNT):
            raise ProcessError(f"still in use: {self._mount_point}")


@contextmanager
def disk(image: Path, mount_point: Path) -> Iterator[Disk]:
    """Make a file system in a new file and have it mounted within the block.

    Raises:
        ProcessError: It cannot be made or mounted here: root and loop devices are needed.
    """
    mount_point.mkdir(exist_ok=True)
    with image.open("wb") as file:
        file.truncate(_IMAGE_BYTES)
    made = Disk(image, mount_point)
    try:
        _make(image, made)
        yield made
    finally:
        if os.path.ismount(mount_point):
            output_of([program("umount"), "--lazy", mount_point])
        image.unlink()


def _make(image: Path, made: Disk) -> None:
    output_of([program("mkfs.ext4"), "-q", "-F", image])
    try:
        made.mount()
    except ProcessError as error:
        raise ProcessError(
            f"a file system in a file cannot be mounted here, which takes root and a loop device: {error}"
        ) from error
