"""What a user can put right. The message is for the user; `exit_code` is what the command ends with."""


class AdaptationError(Exception):
    """A run that cannot go on, said in one sentence with what to do about it."""

    exit_code = 1


class ConfigError(AdaptationError):
    """Settings that are refused, each problem named by its field."""

    exit_code = 2

    def __init__(self, problems: list[str]):
        self.problems = tuple(problems)
        super().__init__('\n'.join(problems))

    def __reduce__(self) -> tuple[type, tuple[list[str]]]:
        return type(self), (list(self.problems),)  # as it comes from another process


class Interrupted(AdaptationError):
    """The user stopped the run; what was done is saved."""

    exit_code = 130  # what a shell reports for a command that Ctrl-C ended
