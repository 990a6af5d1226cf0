"""The command line, one file a command.

Law: the only code that prints or exits, and the only importer of the wings (drivers, runtime,
exporters). A command parses its words, calls the library and renders the answer.
"""
