"""A cheap first stage that answers what it is sure of."""
