"""What only the stage prepare does: sources of any kind become one prepared array a split.

Public: `gan.preparation.prepare.prepare`. Nothing is imported here, since the processes that decode
images import this package too, and are to start quickly.
"""
