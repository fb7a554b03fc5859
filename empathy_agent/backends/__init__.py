"""The backends: one contract (`base`), its shipped implementations, and what they share.

`base` holds the contract and everything a caller touches. `worker` (the one thread that owns a
model), `assembly` (tokens to text, cut at the stop string), `sequences` (which cached prefix
serves which request), `chat_template` and `fit` are written once and used by every backend.
`fake` and `llama_cpp` are backends.
"""
