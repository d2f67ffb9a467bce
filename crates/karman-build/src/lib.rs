//! Targets to one solve request: contexts, Dockerfiles, bases, lowering.
