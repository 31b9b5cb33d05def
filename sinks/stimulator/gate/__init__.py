"""The gate: a pure function of its ordered inputs, and what it is made of."""
