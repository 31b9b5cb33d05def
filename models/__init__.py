"""The LSTM runtime, bundles, training, evaluation and the decision policy."""
