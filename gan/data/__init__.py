"""Data: sources of any kind, read as streams, become one prepared array a split, then batches.

Nothing is re-exported here. Importing `gan.data.prepared` is all that reading prepared data takes,
so that a stage which only reads does not depend on how sources are decoded.
"""
