"""The states of a batch in the ledger."""

UNFINISHED = ("landed", "stored", "prepared", "decided")
# No run continues such a batch before a person opens it again.
CLOSED = ("broken", "held")
ENDED = ("done", *CLOSED)
