//! The tables of TCP sockets in `/proc/PID/net`, as far as they tell of listening sockets.
//! To read one whole costs the kernel a walk over its connections, so no more of it is asked for than is needed.

use std::{
    io::{self, BufRead as _, BufReader, Read},
    net::SocketAddr,
};

use procfs::{
    FromBufReadSI as _,
    net::{TcpNetEntries, TcpState},
};

/// Bytes of the reads of a table: the kernel formats a page at the most.
const READ: usize = 4096;
/// More than a row of a table has: 150 bytes of `tcp`, some more of `tcp6`.
const ROW: usize = 256;

/// Inode and address of each listening socket of a `/proc/PID/net/tcp` table. The kernel writes them before all others
/// (`tcp_seq_start` in `net/ipv4/tcp_ipv4.c`), so that reading stops there: the tens of thousands of connections that
/// may follow are not even formatted.
pub(in crate::targets) fn listening_sockets(table: impl Read) -> Vec<(u64, SocketAddr)> {
    let mut head = String::new();
    // Small reads, because each makes the kernel format as much as fits.
    let mut lines = BufReader::with_capacity(READ, Table { rows: table.take(1 << 20), ended: false }).lines();
    if let Some(Ok(header)) = lines.next() {
        head.push_str(&header);
        head.push('\n');
    }
    for line in lines.map_while(Result::ok) {
        // `0A` is TCP_LISTEN, include/net/tcp_states.h.
        if line.split_whitespace().nth(3) != Some("0A") {
            break;
        }
        head.push_str(&line);
        head.push('\n');
    }
    let entries = TcpNetEntries::from_buf_read(head.as_bytes(), procfs::current_system_info());
    let entries = entries.map(|entries| entries.0).unwrap_or_default();
    let listening = entries.into_iter().filter(|entry| entry.state == TcpState::Listen);
    listening.map(|entry| (entry.inode, entry.local_address)).collect()
}

/// A table of `/proc/PID/net`, whose end is known by a read that had room for another row: to say it once more, the kernel
/// would walk everything again (`seq_read_iter` in `fs/seq_file.c` fills what it is given as far as whole rows fit).
struct Table<R> {
    rows: R,
    ended: bool,
}

impl<R: Read> Read for Table<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.ended {
            return Ok(0);
        }
        let read = self.rows.read(buffer)?;
        self.ended = read + ROW <= buffer.len();
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows as the kernel gives them: whole ones only, and after the end nothing.
    struct Rows {
        reads: Vec<usize>,
        next: usize,
        count: usize,
    }

    impl Read for &mut Rows {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            const ROW: &str = "   0: 00000000:0C8A 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 100 1 0 100 0 0 10 0";
            let mut written = 0;
            while self.next < self.count && written + 150 <= buffer.len() {
                let row = if self.next == 0 { "  sl  local_address" } else { ROW };
                let row = format!("{row:149}\n");
                buffer[written..written + 150].copy_from_slice(row.as_bytes());
                written += 150;
                self.next += 1;
            }
            self.reads.push(written);
            Ok(written)
        }
    }

    #[test]
    fn the_end_of_a_table_is_not_asked_for_twice() {
        // 27 rows fill a page as far as whole ones do.
        for (rows, reads) in [(1, vec![150]), (3, vec![450]), (27, vec![4050, 0]), (28, vec![4050, 150])] {
            let mut table = Rows { reads: Vec::new(), next: 0, count: rows };
            assert_eq!(listening_sockets(&mut table).len(), rows - 1);
            assert_eq!(table.reads, reads, "{rows} rows");
        }
    }
}
