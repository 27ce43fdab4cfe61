//! Which iptables programs `sparkmesh init` finds on its PATH, and how it is run.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Output};
use std::{env, fs};

use tempfile::TempDir;

use crate::pod::{Netns, PEER, POD, output_of};

/// A format of tables in the kernel, as the programs are called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Nft,
    Legacy,
}

impl Format {
    /// The formats that this kernel takes; said on stderr, and never none.
    pub(crate) fn taken() -> Vec<Format> {
        let netns = Netns::new("probe");
        let is_taken = |format: &Format| {
            let restore = program(&format!("ip6tables-{}-restore", format.infix()));
            let empty = "*nat\n:SPARKMESH_PROBE - [0:0]\nCOMMIT\n";
            let output = netns.enter(|| output_of(Command::new(restore).arg("-n"), empty));
            output.status.success()
        };
        let all = [Format::Nft, Format::Legacy].into_iter();
        let formats: Vec<Format> = all.filter(is_taken).collect();
        eprintln!("formats of tables that this kernel takes: {formats:?}");
        assert!(!formats.is_empty(), "this kernel takes no NAT rules");
        formats
    }

    fn infix(self) -> &'static str {
        match self {
            Format::Nft => "nft",
            Format::Legacy => "legacy",
        }
    }

    /// What `sparkmesh init` calls it.
    pub(crate) fn spoken(self) -> &'static str {
        match self {
            Format::Nft => "nf_tables",
            Format::Legacy => "legacy iptables",
        }
    }

    /// The `nat` table of one family, without counters and comments.
    pub(crate) fn saved(self, netns: &Netns, family: &str) -> String {
        let save = format!("{family}-{}-save -t nat", self.infix());
        let saved = netns.run(&save, "");
        let lines = saved.lines().filter(|line| !line.starts_with('#'));
        lines
            .map(|line| line.split(" [").next().unwrap_or(line).to_owned() + "\n")
            .collect()
    }

    /// Feeds rules of the `nat` table of one family to the kernel.
    pub(crate) fn write(self, netns: &Netns, family: &str, rules: &str) {
        let restore = format!("{family}-{}-restore --noflush", self.infix());
        netns.run(&restore, &format!("*nat\n{rules}\nCOMMIT\n"));
    }
}

/// A folder that is all of PATH.
pub(crate) struct Tools(TempDir);

impl Tools {
    pub(crate) fn none() -> Tools {
        Tools(TempDir::new().expect("a folder"))
    }

    /// The programs of one format under the names that tell it.
    pub(crate) fn of(format: Format) -> Tools {
        Tools::none()
            .with(format, "iptables")
            .with(format, "ip6tables")
    }

    pub(crate) fn with(self, format: Format, family: &str) -> Tools {
        let named = format!("{family}-{}", format.infix());
        self.linked(&named, &named)
    }

    /// The programs of one format under the plain names, as distributions offer one of them.
    pub(crate) fn plain(format: Format) -> Tools {
        let named = |family: &str| format!("{family}-{}", format.infix());
        let plain = |tools: Tools, family: &str| tools.linked(&named(family), family);
        plain(plain(Tools::none(), "iptables"), "ip6tables")
    }

    fn linked(self, prefix: &str, name: &str) -> Tools {
        for end in ["restore", "save"] {
            let link = self.0.path().join(format!("{name}-{end}"));
            // The program knows by its own name what it is: a script calls it by the right one.
            let target = program(&format!("{prefix}-{end}"));
            if prefix == name {
                symlink(target, link).expect("a link");
            } else {
                script(&link, &format!("exec {target} \"$@\""));
            }
        }
        self
    }

    /// A program that does not do its work, in place of a real one.
    pub(crate) fn with_script(self, name: &str, body: &str) -> Tools {
        let path = self.0.path().join(name);
        let _ = fs::remove_file(&path);
        script(&path, body);
        self
    }

    /// Runs `sparkmesh init` inside with these programs only; it must succeed.
    pub(crate) fn init(&self, netns: &Netns, arguments: &[&str]) -> String {
        let output = self.try_init(netns, arguments);
        let said = said(&output);
        assert!(output.status.success(), "{arguments:?}: {said}");
        said
    }

    /// Runs `sparkmesh init` inside with these programs only; it must fail.
    pub(crate) fn init_refused(&self, netns: &Netns) -> String {
        let output = self.try_init(netns, &[]);
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        said(&output)
    }

    fn try_init(&self, netns: &Netns, arguments: &[&str]) -> Output {
        netns.enter(|| output_of(self.command(&[]).args(arguments), ""))
    }

    /// `[wrapper...] sparkmesh init`, with the variables that the init container has.
    pub(crate) fn command(&self, wrapper: &[&str]) -> Command {
        let words: Vec<&str> = wrapper
            .iter()
            .copied()
            .chain([env!("CARGO_BIN_EXE_sparkmesh"), "init"])
            .collect();
        // The wrapper is looked up on the test's own PATH.
        let mut command = Command::new(program_or_path(words[0]));
        command
            .args(&words[1..])
            .env_clear()
            .env("PATH", self.0.path())
            .env("POD_IP", POD[0].to_string())
            .env("HOST_IP", PEER[0].to_string());
        command
    }
}

/// What a run printed to stderr.
pub(crate) fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn program_or_path(name: &str) -> String {
    if name.starts_with('/') {
        name.to_owned()
    } else {
        program(name)
    }
}

/// The path of a program, or a panic that names its package.
pub(crate) fn program(name: &str) -> String {
    let folders = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&folders)
        .map(|folder| folder.join(name))
        .find(|path| path.is_file());
    let package = match name {
        _ if name.contains("tables") => "iptables",
        "setpriv" | "unshare" | "mount" => "util-linux",
        _ => "coreutils",
    };
    let path = found.unwrap_or_else(|| panic!("`{name}` is missing: install {package}"));
    path.to_str().expect("UTF-8").to_owned()
}

fn script(path: &Path, body: &str) {
    fs::write(path, format!("#!/bin/sh\n{body}\n")).expect("a script");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("executable");
}
