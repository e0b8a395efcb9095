"""Predictions against true annotations: numbers, and the report that shows them."""
