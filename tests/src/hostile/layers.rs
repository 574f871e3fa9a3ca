//! Overlays over one lower layer, as containers of one image have them: a file of the layer is one under a device each.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

/// Mounted overlays, unmounted when this is dropped.
pub struct Layers {
    folder: TempDir,
    count: usize,
}

impl Layers {
    /// So many, over a layer that holds a copy of `file`.
    pub fn mount(file: &Path, count: usize) -> Result<Self> {
        let folder = TempDir::new().context("cannot make a folder")?;
        let lower = folder.path().join("lower");
        fs::create_dir(&lower)?;
        fs::copy(file, lower.join("node")).context("cannot copy into a layer")?;
        let mut layers = Self { folder, count: 0 };
        for number in 0..count {
            let folders = ["upper", "work", "merged"].map(|name| layers.place(name, number));
            for folder in &folders {
                fs::create_dir(folder)?;
            }
            let [upper, work, merged] = folders.map(|folder| folder.display().to_string());
            let options = format!("lowerdir={},upperdir={upper},workdir={work}", lower.display());
            let mounted =
                Command::new("mount").args(["-t", "overlay", "overlay", "-o", &options, &merged]).status()?;
            ensure!(mounted.success(), "cannot mount an overlay: {mounted}");
            layers.count += 1;
        }
        Ok(layers)
    }

    /// The file of the layer, as the overlay of this number has it.
    pub fn file(&self, number: usize) -> PathBuf {
        self.place("merged", number).join("node")
    }

    fn place(&self, name: &str, number: usize) -> PathBuf {
        self.folder.path().join(format!("{name}-{number}"))
    }
}

impl Drop for Layers {
    fn drop(&mut self) {
        for number in 0..self.count {
            let unmounted = Command::new("umount").arg("--lazy").arg(self.place("merged", number)).status();
            if !unmounted.is_ok_and(|status| status.success()) {
                eprintln!("error: cannot unmount an overlay");
            }
        }
    }
}
