"""cgmgr: say what a workload may use, have the kernel hold it to that, hear what happened.

Law: this file holds the public names, each loaded when it is first touched, and nothing else.
It imports nothing at start-up.
"""
