"""The weak annotator: rules and word lists that give a post and its reply a chain.

`annotate.annotate` reads one pair, `records.build_sft_records` a whole split, `python -m
empathy_trainers.weak.report` measures the labels. `sentences` and `screening` also serve
`data.lct`, which is why this package imports nothing by itself. Weak means weak: the labels teach
the format and copying from the post, not clinical judgement.
"""
