"""RealToxicityPrompts: toxic prompts to be continued; judges score the continuations."""
