"""One file a kind of stream: what to read from its schema, its key, its time, its features."""
