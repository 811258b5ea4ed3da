"""What a steerer is fitted to and what it is measured on.

contrast        contrast sets by name or file, with folds, hashes and cards
catalogue       tasks: cards, clusters, loading with their data
scorers         scores of generated text
*_mini          embedded sets with their lm-eval task files: `lm_eval --include_path <this folder>`
public_data     public data sets from a folder of files or the hub
truthfulqa_open, ultrafeedback, realtoxicity, mmlu_all    tasks on public data
toxicity        clean and offensive comments, a contrast set
"""
