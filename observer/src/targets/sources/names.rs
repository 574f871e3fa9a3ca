//! What names tell: which container or unit a cgroup belongs to, which version an image holds.
//! Runtimes disagree on the folders above a container's cgroup, but all put its full id into its own name.

use std::{collections::HashMap, path::Path};

/// The label by which an image says its version, OCI image specification (annotations.md).
const VERSION_LABEL: &str = "org.opencontainers.image.version";

/// The version that an image says it holds. The tag `latest` says none.
pub(in crate::targets) fn version(image: &str, labels: &HashMap<String, String>) -> String {
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
pub(in crate::targets) fn id_of_cgroup(cgroup: &Path) -> Option<&str> {
    let name = cgroup.file_name()?.to_str()?;
    let name = name.strip_suffix(".scope").unwrap_or(name);
    let (prefix, id) = name.rsplit_once('-').unwrap_or(("", name));
    // podman and CRI-O put the container's monitor into a cgroup of its own beside the container.
    let monitor = prefix.ends_with("conmon");
    (!monitor && id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(id)
}

/// The systemd unit whose own cgroup this is. A slice is a group of units and not one itself.
pub(in crate::targets) fn unit_of_cgroup(cgroup: &Path) -> Option<&str> {
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
