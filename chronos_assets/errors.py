"""The root of the package's errors.

Here: the root and the picture of the tree. Each error is defined beside what raises it; its message says what is
wrong, where, and how to fix it, in words for the user. It is translated once, at the edge that it reaches: to `dg.Failure`
by a step (`defs.failures`), to an exit code and one line by a workload (`container.contract`) or a command (`cli`), to a
status code by a request (`serving.app`). Elsewhere: errors of libraries, which are raised again as one of these
where they first appear.
"""


class ChronosAssetsError(Exception):
    """Something that the user can fix; the message says what, where and how.

    Attributes:
        transient: whether the same may succeed later, though nobody changes anything: a store is out of reach, for example.
    """

    transient: bool = False
