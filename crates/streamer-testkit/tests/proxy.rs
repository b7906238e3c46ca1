//! Each fault of the proxy does what it says, and counts it.
// The exception for tests does not reach functions that tests share.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use streamer_testkit::{Closing, Counters, Direction, Fault, Proxy};

/// A server that sends back what it receives.
fn echo() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let mut socket = socket.unwrap();
            std::thread::spawn(move || {
                let mut reads = socket.try_clone().unwrap();
                std::io::copy(&mut reads, &mut socket)
            });
        }
    });
    port
}

fn connect(proxy: &Proxy) -> TcpStream {
    let socket = TcpStream::connect(("127.0.0.1", proxy.port())).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    socket
}

fn trip(socket: &mut TcpStream, bytes: &[u8]) -> Vec<u8> {
    socket.write_all(bytes).unwrap();
    let mut back = vec![0; bytes.len()];
    socket.read_exact(&mut back).unwrap();
    back
}

fn until(proxy: &Proxy, what: &str, condition: impl Fn(&Counters) -> bool) -> Counters {
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        let counters = proxy.counters();
        if condition(&counters) {
            return counters;
        }
        assert!(Instant::now() < end, "waited for {what}, saw {counters:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at % 251) as u8).collect()
}

/// Nothing comes for a while: silence has no other sign.
fn is_silent(socket: &mut TcpStream) -> bool {
    socket.set_read_timeout(Some(Duration::from_millis(150))).unwrap();
    let read = socket.read(&mut [0; 1]);
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    matches!(read, Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut))
}

#[test]
fn without_a_fault_bytes_pass_and_are_counted() {
    let proxy = Proxy::start(echo()).unwrap();
    let mut socket = connect(&proxy);
    let bytes = pattern(10_000);
    assert_eq!(trip(&mut socket, &bytes), bytes);
    // Bytes are counted behind their delivery.
    let counters = until(&proxy, "all bytes to be counted", |counters| {
        (counters.to_server, counters.to_client) == (10_000, 10_000)
    });
    assert_eq!((counters.connections, counters.open), (1, 1));
    drop(socket);
    let counters = until(&proxy, "the connection's end", |counters| counters.open == 0);
    assert_eq!(
        counters.resets + counters.refused + counters.held + counters.drips + counters.throttled,
        0
    );
}

#[test]
fn a_cut_resets_open_connections_and_refuses_new_ones_until_it_heals() {
    let proxy = Proxy::start(echo()).unwrap();
    let mut sockets: Vec<TcpStream> = (0..3).map(|_| connect(&proxy)).collect();
    for socket in &mut sockets {
        trip(socket, b"x");
    }
    let closing = Closing::Reset;
    proxy
        .inject(Fault::Cut {
            closing,
            is_once: false,
        })
        .unwrap();
    assert_eq!((proxy.counters().open, proxy.counters().resets), (0, 3));
    for socket in &mut sockets {
        assert_eq!(
            socket.read(&mut [0; 1]).unwrap_err().kind(),
            ErrorKind::ConnectionReset
        );
    }
    let mut refused = connect(&proxy);
    assert!(refused.read(&mut [0; 1]).is_err());
    assert_eq!(proxy.counters().refused, 1);
    proxy.inject(Fault::Heal).unwrap();
    assert_eq!(trip(&mut connect(&proxy), b"again"), b"again");
}

#[test]
fn an_orderly_cut_once_ends_the_stream_and_lets_new_connections_pass() {
    let proxy = Proxy::start(echo()).unwrap();
    let mut socket = connect(&proxy);
    trip(&mut socket, b"x");
    let closing = Closing::Fin;
    proxy
        .inject(Fault::Cut {
            closing,
            is_once: true,
        })
        .unwrap();
    assert_eq!(socket.read(&mut [0; 1]).unwrap(), 0);
    assert_eq!(trip(&mut connect(&proxy), b"again"), b"again");
    assert_eq!((proxy.counters().resets, proxy.counters().refused), (1, 0));
}

#[test]
fn a_black_hole_swallows_everything_and_gives_it_back_when_it_heals() {
    let proxy = Proxy::start(echo()).unwrap();
    let mut socket = connect(&proxy);
    trip(&mut socket, b"x");
    proxy.inject(Fault::Blackhole(Direction::Both)).unwrap();
    socket.write_all(b"held").unwrap();
    until(&proxy, "held bytes", |counters| counters.held == 4);
    assert!(is_silent(&mut socket));
    assert_eq!(proxy.counters().to_server, 1);
    proxy.inject(Fault::Heal).unwrap();
    let mut back = [0; 4];
    socket.read_exact(&mut back).unwrap();
    assert_eq!(&back, b"held");
}

#[test]
fn a_black_hole_of_one_direction_lets_the_other_pass() {
    let proxy = Proxy::start(echo()).unwrap();
    let mut socket = connect(&proxy);
    proxy.inject(Fault::Blackhole(Direction::ToClient)).unwrap();
    socket.write_all(b"there").unwrap();
    let counters = until(&proxy, "held bytes", |counters| counters.held == 5);
    assert_eq!((counters.to_server, counters.to_client), (5, 0));
}

#[test]
fn a_black_hole_hides_that_the_other_side_has_gone() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = Proxy::start(listener.local_addr().unwrap().port()).unwrap();
    let mut socket = connect(&proxy);
    let (server, _) = listener.accept().unwrap();
    proxy.inject(Fault::Blackhole(Direction::Both)).unwrap();
    drop(server);
    assert!(is_silent(&mut socket));
    proxy.inject(Fault::Heal).unwrap();
    assert_eq!(socket.read(&mut [0; 1]).unwrap(), 0);
}

#[test]
fn a_connection_held_by_a_black_hole_can_be_cut() {
    let proxy = Proxy::start(echo()).unwrap();
    let mut socket = connect(&proxy);
    proxy.inject(Fault::Blackhole(Direction::Both)).unwrap();
    socket.write_all(b"held").unwrap();
    until(&proxy, "held bytes", |counters| counters.held == 4);
    let closing = Closing::Reset;
    proxy
        .inject(Fault::Cut {
            closing,
            is_once: true,
        })
        .unwrap();
    assert!(socket.read(&mut [0; 1]).is_err());
}

#[test]
fn a_throttle_takes_as_long_as_its_rate_says() {
    let proxy = Proxy::start(echo()).unwrap();
    let mut socket = connect(&proxy);
    proxy.inject(Fault::Throttle(20_000)).unwrap();
    let begin = Instant::now();
    let bytes = pattern(8_000);
    assert_eq!(trip(&mut socket, &bytes), bytes);
    // The last share is not waited for.
    assert!(
        begin.elapsed() >= Duration::from_millis(300),
        "{:?}",
        begin.elapsed()
    );
    until(&proxy, "throttled bytes", |counters| counters.throttled == 8_000);
}

#[test]
fn healing_frees_a_slow_connection_at_once() {
    let proxy = Proxy::start(echo()).unwrap();
    let mut socket = connect(&proxy);
    proxy.inject(Fault::Throttle(1)).unwrap();
    socket.write_all(&pattern(5_000)).unwrap();
    until(&proxy, "the first byte", |counters| counters.throttled == 1);
    proxy.inject(Fault::Heal).unwrap();
    let mut back = vec![0; 5_000];
    socket.read_exact(&mut back).unwrap();
    assert_eq!(back, pattern(5_000));
}

#[test]
fn dripping_gives_single_bytes_in_order() {
    let proxy = Proxy::start(echo()).unwrap();
    let mut socket = connect(&proxy);
    proxy.inject(Fault::Drip).unwrap();
    let bytes = pattern(3_000);
    assert_eq!(trip(&mut socket, &bytes), bytes);
    until(&proxy, "drips", |counters| counters.drips == 3_000);
}

#[test]
fn a_reset_comes_after_exactly_so_many_bytes_counted_from_its_injection() {
    let proxy = Proxy::start(echo()).unwrap();
    let mut socket = connect(&proxy);
    trip(&mut socket, &pattern(500));
    let (bytes, closing) = (1_000, Closing::Fin);
    proxy.inject(Fault::ResetAfter { bytes, closing }).unwrap();
    socket.write_all(&pattern(4_000)).unwrap();
    let mut back = Vec::new();
    socket.read_to_end(&mut back).unwrap();
    assert_eq!(back, pattern(1_000));
    let counters = until(&proxy, "the end", |counters| counters.open == 0);
    assert_eq!((counters.resets, counters.to_client), (1, 1_500));
}

#[test]
fn a_reader_that_stops_holds_back_the_sender_and_can_be_cut() {
    let proxy = Proxy::start(echo()).unwrap();
    let socket = connect(&proxy);
    let mut writes = socket.try_clone().unwrap();
    let writer = std::thread::spawn(move || writes.write_all(&pattern(64 << 20)));
    until(&proxy, "bytes", |counters| counters.to_client > 1 << 20);
    let closing = Closing::Reset;
    proxy
        .inject(Fault::Cut {
            closing,
            is_once: true,
        })
        .unwrap();
    assert!(writer.join().unwrap().is_err());
    assert!(proxy.counters().to_client < 64 << 20);
}

#[test]
fn dropping_a_proxy_closes_its_connections_and_its_port() {
    let proxy = Proxy::start(echo()).unwrap();
    let mut socket = connect(&proxy);
    trip(&mut socket, b"x");
    let port = proxy.port();
    drop(proxy);
    assert!(socket.read(&mut [0; 1]).is_err());
    let end = Instant::now() + Duration::from_secs(10);
    while TcpStream::connect(("127.0.0.1", port)).is_ok() {
        assert!(Instant::now() < end, "the port is still open");
        std::thread::sleep(Duration::from_millis(2));
    }
}
