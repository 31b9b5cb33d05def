"""Faults on demand: what real senders do wrong, injected on a schedule, with the truth of it written down."""
