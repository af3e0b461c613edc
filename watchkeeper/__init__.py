"""Watchkeeper: anomaly detection on sensor and server time series that retrains itself."""

__version__ = "0.1.0"
