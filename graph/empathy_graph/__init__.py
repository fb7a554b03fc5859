"""The Chain-of-Empathy as a LangGraph state machine, and the faces hosts use it through.

messages -> gate -> emotion -> cause -> intention -> respond -> reply. Every node is a generator of model requests
(`steps`), driven alike from sync and async code; what runs the model is a backend of `empathy_agent`.
"""
