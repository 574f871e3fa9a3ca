//! A process in a target that makes exactly the connections that a test orders, one order at a time.
//! Every order is answered when it is done, so that a test never waits for a time to pass.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read, Write},
    net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    process::{Child, ChildStdin, ChildStdout, Stdio},
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail, ensure};

use crate::{cgroup::Cgroup, http::dialog::Dialog, process::raise_file_limit};

/// How long either end of a connection waits for the other.
const PATIENCE: Duration = Duration::from_secs(10);

/// A running `puppet`; it is killed when this is dropped.
#[derive(Debug)]
pub struct Puppet {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Puppet {
    /// Starts `program` (`env!("CARGO_BIN_EXE_puppet")` in a test) inside `cgroup`.
    pub fn start(program: &str, cgroup: &Cgroup) -> Result<Self> {
        let mut child = cgroup
            .command(program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the puppet")?;
        let orders = child.stdin.take().context("the puppet has no input")?;
        let answers = BufReader::new(child.stdout.take().context("the puppet has no output")?);
        let mut puppet = Self { child, orders, answers };
        puppet.order("ready")?;
        Ok(puppet)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Makes it listen on loopback and echo; its address.
    pub fn listen(&mut self) -> Result<SocketAddr> {
        self.order("listen")?.parse().context("the puppet gave no address")
    }

    /// Makes it connect to an [`echo`] and send `bytes` there and back.
    pub fn call(&mut self, address: SocketAddr, bytes: usize) -> Result<()> {
        self.order(&format!("call {address} {bytes}")).map(drop)
    }

    /// Makes it connect and keep the connection.
    pub fn hold(&mut self, address: SocketAddr) -> Result<()> {
        self.order(&format!("hold {address}")).map(drop)
    }

    /// Plays `dialog` with it as the server, on a connection over loopback, to the end on both sides.
    pub fn serve(&mut self, dialog: &Dialog) -> Result<()> {
        let address = self.order(&format!("serve {}", serde_json::to_string(dialog)?))?;
        let played = dialog.connect(address.parse().context("the puppet gave no address")?);
        // What the server says of it tells more than what the client does.
        self.order("served").and(played)
    }

    /// Makes it open `count` files and keep them.
    pub fn open(&mut self, count: usize) -> Result<()> {
        self.order(&format!("open {count}")).map(drop)
    }

    /// Makes it close the connections that it holds.
    pub fn release(&mut self) -> Result<()> {
        self.order("release").map(drop)
    }

    fn order(&mut self, order: &str) -> Result<String> {
        writeln!(self.orders, "{order}").with_context(|| format!("the puppet takes no order: {order}"))?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer).context("the puppet gives no answer")?;
        match answer.trim_end_matches('\n').split_once(' ') {
            Some(("done", result)) => Ok(result.to_owned()),
            _ => bail!("the puppet's answer to `{order}`: {answer}"),
        }
    }
}

impl Drop for Puppet {
    fn drop(&mut self) {
        // Both fail only where it has ended and been waited for, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The puppet's own side: carries out the orders on standard input until it ends.
pub fn obey(orders: impl BufRead, mut answers: impl Write) -> Result<()> {
    let mut kept = Kept::default();
    for order in orders.lines() {
        let answer = carry_out(&order?, &mut kept);
        match answer {
            Ok(result) => writeln!(answers, "done {result}")?,
            Err(error) => writeln!(answers, "failed {error:#}")?,
        }
        answers.flush()?;
    }
    Ok(())
}

/// What a puppet keeps from one order to the next.
#[derive(Default)]
struct Kept {
    connections: Vec<TcpStream>,
    files: Vec<File>,
    dialog: Option<JoinHandle<Result<()>>>,
}

fn carry_out(order: &str, kept: &mut Kept) -> Result<String> {
    if let Some(dialog) = order.strip_prefix("serve ") {
        let dialog: Dialog = serde_json::from_str(dialog)?;
        let (address, playing) = dialog.listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        kept.dialog = Some(playing);
        return Ok(address.to_string());
    }
    let words: Vec<&str> = order.split(' ').collect();
    match words.as_slice() {
        ["ready"] => {}
        ["served"] => {
            let playing = kept.dialog.take().context("nothing is being served")?;
            playing.join().map_err(|_| anyhow!("the server panicked"))??;
        }
        ["listen"] => return Ok(echo(Ipv4Addr::LOCALHOST.into())?.to_string()),
        ["call", address, bytes] => call(address.parse()?, bytes.parse()?)?,
        ["hold", address] => kept.connections.push(TcpStream::connect(address)?),
        ["release"] => kept.connections.clear(),
        ["open", count] => {
            raise_file_limit()?;
            for _ in 0..count.parse()? {
                kept.files.push(File::open("/dev/null")?);
            }
        }
        _ => bail!("there is no such order"),
    }
    Ok(String::new())
}

/// Listens on a free port of `address`, for as long as the process lives: sends every connection back what it sent
/// once it has sent all, and closes after it.
pub fn echo(address: IpAddr) -> Result<SocketAddr> {
    let listener = TcpListener::bind((address, 0)).with_context(|| format!("cannot listen on {address}"))?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let mut bytes = Vec::new();
                // A caller that gives up is its own test's failure.
                if stream.read_to_end(&mut bytes).is_ok() {
                    let _ = stream.write_all(&bytes);
                }
            });
        }
    });
    Ok(address)
}

/// Connects to an [`echo`], sends `bytes`, closes that direction and reads the same back: the caller closes first.
pub fn call(address: SocketAddr, bytes: usize) -> Result<()> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(&vec![b'x'; bytes])?;
    stream.shutdown(Shutdown::Write)?;
    let mut back = Vec::new();
    stream.read_to_end(&mut back)?;
    ensure!(back.len() == bytes, "sent {bytes} bytes and got {} back", back.len());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_carried_out_and_answered_one_by_one() {
        let address = echo(Ipv4Addr::LOCALHOST.into()).unwrap();
        let orders = format!("ready\ncall {address} 1000\nhold {address}\nrelease\nlisten\ndance\n");
        let mut answers = Vec::new();
        obey(orders.as_bytes(), &mut answers).unwrap();
        let answers = String::from_utf8(answers).unwrap();
        let lines: Vec<&str> = answers.lines().collect();
        assert_eq!(lines[..4], ["done "; 4], "{answers}");
        assert!(lines[4].starts_with("done 127.0.0.1:"), "{answers}");
        assert!(lines[5].starts_with("failed "), "{answers}");
    }
}
