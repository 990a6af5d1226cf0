"""The command line without a kernel: words in, values and text out."""
