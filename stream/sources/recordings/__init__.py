"""Reading every kind of recording into memory: raw samples, raw stamps, markers, and what was odd about the file."""
