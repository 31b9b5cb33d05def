"""Training: recipes, splits, the network in torch, the optimiser."""
