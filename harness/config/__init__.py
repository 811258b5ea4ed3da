"""The grid file and the arguments of `lm_eval --model_args`."""
