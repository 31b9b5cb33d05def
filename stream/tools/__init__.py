"""Programs beside the run: doctor, latency, soak, a broker for development, the Kafka demo."""
