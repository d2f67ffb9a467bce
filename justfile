# `./check` does the work, so that a machine without just needs nothing but bash and cargo.

# The gate: format, clippy, tidy, tests, documentation.
check:
    ./check
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps

# Tests alone; a name picks some: `just test karman-bake`.
test *crate:
    cargo test {{ if crate == "" { "--workspace" } else { "-p " + crate } }}

# Rewrites the expectations of all `.case` files; review the diff.
bless:
    KARMAN_BLESS=1 cargo test --workspace --test cases

# Side by side with another builder, such as `just bench run40 --no-write`; docs/performance.md has the others.
bench *args:
    benches/run.py {{args}}
