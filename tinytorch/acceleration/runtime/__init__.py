"""The ground: what this processor can do, compiling once, compiled code on disk, threads, records at an address."""
