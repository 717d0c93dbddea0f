"""What a root holds, and what it may be on.

<root>/catalog.db        the catalog, with its -wal and -shm beside it; nothing but SQLite opens these
<root>/catalog.generation    eight bytes of shared memory that tell whether anything was committed
<root>/catalog.lock      orders the writers of all processes
<root>/scratch.db        may be lost
<root>/root.lock         held by the server; its process id for people
<root>/uploads/<id>      the bytes of an upload in progress
<root>/blobs/<algorithm>/<first two digits>/<digits>.<id>    a blob's bytes
"""

from __future__ import annotations

from pathlib import Path

from entrepot.errors import StoreError

__all__ = [
    "BLOBS",
    "CATALOG",
    "CATALOG_LOCK",
    "ROOT_LOCK",
    "SCRATCH",
    "UPLOADS",
    "file_system_type",
    "refuse_network_file_system",
]

CATALOG = "catalog.db"
CATALOG_LOCK = "catalog.lock"
SCRATCH = "scratch.db"
ROOT_LOCK = "root.lock"
UPLOADS = "uploads"
BLOBS = "blobs"

# Their locks do not do what SQLite and flock need, or do so only between processes of one host.
_NETWORK_FILE_SYSTEMS = frozenset(
    {
        "nfs",
        "nfs4",
        "cifs",
        "smb3",
        "smbfs",
        "9p",
        "afs",
        "ceph",
        "glusterfs",
        "fuse.sshfs",
        "fuse.glusterfs",
        "fuse.s3fs",
        "lustre",
        "ncpfs",
        "virtiofs",
    }
)


def file_system_type(path: Path) -> str:
    """Return the type of the file system that a path is on, as in `ext4`; empty when that cannot be told."""
    found, longest = "", -1
    try:
        mounts = Path("/proc/self/mountinfo").read_text("utf-8", "replace").splitlines()
    except OSError:
        return ""
    resolved = path.resolve()
    for line in mounts:
        fields, _, rest = line.partition(" - ")
        mount_point = Path(fields.split(" ")[4].encode().decode("unicode_escape"))
        # a later line hides an earlier one that is mounted at the same place
        if resolved.is_relative_to(mount_point) and len(mount_point.parts) >= longest:
            longest, found = len(mount_point.parts), rest.split(" ")[0]
    return found


def refuse_network_file_system(path: Path) -> None:
    """Refuse a root on which locks between processes cannot be relied on.

    Raises:
        StoreError: It is on a network file system.
    """
    kind = file_system_type(path)
    if kind in _NETWORK_FILE_SYSTEMS:
        raise StoreError(
            f"a root cannot be on a network file system, {kind}: {path}",
            hint="use a local disk; replicas share an object store and PostgreSQL",
        )
