//! What both benchmarks share: the reviews they send and the table they print.

#![allow(dead_code)] // each benchmark uses another part

pub(crate) mod reviews;
pub(crate) mod table;

/// Whether figures are wanted (`cargo bench`), or only that everything runs (`cargo test`).
pub(crate) fn is_measuring() -> bool {
    std::env::args().any(|argument| argument == "--bench")
}
