"""Data of the trainers: readers of open corpora, leak-free splits, pretraining blocks and long counselling texts."""
