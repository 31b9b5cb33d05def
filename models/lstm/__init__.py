"""The LSTM that slides: cells, weights, and the ways to run it over windows."""
