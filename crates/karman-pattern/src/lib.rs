//! Path patterns of moby: filepath.Match wildcards and .dockerignore matching.
