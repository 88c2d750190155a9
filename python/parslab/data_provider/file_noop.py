"""``NoOpFileStaging`` is for files that tasks can open by their paths, because their folder is shared."""

from __future__ import annotations

from typing import TYPE_CHECKING

from parslab.data_provider.staging import Staging

if TYPE_CHECKING:
    from parslab.data_provider.files import File

__all__ = ["NoOpFileStaging"]


class NoOpFileStaging(Staging):
    """Files of a folder that the notebook and all nodes share: nothing is copied (Parsl: same name)."""

    def can_stage_in(self, file: File) -> bool:
        return file.scheme == "file"

    def can_stage_out(self, file: File) -> bool:
        return file.scheme == "file"
