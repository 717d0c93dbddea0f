"""OCI image layouts: a directory as a store, and the local image store, which is one."""

from entrepot.layout.directory import Limits
from entrepot.layout.images import Freed, ImageStore, NamedImage
from entrepot.layout.layout import Layout, Root

__all__ = ["Freed", "ImageStore", "Layout", "Limits", "NamedImage", "Root"]
