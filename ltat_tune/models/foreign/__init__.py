"""Networks that other people wrote: torchvision's, timm's and those of a user's module.

May import `data` for the door to torchvision, and `config`. `models` alone imports it.
"""

from ltat_tune.models.foreign.backbone import ForeignBackbone, build_foreign, is_foreign

__all__ = ["ForeignBackbone", "build_foreign", "is_foreign"]
