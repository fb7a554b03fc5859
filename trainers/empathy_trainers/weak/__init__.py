"""The weak annotator: rules and word lists that give a post and its reply a Chain-of-Empathy for stage 1.

`annotate` reads one pair, `build_sft_records` a whole split, `python -m empathy_trainers.weak.report` measures the
labels. Weak means weak: the labels teach the format and copying from the post, not clinical judgement.
"""

from __future__ import annotations

from empathy_trainers.weak.annotate import ANNOTATOR, ChainLayers, annotate
from empathy_trainers.weak.records import build_sft_records

__all__ = ["ANNOTATOR", "ChainLayers", "annotate", "build_sft_records"]
