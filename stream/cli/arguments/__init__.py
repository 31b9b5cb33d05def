"""The words of the command line: every command's name, options and help, without the work behind them.

A command's work is imported when it runs, so that ``--help`` and ``--version`` answer at once.
"""
