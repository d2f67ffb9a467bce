//! The rules of this repository as data.

/// The crates with their tier and the crates each may depend on. An edge points to a lower tier.
/// `karman-testing` may be a dev-dependency of any.
pub(crate) const CRATES: &[(&str, u8, &[&str])] = &[
    ("karman-oci", 0, &[]),
    ("karman-diag", 0, &[]),
    ("karman-pattern", 0, &[]),
    ("karman-sys", 0, &[]),
    ("karman-llb", 1, &["karman-diag", "karman-oci"]),
    ("karman-solver", 1, &[]),
    ("karman-content", 1, &["karman-oci", "karman-sys"]),
    ("karman-bake", 1, &["karman-diag"]),
    ("karman-constraints", 1, &["karman-diag"]),
    ("karman-net", 1, &[]),
    ("karman-signature", 1, &["karman-oci"]),
    ("karman-dockerfile", 2, &["karman-diag", "karman-llb", "karman-oci", "karman-pattern"]),
    ("karman-snapshot", 2, &["karman-content", "karman-oci", "karman-sys"]),
    ("karman-registry", 2, &["karman-net", "karman-oci"]),
    ("karman-debootstrap", 2, &["karman-net"]),
    ("karman-control", 2, &["karman-diag", "karman-llb", "karman-oci"]),
    ("karman-inventory", 3, &["karman-oci"]),
    ("karman-exporter", 4, &["karman-content", "karman-control", "karman-oci", "karman-sys"]),
    (
        "karman-build",
        5,
        &[
            "karman-bake",
            "karman-control",
            "karman-diag",
            "karman-dockerfile",
            "karman-exporter",
            "karman-llb",
            "karman-oci",
            "karman-pattern",
            "karman-sys",
        ],
    ),
    (
        "karman-report",
        5,
        &["karman-control", "karman-diag", "karman-inventory", "karman-llb", "karman-oci"],
    ),
    (
        "karman-worker",
        5,
        &[
            "karman-content",
            "karman-control",
            "karman-debootstrap",
            "karman-diag",
            "karman-exporter",
            "karman-inventory",
            "karman-llb",
            "karman-net",
            "karman-oci",
            "karman-pattern",
            "karman-registry",
            "karman-signature",
            "karman-snapshot",
            "karman-solver",
            "karman-sys",
        ],
    ),
    (
        "karman-cli",
        6,
        &[
            "karman-bake",
            "karman-build",
            "karman-constraints",
            "karman-control",
            "karman-diag",
            "karman-inventory",
            "karman-net",
            "karman-oci",
            "karman-registry",
            "karman-report",
            "karman-signature",
            "karman-sys",
            "karman-worker",
        ],
    ),
    (
        "karman-hostile",
        6,
        &[
            "karman-bake",
            "karman-diag",
            "karman-dockerfile",
            "karman-exporter",
            "karman-llb",
            "karman-oci",
            "karman-pattern",
            "karman-sys",
        ],
    ),
    ("karman-testing", 0, &[]),
];

/// Any crate may use this one in its tests.
pub(crate) const TEST_CRATE: &str = "karman-testing";
/// The only crate with `unsafe`, and so the only one without the workspace's lints.
pub(crate) const UNSAFE_CRATE: &str = "karman-sys";

/// Packages in Cargo.lock, all platforms. Raise it on purpose, in the commit that needs it.
pub(crate) const PACKAGE_BUDGET: usize = 306;

/// Lines of a Rust file.
pub(crate) const MAX_FILE_LINES: usize = 600;
/// Lines of a function, from `fn` to its closing brace.
pub(crate) const MAX_FUNCTION_LINES: usize = 100;
/// Columns of a line of Markdown, but for tables and code.
pub(crate) const MAX_PAGE_COLUMNS: usize = 140;
/// Pages that hold the texts of rules, word by word.
pub(crate) const PAGES_OF_TESTS: &str = "docs/checks/";
/// Files that may be longer, with the reason.
pub(crate) const LONG_FILES: &[(&str, &str)] = &[];

/// Licences that may be linked into the binary. `deny.toml` says the same to cargo-deny.
pub(crate) const LICENCES: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Zlib",
    "bzip2-1.0.6",
];

/// Never in a Rust file, tests included.
pub(crate) const FORBIDDEN: &[(&str, &str)] = &[
    ("todo!", "unfinished code does not go in"),
    ("unimplemented!", "unfinished code does not go in"),
    ("dbg!", "left over from debugging"),
    ("#[allow(", "use `#[expect(lint, reason = \"…\")]`"),
];

/// Words that only some files may use: the word, path prefixes that may, and what to use instead.
/// Tests, examples and xtask are free.
pub(crate) const SIDE_DOORS: &[(&str, &[&str], &str)] = &[
    ("Command::new", &["crates/karman-sys/"], "`karman_sys::program` runs programs"),
    ("env::var", ENVIRONMENT, "only karman-cli reads the environment; hand it in"),
    ("env::var_os", ENVIRONMENT, "only karman-cli reads the environment; hand it in"),
    ("env::vars", ENVIRONMENT, "only karman-cli reads the environment; hand it in"),
    ("env::vars_os", ENVIRONMENT, "only karman-cli reads the environment; hand it in"),
    ("env::args", ENVIRONMENT, "only karman-cli reads arguments; hand them in"),
    ("env::args_os", ENVIRONMENT, "only karman-cli reads arguments; hand them in"),
    ("env::current_dir", ENVIRONMENT, "only karman-cli knows the working directory; hand it in"),
    ("env::temp_dir", ENVIRONMENT, "temporary files belong below the store; hand the place in"),
    ("println!", TERMINAL, "only karman-cli and karman-report write to the terminal"),
    ("print!", TERMINAL, "only karman-cli and karman-report write to the terminal"),
    ("eprintln!", TERMINAL, "only karman-cli and karman-report write to the terminal"),
    ("eprint!", TERMINAL, "only karman-cli and karman-report write to the terminal"),
    ("TcpStream::connect", &["crates/karman-net/"], "only karman-net opens sockets"),
    ("ureq::", &["crates/karman-net/"], "only karman-net speaks HTTP"),
];

/// Crates that do no I/O (invariants 1 and 4).
pub(crate) const PURE_CRATES: &[&str] = &[
    "karman-bake",
    "karman-constraints",
    "karman-diag",
    "karman-dockerfile",
    "karman-inventory",
    "karman-llb",
    "karman-oci",
    "karman-pattern",
    "karman-signature",
    "karman-solver",
];
/// What they must not even name, tests excepted.
pub(crate) const IO_WORDS: &[&str] = &[
    "File::open",
    "TcpListener",
    "TcpStream",
    "ToSocketAddrs",
    "UdpSocket",
    "fs_err",
    "libc",
    "rustix",
    "std::fs",
    "std::os",
    "std::process",
];

/// Re-exec reads its marker and its arguments before `main` goes on (invariant 7).
const ENVIRONMENT: &[&str] =
    &["crates/karman-cli/", "crates/karman-sys/src/identity/", "crates/karman-sys/src/reexec.rs"];
const TERMINAL: &[&str] = &["crates/karman-cli/", "crates/karman-report/"];

/// Beginnings of secrets, cut in two so that this file does not hold them.
pub(crate) const SECRETS: &[(&str, &str, &str)] = &[
    ("PRIVATE ", "KEY-----", "a private key"),
    ("AK", "IA", "an AWS access key"),
    ("gh", "p_", "a GitHub token"),
    ("github_", "pat_", "a GitHub token"),
    ("gl", "pat-", "a GitLab token"),
    ("xo", "xb-", "a Slack token"),
    ("pypi-AgEI", "cHlwaS5vcmc", "a PyPI token"),
];
/// Characters of a token that must follow its beginning, so that prose does not count.
pub(crate) const SECRET_TAIL: usize = 16;
/// Files that hold a secret on purpose, with the reason.
pub(crate) const KNOWN_SECRETS: &[(&str, &str)] = &[(
    "crates/karman-net/tests/data/localhost.key",
    "key of a self-signed certificate for `localhost`, made for the TLS tests",
)];

/// Variables that name mirrors and proxies of a machine; their hosts must not be in the sources.
pub(crate) const HOST_VARIABLES: &[&str] = &[
    "PIP_INDEX_URL",
    "PIP_EXTRA_INDEX_URL",
    "UV_INDEX_URL",
    "UV_DEFAULT_INDEX",
    "UV_INDEX",
    "GOPROXY",
    "NPM_CONFIG_REGISTRY",
    "CARGO_REGISTRIES_CRATES_IO_INDEX",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "http_proxy",
    "https_proxy",
];
/// Hosts that everybody has.
pub(crate) const PUBLIC_HOSTS: &[&str] = &[
    "localhost",
    "127.0.0.1",
    "pypi.org",
    "files.pythonhosted.org",
    "crates.io",
    "index.crates.io",
    "static.crates.io",
    "github.com",
    "proxy.golang.org",
    "registry.npmjs.org",
];
