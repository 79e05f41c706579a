"""One file per stage, thin: look into the store, call the method, save, return a reference. Arrays never travel between
tasks.
"""
