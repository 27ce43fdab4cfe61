//! All of sparkmesh that talks to the world: command line, HTTPS, Kubernetes API, files and
//! netfilter. What is decided is decided in `sparkmesh-policy` and `sparkmesh-injection`.

pub mod cli;
pub mod control;
pub mod crds;
pub mod init;
pub mod webhook;
