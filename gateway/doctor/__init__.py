"""The command `doctor`: does everything that the gateway needs work here?"""
