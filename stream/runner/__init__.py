"""A live run: a hot process that computes, a cold one that writes and shows, a supervisor that watches."""
