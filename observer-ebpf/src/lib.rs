//! Shared by kernel and agent: records, keys and counts.
//! Declared once, `repr(C)`, with sizes and offsets asserted.
#![cfg_attr(target_arch = "bpf", no_std)]
