"""Whether a stage can end well with what is prepared: asked before it begins.

Stages look this up by name, so that it, and what it asks, are no part of what they depend on.
"""

from __future__ import annotations

from gan.config import Config
from gan.data.extent import Extent, extent_of
from gan.data.limits import STAGES, Stage, check
from gan.data.manifest import read_manifest
from pipeline.paths import PREPARED


def check_stage(config: Config, stage: Stage) -> None:
    """Check what concerns `stage`; raises as `gan.data.limits.check`, and as `read_manifest`."""
    check(config, extent_of(read_manifest(PREPARED)), [stage])


def check_all(config: Config, extent: Extent) -> None:
    """Check what concerns any stage; raises as `gan.data.limits.check`."""
    check(config, extent, STAGES)
