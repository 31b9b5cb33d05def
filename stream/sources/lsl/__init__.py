"""Lab Streaming Layer in: finding streams, reading samples and markers, measuring clocks."""
