"""The feedback webhook, its database, the promotion ledger and the harvest. No model code."""
