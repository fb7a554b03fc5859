"""Trainers of Empathy-R1: a plain language model, Chain-of-Empathy SFT, and the export that ships.

One file is one stage, read top to bottom. Data flows one way: corpora -> splits -> (pretraining blocks | long
counselling texts -> weak chains) -> trainer -> checkpoint -> GGUF. Heavy libraries are imported where they are used,
so that reading a recipe stays cheap.
"""
