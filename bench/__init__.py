"""What the component costs and whether it lasts, measured: `python -m bench`, or `make bench`.

`serial` compares one request at a time with other ways of doing the same (`cases`, `bare`, `report`), `concurrency`
many chats at once with llama.cpp's own server (`chats`, `systems`, `llama_server`), `invariance` greedy texts alone and
in company; `soak` is a long mixed load with checks (`soak_posts`, `soak_scenarios`, `soak_clients`, `soak_checks`).
`models` finds or makes the model files. Every other bench says in its own module what it is. Nothing here is a test:
wall time on a busy machine proves nothing, which is why runs alternate and the range is printed.
"""
