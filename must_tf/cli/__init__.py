"""The command line: one absl app a verb."""
