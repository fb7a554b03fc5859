"""The graph room's commands: `ask`, `chat`, `doctor` and `graph`, each in a file of its own."""

from empathy_graph.commands.ask import ask
from empathy_graph.commands.chat import chat
from empathy_graph.commands.doctor import doctor
from empathy_graph.commands.graph import graph

__all__ = ["ask", "chat", "doctor", "graph"]
