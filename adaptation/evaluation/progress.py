"""A bar for samples and pictures, which come in batches."""

from adaptation.progress import ProgressBar


class SampleProgress(ProgressBar):
    """Counts batches; the first one, which may be compiled, is no part of the rate."""

    _begun = False

    def advance(self, count: int = 1) -> None:
        """Counts a batch."""
        if self._begun:
            super().advance(count)
        else:
            self._begun = True
            self.advance_untimed(count)
