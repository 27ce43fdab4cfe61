//! A "pod" and its peer: two network namespaces of this test's own, joined by a veth pair.
//!
//! Listeners and clients are threads that enter a namespace (and become another user) before
//! they open their socket; no helper process is left to be ended.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use std::{fs, io, process};

use rustix::thread::{
    Gid, LinkNameSpaceType, Uid, move_into_link_name_space, set_thread_groups, set_thread_res_gid,
    set_thread_res_uid,
};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

/// Addresses of the pod, of its peer (who plays the node, too), and of a network behind the peer.
pub(crate) const POD: [IpAddr; 2] = both(2, 2);
pub(crate) const PEER: [IpAddr; 2] = both(1, 1);
pub(crate) const FAR: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 7)),
];
pub(crate) const LOOPBACK: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::LOCALHOST),
    IpAddr::V6(Ipv6Addr::LOCALHOST),
];

const fn both(v4: u8, v6: u16) -> [IpAddr; 2] {
    [
        IpAddr::V4(Ipv4Addr::new(198, 18, 0, v4)),
        IpAddr::V6(Ipv6Addr::new(0xfd00, 0x5a, 0, 0, 0, 0, 0, v6)),
    ]
}

const PATIENCE: Duration = Duration::from_secs(10);

/// A network namespace that lasts as long as this value.
pub(crate) struct Netns {
    name: String,
}

impl Netns {
    pub(crate) fn new(role: &str) -> Netns {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let netns = Netns {
            name: format!("smredirect-{}-{number}-{role}", process::id()),
        };
        ip(&format!("netns add {}", netns.name));
        ip(&format!("-n {} link set lo up", netns.name));
        netns
    }

    /// Runs `work` on a thread inside the namespace; processes it starts are inside, too.
    pub(crate) fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let inside = || {
            let file = fs::File::open(format!("/run/netns/{}", self.name)).expect("the namespace");
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
                .expect("entering the namespace");
            work()
        };
        thread::scope(|scope| scope.spawn(inside).join().expect("work in the namespace"))
    }

    /// Runs a program inside, and gives what it printed; it must succeed.
    pub(crate) fn run(&self, command: &str, input: &str) -> String {
        let output = self.enter(|| {
            let mut words = command.split(' ');
            let mut command = Command::new(words.next().expect("a program"));
            output_of(command.args(words), input)
        });
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command} < {input}: {stderr}");
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    /// Connects as this user and group, and gives what the other side says of itself.
    pub(crate) fn connect(&self, (user, group): (u32, u32), ip: IpAddr, port: u16) -> String {
        self.enter(|| {
            become_user(user, group);
            let stream = TcpStream::connect_timeout(&(ip, port).into(), PATIENCE);
            stream
                .and_then(|stream| heard_on(&stream))
                .unwrap_or_else(|error| format!("{error}"))
        })
    }

    /// Answers on the port, for IPv4 and IPv6, saying who answers and whom the client meant.
    pub(crate) fn listen(&self, name: &'static str, port: u16) -> Listening {
        let stop = Arc::new(AtomicBool::new(false));
        let families: [IpAddr; 2] = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
        let threads = families.map(|any| {
            let socket = self.enter(|| listener((any, port).into()).expect("listening"));
            let stop = Arc::clone(&stop);
            thread::spawn(move || answer(&socket, name, port, &stop))
        });
        Listening {
            stop,
            threads: threads.into(),
        }
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        // A failure here must not hide the one that made the test fail.
        let _ = Command::new("ip")
            .args(["netns", "del", &self.name])
            .status();
    }
}

/// Two namespaces that reach each other as a pod and the rest of its cluster do.
pub(crate) struct Pod {
    pub inside: Netns,
    pub peer: Netns,
}

impl Pod {
    pub(crate) fn new() -> Pod {
        let inside = Netns::new("pod");
        let peer = Netns::new("peer");
        let (a, b) = (&inside.name, &peer.name);
        ip(&format!(
            "link add eth0 netns {a} type veth peer name eth0 netns {b}"
        ));
        for (netns, [v4, v6]) in [(a, POD), (b, PEER)] {
            ip(&format!("-n {netns} address add {v4}/24 dev eth0"));
            ip(&format!("-n {netns} address add {v6}/64 dev eth0 nodad"));
        }
        for netns in [a, b] {
            ip(&format!("-n {netns} link set eth0 up"));
        }
        for (far, via) in FAR.into_iter().zip(PEER) {
            ip(&format!("-n {b} address add {far} dev lo"));
            ip(&format!("-n {a} route add default via {via}"));
        }
        Pod { inside, peer }
    }

    /// Listens on the four ports that the proxy keeps for itself.
    pub(crate) fn proxy(&self) -> Vec<Listening> {
        let ports = [15001, 15006, 15021, 15090];
        ports.map(|port| self.inside.listen("proxy", port)).into()
    }

    /// The peer listens on the ports.
    pub(crate) fn peer_listens(&self, ports: &[u16]) -> Vec<Listening> {
        let ports = ports.iter();
        ports.map(|port| self.peer.listen("peer", *port)).collect()
    }
}

/// Threads that answer on one port until this value goes.
pub(crate) struct Listening {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn listener(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(16)?;
    // So that `accept` returns now and then, to see whether it is time to stop.
    socket.set_read_timeout(Some(Duration::from_millis(50)))?;
    Ok(socket)
}

/// Says one line on each connection, then echoes bytes until the client ends it.
fn answer(socket: &Socket, name: &'static str, port: u16, stop: &AtomicBool) {
    thread::scope(|scope| {
        while !stop.load(Ordering::Relaxed) {
            let Ok((client, _)) = socket.accept() else {
                continue;
            };
            scope.spawn(move || {
                let meant = original_destination(&client);
                let mut stream = TcpStream::from(client);
                let _ = stream.set_read_timeout(Some(PATIENCE));
                let _ = writeln!(stream, "{name} {port}, meant {meant}");
                let mut buffer = [0; 64];
                while let Ok(length @ 1..) = stream.read(&mut buffer) {
                    let _ = stream.write_all(&buffer[..length]);
                }
            });
        }
    });
}

fn original_destination(client: &Socket) -> SocketAddr {
    let own = client.local_addr().ok().and_then(|it| it.as_socket());
    let own = own.expect("an accepted connection has an address");
    let original = match own {
        SocketAddr::V4(_) => client.original_dst_v4(),
        SocketAddr::V6(_) => client.original_dst_v6(),
    };
    // Where nothing tracks connections there is none but the socket's own.
    let original = original.ok().and_then(|it: SockAddr| it.as_socket());
    original.unwrap_or(own)
}

/// The line that the other side says first.
pub(crate) fn heard_on(mut stream: &TcpStream) -> io::Result<String> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut line = Vec::new();
    let mut byte = [0];
    while stream.read(&mut byte)? == 1 && byte != *b"\n" {
        line.extend(byte);
    }
    Ok(String::from_utf8_lossy(&line).into_owned())
}

fn become_user(user: u32, group: u32) {
    let (user, group) = (Uid::from_raw(user), Gid::from_raw(group));
    set_thread_groups(&[]).expect("no further groups");
    set_thread_res_gid(group, group, group).expect("the group");
    set_thread_res_uid(user, user, user).expect("the user");
}

fn ip(arguments: &str) {
    let output = Command::new("ip")
        .args(arguments.split(' '))
        .output()
        .expect("`ip` runs: is the package iproute2 installed?");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {arguments}: {stderr}");
}

/// Runs a command with this input to its end.
pub(crate) fn output_of(command: &mut Command, input: &str) -> Output {
    let mut child = command
        .stdin(process::Stdio::piped())
        .stdout(process::Stdio::piped())
        .stderr(process::Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let mut stdin = child.stdin.take().expect("is piped");
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    child.wait_with_output().expect("its output")
}
