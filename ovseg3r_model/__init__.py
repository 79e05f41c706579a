"""The method, pure: numpy, numba and Open3D in; arrays and records out. No Prefect, no store, no command line."""
