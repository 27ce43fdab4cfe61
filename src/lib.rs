//! All of sparkmesh that talks to the world: command line, HTTPS, Kubernetes API, files and
//! netfilter. What is decided is decided in `sparkmesh-policy` and `sparkmesh-injection`.

pub mod admin;
pub mod cli;
pub mod config;
pub mod control;
pub mod crds;
pub mod facts;
pub mod init;
pub mod listen;
pub mod offline;
mod service;
pub mod telemetry;
pub mod tls;
pub mod webhook;
pub mod yaml;
