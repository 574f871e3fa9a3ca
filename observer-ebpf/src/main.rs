//! Programs and maps.
//! One file per subject.
#![no_std]
#![no_main]
