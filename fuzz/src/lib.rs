//! What the targets share: pods made of a fuzzer's bytes, and what must hold for every pod.

pub mod journey;
pub mod shape;
