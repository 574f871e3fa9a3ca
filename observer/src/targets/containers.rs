//! What a container runtime tells of a container, and how a container's cgroup directory is recognised.
//! Runtimes disagree on the folders above it, but all put the container's full id into its own name.

use std::{collections::HashMap, path::Path};

use super::Info;

/// The label by which an image says its version, OCI image specification (annotations.md).
const VERSION_LABEL: &str = "org.opencontainers.image.version";

/// One container, running or not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Container {
    /// 64 hex digits.
    pub(super) id: String,
    /// Name without a leading slash.
    pub(super) name: String,
    /// Image reference as the runtime names it.
    pub(super) image: String,
    /// `sha256:…` of the image.
    pub(super) image_digest: String,
    /// `docker` or `podman`.
    pub(super) runtime: String,
    /// From the image's label, else its tag; empty where neither says one.
    pub(super) version: String,
    /// Whether the runtime says that it runs now.
    pub(super) running: bool,
    /// Its first process, where the runtime was asked for it.
    pub(super) init: Option<u32>,
}

impl Container {
    /// As `target_info` shows it.
    pub(super) fn info(&self) -> Info {
        Info {
            image: self.image.clone(),
            image_digest: self.image_digest.clone(),
            container_id: self.id.chars().take(12).collect(),
            runtime: self.runtime.clone(),
            version: self.version.clone(),
            ..Info::default()
        }
    }
}

/// The version that an image says it holds. The tag `latest` says none.
pub(super) fn version(image: &str, labels: &HashMap<String, String>) -> String {
    if let Some(version) = labels.get(VERSION_LABEL).filter(|version| !version.is_empty()) {
        return version.clone();
    }
    let name = image.split_once('@').map_or(image, |(name, _)| name);
    match name.rsplit_once(':') {
        // `sha256:…` is an image without a name, `host:5000/name` a registry's port.
        Some((name, tag)) if name != "sha256" && !tag.contains('/') && tag != "latest" => tag.to_owned(),
        _ => String::new(),
    }
}

/// The id of the container whose own cgroup this is; `None` for every other cgroup, also for those inside a
/// container. `/docker/ID`, `/system.slice/docker-ID.scope`, `/libpod_parent/libpod-ID` are such.
pub(super) fn id_of_cgroup(cgroup: &Path) -> Option<&str> {
    let name = cgroup.file_name()?.to_str()?;
    let name = name.strip_suffix(".scope").unwrap_or(name);
    let (prefix, id) = name.rsplit_once('-').unwrap_or(("", name));
    // podman and CRI-O put the container's monitor into a cgroup of its own beside the container.
    let monitor = prefix.ends_with("conmon");
    (!monitor && id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(id)
}

/// The systemd unit whose own cgroup this is. A slice is a group of units and not one itself.
pub(super) fn unit_of_cgroup(cgroup: &Path) -> Option<&str> {
    let name = cgroup.file_name()?.to_str()?;
    // systemd puts a `_` before names that would clash with a controller's files (cg_escape in its cgroup-util.c).
    let name = name.strip_prefix('_').unwrap_or(name);
    let (stem, suffix) = name.rsplit_once('.')?;
    (!stem.is_empty() && matches!(suffix, "service" | "scope" | "socket" | "mount" | "swap")).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn a_container_is_recognised_under_every_runtime_s_folder() {
        for path in [
            format!("/docker/{ID}"),
            format!("/system.slice/docker-{ID}.scope"),
            format!("/libpod_parent/libpod-{ID}"),
            format!("/machine.slice/libpod-{ID}.scope"),
            format!("/default/{ID}"),
            format!("/kubepods.slice/kubepods-pod1.slice/cri-containerd-{ID}.scope"),
        ] {
            assert_eq!(id_of_cgroup(Path::new(&path)), Some(ID), "{path}");
        }
    }

    #[test]
    fn what_is_no_container_s_own_cgroup_is_not_taken_for_one() {
        for path in [
            "/".to_owned(),
            "/docker".to_owned(),
            format!("/docker/{ID}/init.scope"),
            format!("/docker/{}", &ID[..63]),
            format!("/docker/{}g", &ID[..63]),
            format!("/machine.slice/libpod-conmon-{ID}.scope"),
            format!("/machine.slice/crio-conmon-{ID}.scope"),
        ] {
            assert_eq!(id_of_cgroup(Path::new(&path)), None, "{path}");
        }
    }

    #[test]
    fn a_unit_is_the_cgroup_s_own_name() {
        let unit = |path| unit_of_cgroup(Path::new(path));
        assert_eq!(unit("/system.slice/chat.service"), Some("chat.service"));
        assert_eq!(unit("/user.slice/user-1.slice/user@1.service"), Some("user@1.service"));
        assert_eq!(unit("/system.slice/_cpu.service"), Some("cpu.service"));
        assert_eq!(unit("/init.scope"), Some("init.scope"));
        assert_eq!(unit("/system.slice"), None);
        assert_eq!(unit("/system.slice/chat.service/workers"), None);
        assert_eq!(unit("/a/.service"), None);
        assert_eq!(unit("/"), None);
    }

    #[test]
    fn the_version_is_the_label_s_else_the_tag_s() {
        let none = HashMap::new();
        let label = HashMap::from([(VERSION_LABEL.to_owned(), "1.2".to_owned())]);
        assert_eq!(version("a/b:3", &label), "1.2");
        assert_eq!(version("a/b:3", &none), "3");
        assert_eq!(version("host:5000/a/b:3@sha256:00", &none), "3");
        for image in ["a/b:latest", "a/b", "host:5000/a/b", "sha256:0123", ""] {
            assert_eq!(version(image, &none), "", "{image}");
        }
    }
}
