//! A folder as the kubelet mounts Secrets and `ConfigMap`s: files are links through `..data`, which
//! is itself a link to a folder of this issue, and is swapped in one step.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use tempfile::TempDir;

pub(crate) struct Mount {
    folder: TempDir,
    issue: AtomicU32,
}

impl Mount {
    pub(crate) fn new(files: &[(&str, &str)]) -> Mount {
        let mount = Mount {
            folder: tempfile::tempdir().expect("a folder"),
            issue: AtomicU32::new(0),
        };
        mount.swap(files);
        for (name, _) in files {
            let target = PathBuf::from("..data").join(name);
            symlink(target, mount.path(name)).expect("linked");
        }
        mount
    }

    /// Replaces every file at once, as the kubelet does.
    pub(crate) fn swap(&self, files: &[(&str, &str)]) {
        let root = self.folder.path();
        let issue = self.issue.fetch_add(1, Ordering::Relaxed);
        let (new, old) = (format!("..{issue}"), format!("..{}", issue.wrapping_sub(1)));
        fs::create_dir(root.join(&new)).expect("created");
        for (name, text) in files {
            fs::write(root.join(&new).join(name), text).expect("written");
        }
        symlink(&new, root.join("..data_tmp")).expect("linked");
        fs::rename(root.join("..data_tmp"), root.join("..data")).expect("swapped");
        if issue > 0 {
            fs::remove_dir_all(root.join(old)).expect("removed");
        }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}
