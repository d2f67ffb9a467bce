//! `karman constraints` as people run it: the real binary, a temporary home and store, advisories from
//! directories, archives and a server, and, where uv is there, resolutions against an index of ours.
//!
//! uv is looked for in `KARMAN_TEST_UV` and on the `PATH`; without it the tests that resolve are
//! skipped with that reason.

mod lab;
mod offline;
mod resolved;
mod sources;
