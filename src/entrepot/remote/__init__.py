"""Repositories on registries, over HTTP."""

from entrepot.remote.connect import Remote
from entrepot.remote.options import Limits, RemoteOptions, UploadMode

__all__ = ["Limits", "Remote", "RemoteOptions", "UploadMode"]
