//! Dockerfile text to AST, typed instructions, LLB and image config.
