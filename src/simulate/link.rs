//! A name for a pty: a symbolic link that is there while the simulator runs.
//!
//! Must never take anything away from anyone: only a link that leads nowhere, as a killed simulator leaves it, is replaced, and only
//! our own is removed.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

/// The link; dropping it removes it.
#[derive(Debug)]
pub(super) struct PtyLink {
    path: PathBuf,
    target: PathBuf,
}

impl PtyLink {
    /// Makes `path` lead to `target`.
    pub(super) fn create(path: &Path, target: &Path) -> anyhow::Result<Self> {
        if let Ok(found) = path.symlink_metadata() {
            if !found.is_symlink() {
                bail!("{} exists and is no link; give --pty a name that is free", path.display());
            }
            if let Ok(there) = path.canonicalize() {
                bail!(
                    "{} is a link to {}, which exists; another simulator may run there. Remove the link if none does, or give --pty another name",
                    path.display(),
                    there.display()
                );
            }
            std::fs::remove_file(path)
                .with_context(|| format!("replacing the dead link {}", path.display()))?;
        }
        symlink(target, path).with_context(|| {
            format!("making the link {}; its directory must exist and be writable", path.display())
        })?;
        Ok(Self { path: path.to_owned(), target: target.to_owned() })
    }
}

impl Drop for PtyLink {
    fn drop(&mut self) {
        if std::fs::read_link(&self.path).is_ok_and(|target| target == self.target) {
            // A link that is gone already needs no removing, and one that can't be removed is replaced next time.
            std::fs::remove_file(&self.path).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_there_while_it_is_held_and_a_dead_one_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let (path, target) = (dir.path().join("pty"), dir.path().join("target"));
        std::fs::write(&target, "").unwrap();
        symlink(dir.path().join("gone"), &path).unwrap();
        let link = PtyLink::create(&path, &target).unwrap();
        assert_eq!(std::fs::read_link(&path).unwrap(), target);
        drop(link);
        assert!(path.symlink_metadata().is_err());
    }

    #[test]
    fn what_is_there_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (file, living) = (dir.path().join("file"), dir.path().join("living"));
        std::fs::write(&file, "kept").unwrap();
        symlink(&file, &living).unwrap();
        let refused = |path: &Path| PtyLink::create(path, Path::new("/dev/null")).unwrap_err().to_string();
        assert!(refused(&file).contains("is no link"));
        assert!(refused(&living).contains("which exists"));
        assert!(refused(dir.path()).contains("is no link"));
        assert!(refused(&dir.path().join("no/such")).contains("directory"));
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "kept");
    }

    #[test]
    fn a_link_that_became_somebody_elses_is_not_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pty");
        let link = PtyLink::create(&path, Path::new("/dev/pts/ours")).unwrap();
        std::fs::remove_file(&path).unwrap();
        symlink("/dev/pts/theirs", &path).unwrap();
        drop(link);
        assert_eq!(std::fs::read_link(&path).unwrap(), Path::new("/dev/pts/theirs"));
    }
}
