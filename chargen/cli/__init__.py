"""The command line: one file a command. Everything heavy is imported inside command bodies."""
