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

# Side by side with another builder; see benches/.
bench *args:
    for script in benches/*.sh; do bash "$script" {{args}}; done
