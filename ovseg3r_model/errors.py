"""The one exception that means "the user's input is at fault"."""


class InputError(ValueError):
    """Bad input: one clear sentence that names the file, what is wrong with it and what to do.

    Everything that reads what a user gives raises this and nothing else for what the user can mend. The command line
    prints the sentence alone, without a traceback, and exits with code 2; any other exception is a defect or the
    machine's and keeps its traceback.
    """
