"""The interactive viewer: heads drawn on demand (`drawing`), the newest request first (`loop`), on a page (`page`)."""
