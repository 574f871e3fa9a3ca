//! System calls that the agent never makes and that an intruder would: they fail with EPERM in every thread.
//! What is refused is listed, and not what is allowed: libraries change their harmless calls with every release.

use std::{collections::BTreeMap, env::consts::ARCH};

use anyhow::Context as _;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, apply_filter, apply_filter_all_threads, sock_filter,
};

/// Refused whatever their arguments: names as in the manual, and numbers of this architecture.
pub const REFUSED: &[(&str, libc::c_long)] = &[
    // To start a program, or to become another.
    ("execve", libc::SYS_execve),
    ("execveat", libc::SYS_execveat),
    // openat2() has its flags in memory, where no filter sees them.
    ("openat2", libc::SYS_openat2),
    ("setuid", libc::SYS_setuid),
    ("setgid", libc::SYS_setgid),
    ("setreuid", libc::SYS_setreuid),
    ("setregid", libc::SYS_setregid),
    ("setresuid", libc::SYS_setresuid),
    ("setresgid", libc::SYS_setresgid),
    ("setfsuid", libc::SYS_setfsuid),
    ("setfsgid", libc::SYS_setfsgid),
    // Not capset(): it can only give up more, as the threads that serve do.
    ("setgroups", libc::SYS_setgroups),
    // To change another process, which CAP_SYS_PTRACE would allow.
    ("ptrace", libc::SYS_ptrace),
    ("process_vm_writev", libc::SYS_process_vm_writev),
    ("process_madvise", libc::SYS_process_madvise),
    ("kill", libc::SYS_kill),
    ("pidfd_send_signal", libc::SYS_pidfd_send_signal),
    // To connect: the port is open by now, and Docker's socket is a Unix socket, for which see below.
    ("listen", libc::SYS_listen),
    ("bind", libc::SYS_bind),
    // To change files, or what is mounted; but a Unix socket that it listens on is removed at its end.
    ("renameat2", libc::SYS_renameat2),
    ("linkat", libc::SYS_linkat),
    ("symlinkat", libc::SYS_symlinkat),
    ("mkdirat", libc::SYS_mkdirat),
    ("mknodat", libc::SYS_mknodat),
    ("truncate", libc::SYS_truncate),
    ("ftruncate", libc::SYS_ftruncate),
    ("fallocate", libc::SYS_fallocate),
    ("fchmod", libc::SYS_fchmod),
    ("fchmodat", libc::SYS_fchmodat),
    ("fchown", libc::SYS_fchown),
    ("fchownat", libc::SYS_fchownat),
    ("open_by_handle_at", libc::SYS_open_by_handle_at),
    ("mount", libc::SYS_mount),
    ("umount2", libc::SYS_umount2),
    ("move_mount", libc::SYS_move_mount),
    ("open_tree", libc::SYS_open_tree),
    ("fsopen", libc::SYS_fsopen),
    ("pivot_root", libc::SYS_pivot_root),
    ("chroot", libc::SYS_chroot),
    ("setns", libc::SYS_setns),
    ("unshare", libc::SYS_unshare),
    // To change the host.
    ("init_module", libc::SYS_init_module),
    ("finit_module", libc::SYS_finit_module),
    ("delete_module", libc::SYS_delete_module),
    ("kexec_load", libc::SYS_kexec_load),
    ("kexec_file_load", libc::SYS_kexec_file_load),
    ("reboot", libc::SYS_reboot),
    ("settimeofday", libc::SYS_settimeofday),
    ("clock_settime", libc::SYS_clock_settime),
    ("sethostname", libc::SYS_sethostname),
    ("setdomainname", libc::SYS_setdomainname),
    ("swapon", libc::SYS_swapon),
    ("swapoff", libc::SYS_swapoff),
    // To go around filters, and doors of the kernel that were often left open.
    ("io_uring_setup", libc::SYS_io_uring_setup),
    ("userfaultfd", libc::SYS_userfaultfd),
    ("keyctl", libc::SYS_keyctl),
    ("add_key", libc::SYS_add_key),
    ("request_key", libc::SYS_request_key),
    ("personality", libc::SYS_personality),
];

/// Those that only older architectures have, each with an argument less than its successor.
#[cfg(target_arch = "x86_64")]
const OLDER: &[libc::c_long] = &[
    libc::SYS_creat,
    libc::SYS_rename,
    libc::SYS_renameat,
    libc::SYS_link,
    libc::SYS_symlink,
    libc::SYS_mkdir,
    libc::SYS_rmdir,
    libc::SYS_mknod,
    libc::SYS_chmod,
    libc::SYS_chown,
    libc::SYS_lchown,
    libc::SYS_fork,
    libc::SYS_vfork,
];
#[cfg(not(target_arch = "x86_64"))]
const OLDER: &[libc::c_long] = &[];

/// Refused beside those to the threads that serve: they read and write what others have opened, and nothing else.
pub const REFUSED_WHERE_SERVING: &[(&str, libc::c_long)] = &[
    ("openat", libc::SYS_openat),
    ("unlinkat", libc::SYS_unlinkat),
    ("readlinkat", libc::SYS_readlinkat),
    ("getdents64", libc::SYS_getdents64),
    ("fchdir", libc::SYS_fchdir),
    ("chdir", libc::SYS_chdir),
    ("inotify_add_watch", libc::SYS_inotify_add_watch),
    // Also a Unix socket: Docker's is asked elsewhere.
    ("socket", libc::SYS_socket),
    ("connect", libc::SYS_connect),
    ("sendmsg", libc::SYS_sendmsg),
    ("sendmmsg", libc::SYS_sendmmsg),
    // The kernel half is loaded and attached elsewhere, and other processes are read there.
    ("bpf", libc::SYS_bpf),
    ("perf_event_open", libc::SYS_perf_event_open),
    ("pidfd_open", libc::SYS_pidfd_open),
    ("pidfd_getfd", libc::SYS_pidfd_getfd),
    ("process_vm_readv", libc::SYS_process_vm_readv),
];

/// Those that only older architectures have.
#[cfg(target_arch = "x86_64")]
const OLDER_WHERE_SERVING: &[libc::c_long] = &[libc::SYS_open, libc::SYS_unlink, libc::SYS_readlink];
#[cfg(not(target_arch = "x86_64"))]
const OLDER_WHERE_SERVING: &[libc::c_long] = &[];

/// Refused beside [`REFUSED`] to the processes that read for the agent: what they hold by then is one socket.
const REFUSED_WHERE_READING: &[libc::c_long] = &[
    libc::SYS_socket,
    libc::SYS_connect,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_unlinkat,
    libc::SYS_clone3,
];

/// The calls that open a file by its path, and which of their arguments is the flags.
#[cfg(target_arch = "x86_64")]
const OPENING: &[(libc::c_long, u8)] = &[(libc::SYS_openat, 2), (libc::SYS_open, 1)];
#[cfg(not(target_arch = "x86_64"))]
const OPENING: &[(libc::c_long, u8)] = &[(libc::SYS_openat, 2)];

/// `__X32_SYSCALL_BIT` of arch/x86/include/uapi/asm/unistd.h.
const X32: u32 = 0x4000_0000;

/// Codes of instructions (`bpf_common.h` of the kernel): `BPF_LD | BPF_W | BPF_ABS`, `BPF_JMP | BPF_JGE | BPF_K`, `BPF_RET | BPF_K`.
const LOAD_WORD: u16 = 0x20;
const JUMP_IF_AT_LEAST: u16 = 0x35;
const RETURN: u16 = 0x06;

/// Filters the calls of all threads of the process.
pub(super) fn refuse() -> anyhow::Result<()> {
    apply_filter_all_threads(&program()?).context("seccomp()")
}

/// Filters the calls of this thread, and of those that it will start.
pub(super) fn refuse_where_serving() -> anyhow::Result<()> {
    apply_filter(&program_where_serving()?).context("seccomp()")
}

/// Filters the calls of a process that reads.
pub(super) fn refuse_where_reading() -> anyhow::Result<()> {
    let mut rules = rules()?;
    rules.extend(REFUSED_WHERE_READING.iter().map(|number| (*number, Vec::new())));
    apply_filter(&compile(rules)?).context("seccomp()")
}

fn program_where_serving() -> anyhow::Result<BpfProgram> {
    let calls = REFUSED_WHERE_SERVING.iter().map(|(_, number)| *number);
    compile(calls.chain(OLDER_WHERE_SERVING.iter().copied()).map(|number| (number, Vec::new())).collect())
}

fn program() -> anyhow::Result<BpfProgram> {
    compile(rules()?)
}

/// What is refused to every thread.
fn rules() -> anyhow::Result<BTreeMap<i64, Vec<SeccompRule>>> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = REFUSED
        .iter()
        .map(|(_, number)| *number)
        .chain(OLDER.iter().copied())
        .map(|n| (n, Vec::new()))
        .collect();
    // Any socket but a Unix one; and opening for writing, whose two access modes are bits of the flags.
    rules.insert(libc::SYS_socket, vec![rule(0, SeccompCmpOp::Ne, libc::AF_UNIX.cast_unsigned().into())?]);
    for (call, flags) in OPENING {
        let writes = [libc::O_WRONLY, libc::O_RDWR].map(|mode| {
            let mask = u64::from(libc::O_ACCMODE.cast_unsigned());
            rule(*flags, SeccompCmpOp::MaskedEq(mask), mode.cast_unsigned().into())
        });
        rules.insert(*call, writes.into_iter().collect::<anyhow::Result<_>>()?);
    }
    Ok(rules)
}

/// A filter that refuses what the rules match.
fn compile(rules: BTreeMap<i64, Vec<SeccompRule>>) -> anyhow::Result<BpfProgram> {
    let architecture =
        TargetArch::try_from(ARCH).with_context(|| format!("no filter is known for {ARCH}"))?;
    let refused = SeccompAction::Errno(libc::EPERM.cast_unsigned());
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refused, architecture)?;
    Ok(without_second_table(filter.try_into()?))
}

/// A filter that also refuses every call of a second table of the same architecture: that of x32, whose numbers have a bit
/// more, and behind which each call that the filter knows would stand open.
fn without_second_table(filter: BpfProgram) -> BpfProgram {
    if ARCH != "x86_64" {
        return filter;
    }
    let instruction = |code, jt, jf, k| sock_filter { code, jt, jf, k };
    let mut program = vec![
        // The number, which `struct seccomp_data` begins with; refused from the bit on, else on to the filter.
        instruction(LOAD_WORD, 0, 0, 0),
        instruction(JUMP_IF_AT_LEAST, 0, 1, X32),
        instruction(RETURN, 0, 0, libc::SECCOMP_RET_ERRNO | libc::EPERM.cast_unsigned()),
    ];
    program.extend(filter);
    program
}

/// Matches where the argument compares so with `value`.
fn rule(argument: u8, compares: SeccompCmpOp, value: u64) -> anyhow::Result<SeccompRule> {
    let condition = SeccompCondition::new(argument, SeccompCmpArgLen::Dword, compares, value)?;
    Ok(SeccompRule::new(vec![condition])?)
}

#[cfg(test)]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "numbers of calls and flags are small, and the halves of an argument are meant"
)]
mod tests {
    use super::*;

    /// What a filter returns for a call, as the kernel runs it (`struct seccomp_data` of include/uapi/linux/seccomp.h).
    #[cfg(target_arch = "x86_64")]
    fn verdict(program: &BpfProgram, number: u32, arguments: [u64; 6]) -> u32 {
        // AUDIT_ARCH_X86_64.
        let mut data = vec![number, 0xc000_003e, 0, 0];
        data.extend(arguments.iter().flat_map(|argument| [*argument as u32, (*argument >> 32) as u32]));
        let (mut at, mut value) = (0, 0);
        loop {
            let sock_filter { code, jt, jf, k } = program[at];
            at += 1;
            let jump = |holds: bool| usize::from(if holds { jt } else { jf });
            match code {
                0x20 => value = data[k as usize / 4],
                0x54 => value &= k,
                0x05 => at += k as usize,
                0x15 => at += jump(value == k),
                0x25 => at += jump(value > k),
                0x35 => at += jump(value >= k),
                0x45 => at += jump(value & k != 0),
                0x06 => return k,
                _ => panic!("an instruction that filters do not have: {code:#x}"),
            }
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn what_is_refused_is_refused_in_both_tables() {
        let refused = libc::SECCOMP_RET_ERRNO | libc::EPERM.cast_unsigned();
        let unix = [libc::AF_UNIX.cast_unsigned().into(), 0, 0, 0, 0, 0];
        for (program, name) in [(program().unwrap(), "all"), (program_where_serving().unwrap(), "serving")] {
            assert_eq!(verdict(&program, libc::SYS_read as u32, [0; 6]), libc::SECCOMP_RET_ALLOW, "{name}");
            for number in [libc::SYS_read as u32, libc::SYS_execve as u32, 520, 0x3fff_ffff] {
                assert_eq!(verdict(&program, number | X32, [0; 6]), refused, "{name}: {number} of x32");
            }
        }
        let program = program().unwrap();
        for (name, number) in REFUSED {
            assert_eq!(verdict(&program, *number as u32, [0; 6]), refused, "{name}");
        }
        assert_eq!(verdict(&program, libc::SYS_socket as u32, unix), libc::SECCOMP_RET_ALLOW);
        let open = |flags: i32| verdict(&program, libc::SYS_openat as u32, [0, 0, flags as u64, 0, 0, 0]);
        assert_eq!((open(libc::O_RDONLY), open(libc::O_RDWR)), (libc::SECCOMP_RET_ALLOW, refused));
    }

    #[test]
    fn there_is_a_filter_for_this_architecture() {
        assert!(program().unwrap().len() > REFUSED.len());
        assert!(program_where_serving().unwrap().len() > REFUSED_WHERE_SERVING.len());
    }
}
