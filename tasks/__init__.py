"""Contrast sets that steerers are fitted to, and tasks that they are measured on.

benchmarks      one folder per benchmark with its lm-eval task files (`steereval tasks --path`)
contrast        contrast sets by name or file, with folds, hashes and cards
catalogue       tasks: cards, look-up by name, loading with their data
judges          what judges read of an answer, and the metrics of their numbers
scorers         scores of generated text
data            packages, folders of files and the hub
"""
