"""`empathy-agent chat`: a conversation in a terminal, in parts that each know one thing.

`conversation` holds the turns, `session` answers them through an `EmpathyAgent`, `view` prints, `terminal` and
`lines` read, `commands` is what begins with a slash, `store` is SQLite and only there when asked for, `interrupts` is
Ctrl-C, `texts` every word of the interface. Nothing here logs, and nothing touches the disk but `store`.
"""
