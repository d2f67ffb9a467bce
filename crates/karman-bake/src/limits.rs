//! Named bounds on what a bake file may make us do: bake files come from other people's repositories.

/// Largest bake file in bytes.
pub const MAX_FILE_BYTES: usize = 4 << 20;
/// Most blocks and attributes at the top of all files together; names are looked for one by one.
pub const MAX_DEFINITIONS: usize = 10_000;
/// Most targets one `matrix` may expand to.
pub const MAX_MATRIX: usize = 4096;
/// Most targets in all files together, after matrix expansion.
pub const MAX_TARGETS: usize = 8192;
/// Most attributes and blocks of one block.
pub const MAX_ATTRIBUTES: usize = 1000;
/// Most entries in the lists and maps of one target. Lists of targets that are inherited in several ways add up, so a
/// chain of diamonds doubles them.
pub const MAX_ENTRIES: usize = 10_000;
/// Longest string an expression may make, in bytes.
pub const MAX_STRING: usize = 4 << 20;
/// Deepest nesting of evaluated expressions, through variables and functions; bounds the stack.
pub const MAX_DEPTH: u32 = 200;
/// Work of one resolve: evaluated nodes plus copied elements. Stops doubling chains of variables.
pub const MAX_STEPS: u64 = 10_000_000;
/// Deepest nesting of lists and objects in a value.
pub const MAX_VALUE_DEPTH: usize = 100;
/// Deepest nesting of a JSON text.
pub const MAX_JSON_DEPTH: usize = 64;
/// Longest list of `range` (the number is cty's).
pub const MAX_RANGE: usize = 1024;
/// Longest chain of `inherits`, nested groups or linked contexts.
pub const MAX_CHAIN: usize = 128;
/// Most elements of `setproduct`.
pub const MAX_PRODUCT: usize = 100_000;
/// Widest field of a `format` verb.
pub const MAX_FORMAT_WIDTH: usize = 4096;
/// Most problems reported at once.
pub const MAX_PROBLEMS: usize = 100;
/// Deepest nesting of a YAML text.
pub const MAX_YAML_DEPTH: usize = 100;
/// Most values of a YAML text, those behind aliases counted each time they are named.
pub const MAX_YAML_NODES: usize = 500_000;
/// Deepest nesting of `${A:-${B:-…}}` in compose files.
pub const MAX_INTERPOLATION_DEPTH: usize = 32;
/// Most files that compose files may name: `.env`, `env_file`, `include`, `extends`.
pub const MAX_COMPOSE_FILES: usize = 256;
