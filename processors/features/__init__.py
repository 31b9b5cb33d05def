"""Rows of features: windows, spectra, band power, log-variance, z-scores."""
