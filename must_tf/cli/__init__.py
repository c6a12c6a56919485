"""The command line `must VERB --flags`: one absl app per verb."""
