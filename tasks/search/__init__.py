"""The search over recipes: what it varies, what it spends, what it tried."""
